/**
 * What is done to the gateway while it works, and when: one list made beforehand, so that a run can be told and judged by it.
 *
 * In twenty minutes: a reload each 10 s, an instance killed each 15 s and back two seconds later, a certificate replaced
 * each minute, Redis away 30 s in every five minutes (standing still and dead in turns), one worker killed. A shorter run
 * keeps the rates of reloads and kills and shortens what Redis and the certificate do, so that each happens at least once.
 *
 * The worker dies at 40 %: at the half, where the judgement of the heap's slope begins, its heir has warmed up.
 */

export type SoakEvent =
  | { readonly atMs: number; readonly what: 'reload'; readonly variant: number }
  | { readonly atMs: number; readonly what: 'kill-instance'; readonly index: number; readonly forMs: number }
  | {
      readonly atMs: number;
      readonly what: 'redis-away';
      readonly how: 'stopped' | 'killed';
      readonly forMs: number;
    }
  | { readonly atMs: number; readonly what: 'kill-worker' }
  | { readonly atMs: number; readonly what: 'certificate' };

const RELOAD_EACH_MS = 10_000;
const KILL_EACH_MS = 15_000;
/** Not with a reload: each is to answer for itself. */
const KILL_FIRST_MS = 13_000;
const INSTANCE_AWAY_MS = 2000;
const CERTIFICATE_EACH_MS = 60_000;
/** Between two reloads: one that finds the new certificate beside the old key is refused, and rightly so. */
const CERTIFICATE_OFF_MS = 4000;
const REDIS_EACH_MS = 300_000;
/** Of its period: 30 s in five minutes. */
const REDIS_AWAY_SHARE = 0.1;
const WORKER_DIES_AT = 0.4;

function each(everyMs: number, endMs: number, firstMs = everyMs): number[] {
  const moments: number[] = [];
  for (let atMs = firstMs; atMs < endMs; atMs += everyMs) moments.push(atMs);
  return moments;
}

/** All events of a run of so many minutes, in order. `instances` are killed in turns, `variants` of the file loaded in turns. */
export function timeline(minutes: number, instances: number, variants: number): readonly SoakEvent[] {
  const endMs = minutes * 60_000;
  const redisEachMs = Math.min(REDIS_EACH_MS, endMs);
  const certificateEachMs = Math.min(CERTIFICATE_EACH_MS, endMs / 3);
  const events: SoakEvent[] = [
    ...each(RELOAD_EACH_MS, endMs).map((atMs, n): SoakEvent => ({
      atMs,
      what: 'reload',
      variant: (n + 1) % variants,
    })),
    ...each(KILL_EACH_MS, endMs - INSTANCE_AWAY_MS, KILL_FIRST_MS).map((atMs, n): SoakEvent => ({
      atMs,
      what: 'kill-instance',
      index: n % instances,
      forMs: INSTANCE_AWAY_MS,
    })),
    ...each(redisEachMs, endMs, 0.6 * redisEachMs).map((atMs, n): SoakEvent => ({
      atMs,
      what: 'redis-away',
      how: n % 2 === 0 ? 'stopped' : 'killed',
      forMs: REDIS_AWAY_SHARE * redisEachMs,
    })),
    ...each(certificateEachMs, endMs, certificateEachMs / 2 + CERTIFICATE_OFF_MS).map((atMs): SoakEvent => ({
      atMs,
      what: 'certificate',
    })),
    { atMs: WORKER_DIES_AT * endMs, what: 'kill-worker' },
  ];
  return events.toSorted((a, b) => a.atMs - b.atMs);
}
