/**
 * Hypothesis: under the load of `rolling-deploy` two gateways replace their own workers, alone and while the instances roll
 * as well, and one of the two ends by SIGTERM and comes back, and no request fails, no POST runs twice, no session moves.
 *
 * Before the gateways stands what stands there in practice: somebody who asks `/readyz` five times a second and gives new
 * connections to those that say yes.
 */
import { setTimeout as pause } from 'node:timers/promises';

import type { Measured, MeasureContext } from '../measure.ts';
import { Stage } from './stage.ts';
import { failures, phaseTable, soundRows } from './verdict.ts';

/** Of each kind. */
const ROLLS = 5;
const QUICK_ROLLS = 1;
/** As long as the gateways need to learn how much the instances bear. */
const CALM_MS = 4000;

export async function gatewayRoll(context: MeasureContext): Promise<Measured> {
  const rolls = context.rounds ?? (context.quick ? QUICK_ROLLS : ROLLS);
  await using stage = await Stage.open({ gateways: 2, seed: context.seed, phase: 'no roll' });
  await pause(CALM_MS);
  for (let roll = 1; roll <= rolls; roll += 1) {
    process.stderr.write(`gateway-roll, round ${roll} of ${rolls}\n`);
    stage.load.begin('workers roll');
    await stage.rollWorkers();
    stage.load.begin('SIGTERM to one of two');
    await stage.restartGateway(roll % 2);
    if (context.quick) continue;
    stage.load.begin('workers and instances roll');
    await Promise.all([stage.rollWorkers(), stage.rollInstances(roll % 2 === 0 ? 'notice' : 'unready')]);
  }
  const figures = await stage.figures();
  return {
    rows: soundRows(figures, stage.load.stood),
    figures: [phaseTable(figures, `${rolls} of each at ${stage.loadText}`)],
    notes: failures(figures),
    data: figures,
  };
}
