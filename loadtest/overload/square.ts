/** Half the capacity and three times the capacity in turns, a second each: what is possible is 0.75 C, and not more. */
import type { LoadJournal } from '../../test/harness/load-journal.ts';
import { startOrigin } from '../../test/harness/origin.ts';
import { startTarget } from '../targets.ts';
import { CAPACITY, CRITICAL, gatewayYaml, load, SLA_MS } from './anchors.ts';
import { send } from './case.ts';
import type { CaseContext, CaseRun } from './case.ts';
import { criticalRows } from './rows.ts';
import type { Row } from './rows.ts';
import { codes, figures } from './window.ts';

const LOW = 0.5;
const HIGH = 3;
const CRITICAL_TIMES = 0.2;
const WARM_SECONDS = 2;
const WAVES = 10;
const QUICK_WAVES = 5;
/** Half of the time everything, half of the time the capacity. */
const POSSIBLE = (LOW + 1) / 2;

function spanSeconds(waves: number): number {
  return 2 * waves;
}

export function squareRows(journal: LoadJournal, waves: number): Row[] {
  const window = { fromMs: WARM_SECONDS * 1000, untilMs: (WARM_SECONDS + spanSeconds(waves)) * 1000 };
  const all = figures(journal, SLA_MS, window);
  const critical = figures(journal, SLA_MS, { ...window, classIndex: CRITICAL });
  return [
    {
      what: 'goodput ÷ what is possible',
      unit: 'ratio',
      value: all.inTime / spanSeconds(waves) / CAPACITY / POSSIBLE,
      bound: { least: 0.95 },
    },
    ...criticalRows(critical.refused, critical.inTimeRatio),
    {
      // Every other second is the first of a surge.
      what: 'p99 of served',
      unit: 'ms',
      value: all.p99Ms,
      bound: { most: 1.5 * SLA_MS },
      goal: { most: SLA_MS },
    },
  ];
}

export async function square({ target: name, seed, quick }: CaseContext): Promise<CaseRun> {
  const waves = quick ? QUICK_WAVES : WAVES;
  const wave = [
    { seconds: 1, times: LOW, critical: CRITICAL_TIMES },
    { seconds: 1, times: HIGH, critical: CRITICAL_TIMES },
  ];
  await using origin = await startOrigin({ seed });
  await using target = await startTarget(name, gatewayYaml(origin.url), origin.url);
  const { journal, senderLagP99Ms, recorded } = await send({
    name: 'square wave',
    port: target.port,
    seed,
    ...load([
      { seconds: WARM_SECONDS, times: LOW, critical: CRITICAL_TIMES },
      ...Array.from({ length: waves }, () => wave).flat(),
    ]),
    capacity: [[0, CAPACITY]],
  });
  return {
    target: name,
    workers: 1,
    seed,
    rows: squareRows(journal, waves),
    recorded: [recorded],
    codes: codes(journal, { fromMs: WARM_SECONDS * 1000, untilMs: Infinity }),
    senderLagP99Ms,
    notes: [],
  };
}
