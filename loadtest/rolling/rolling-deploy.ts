/**
 * Hypothesis: five instances that are replaced one after the other under 70 % load (a new one joins the list before an old one
 * ends, by reloads) lose no request and run no POST twice, if they announce that they leave (`x-drain: 1`, or a probe that says no) and serve on until their sessions have gone.
 *
 * One that closes its socket at once loses no GET; a POST that is on its way just then can be answered by nobody, and is not
 * sent again since it may have run: how many are lost is shown, not judged.
 */
import type { Measured, MeasureContext } from '../measure.ts';
import type { Row } from '../overload/rows.ts';
import type { DrainStyle } from '../../test/harness/rolling-instance.ts';
import type { PhaseFigures } from './ledger.ts';
import { Stage } from './stage.ts';
import { failures, noneRow, phaseTable, soundRows, sumOf } from './verdict.ts';
import { setTimeout as pause } from 'node:timers/promises';

/** Of instances that announce it, half of them in each way. */
const ROLLS = 20;
const QUICK_ROLLS = 2;
/** The gateway learns how much the instances bear: it begins with a guess, and is not asked about its first seconds here. */
const CALM_MS = 8000;

const CALM = 'no roll';
const PHASE: Readonly<Record<DrainStyle, string>> = {
  notice: 'roll, instances say that they drain',
  unready: 'roll, instances fail their probe',
  abrupt: 'roll, instances close at once',
};

export async function rollingDeploy(context: MeasureContext): Promise<Measured> {
  const rolls = context.rounds ?? (context.quick ? QUICK_ROLLS : ROLLS);
  await using stage = await Stage.open({ gateways: 1, seed: context.seed, phase: CALM });
  await pause(CALM_MS);
  const styles = Array.from({ length: rolls }, (_, index): DrainStyle =>
    index % 2 === 0 ? 'notice' : 'unready',
  );
  // A fifth as many on top, of instances that do not announce it.
  const abrupt = Array.from({ length: Math.floor(rolls / 5) }, (): DrainStyle => 'abrupt');
  for (const [index, style] of [...styles, ...abrupt].entries()) {
    process.stderr.write(`rolling-deploy, roll ${index + 1} of ${styles.length + abrupt.length}: ${style}\n`);
    stage.load.begin(PHASE[style]);
    await stage.rollInstances(style);
  }
  const figures = await stage.figures();
  const announced = figures.filter(({ phase }) => phase !== PHASE.abrupt);
  const sudden = figures.filter(({ phase }) => phase === PHASE.abrupt);
  return {
    rows: [...soundRows(announced, stage.load.stood), ...abruptRows(sudden)],
    figures: [phaseTable(figures, `${rolls} rolls of 5 instances at ${stage.loadText}`)],
    notes: failures(figures),
    data: figures,
  };
}

function abruptRows(figures: readonly PhaseFigures[]): Row[] {
  if (figures.length === 0) return [];
  const posts = sumOf(figures, ({ posts: sent }) => sent);
  const lost = sumOf(figures, ({ failed, failedGets }) => failed - failedGets);
  return [
    noneRow(
      'GETs failed, instances that close at once',
      sumOf(figures, ({ failedGets }) => failedGets),
    ),
    noneRow(
      'POSTs run twice, instances that close at once',
      sumOf(figures, ({ duplicated }) => duplicated),
    ),
    { what: `POSTs failed of ${posts}, instances that close at once`, unit: 'count', value: lost },
  ];
}
