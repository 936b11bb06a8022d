/** A scenario with each peer in place of ours: the same seed, so the same arrivals. */
import type { World } from './model.ts';
import { peers } from './peers/peers.ts';
import type { Figures, Run, Scenario } from './suite.ts';

export interface PeerRun {
  readonly name: string;
  readonly figures: Figures;
  readonly world: World;
}

const OURS = 'Spillway';

/**
 * Ours first. The fixed limit is an oracle's: the slots that the service has at the start.
 * @param ours the run of the same seed with our own gate
 */
export function runPeers(scenario: Scenario, seed: number, ours: Run): readonly PeerRun[] {
  const slots = ours.world.trace.rows()[0]?.knee ?? 1;
  return [
    { name: OURS, ...ours },
    ...peers(slots).map(({ name, gate }) => {
      const { figures, world } = scenario.run(seed, gate);
      return { name, figures, world };
    }),
  ];
}
