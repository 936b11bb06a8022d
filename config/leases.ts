/**
 * Limits that are too small for leases. `auto` asks the store for each unit of most of them; under `leased` every worker
 * holds two units at least, whatever `maxOverAdmission` says: that is told here with its figure. And where the burst is less
 * than ten, what workers hold is so much of it that the whole rate is not promised any more (limits.md, L3).
 */
import { redis } from './edge-schema.ts';
import { limits } from './limit-schema.ts';
import { readable } from './readable.ts';
import type { Tree } from './tree.ts';

/** As in `src/limits/leases.ts`: what a worker holds at least under `leased`. */
const LEAST_HELD = 2;
/** As there: what `auto` begins a lease with. */
const LEAST_BEGUN = 4;
/** Half: limits that lose some of their rate are passed over; double: ones that do not are told. */
const LEAST_BURST = 10;

interface Quota {
  readonly rate: number;
  readonly burst: number;
}

/** What is to be said of a limit: a sentence each, none where leases keep their word or nothing is leased. */
export function leaseWarnings(root: Tree): (quota: Quota) => string[] {
  const { enforcement, maxOverAdmission } = readable(limits, root['limits']);
  if (enforcement === undefined || enforcement === 'exact' || maxOverAdmission === undefined) return () => [];
  const workers = typeof root['workers'] === 'number' ? root['workers'] : undefined;
  const gateways = readable(redis, root['redis']).gateways ?? 1;
  const holders = (workers ?? 1) * gateways;
  const more =
    workers === undefined
      ? `${LEAST_HELD * gateways} for each of its workers`
      : `${LEAST_HELD * holders} with the ${holders} workers of all gateways`;
  return ({ rate, burst }) => {
    const found: string[] = [];
    const most = Math.min(burst / 2, (maxOverAdmission * (rate + burst)) / holders);
    if (enforcement === 'leased' && LEAST_HELD * holders > maxOverAdmission * (rate + burst))
      found.push(
        `\`leased\` may admit more than rate and burst, up to ${more}: beyond \`maxOverAdmission\`, which \`auto\` keeps`,
      );
    if (burst < LEAST_BURST && (enforcement === 'leased' || most >= LEAST_BEGUN))
      found.push(
        `a burst of less than ${LEAST_BURST} is small for leases: a steady caller may get less than the rate`,
      );
    return found;
  };
}
