/**
 * What leases admit beyond a limit that is too small for them. `auto` asks the store for each unit of such a limit; under
 * `leased` every worker holds two units at least, whatever `maxOverAdmission` says: that is told here with its figure.
 */
import { redis } from './edge-schema.ts';
import { limits } from './limit-schema.ts';
import { readable } from './readable.ts';
import type { Tree } from './tree.ts';

/** As in `src/limits/leases.ts`: what a worker holds at least under `leased`. */
const LEAST_HELD = 2;

interface Quota {
  readonly rate: number;
  readonly burst: number;
}

/** A sentence for each limit of which `leased` may admit more than `maxOverAdmission`; undefined: leases keep to it. */
export function leaseWarning(root: Tree): ((quota: Quota) => string | undefined) | undefined {
  const { enforcement, maxOverAdmission } = readable(limits, root['limits']);
  if (enforcement !== 'leased' || maxOverAdmission === undefined) return undefined;
  const workers = typeof root['workers'] === 'number' ? root['workers'] : undefined;
  const gateways = readable(redis, root['redis']).gateways ?? 1;
  const holders = (workers ?? 1) * gateways;
  return ({ rate, burst }) => {
    if (LEAST_HELD * holders <= maxOverAdmission * (rate + burst)) return undefined;
    const more =
      workers === undefined
        ? `${LEAST_HELD * gateways} for each of its workers`
        : `${LEAST_HELD * holders} with the ${holders} workers of all gateways`;
    return `\`leased\` may admit more than rate and burst, up to ${more}: beyond \`maxOverAdmission\`, which \`auto\` keeps`;
  };
}
