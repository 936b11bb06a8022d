import { between, type Random } from '../kernel/random.ts';

/**
 * When a source is asked again.
 *
 * Signal: what the last answer said of its own life (ttl), or how often in a row there was none. Decision: an answer is
 * asked for again when it ends, kept within bounds and spread by a tenth, so that many gateways do not ask at once; after a
 * fault sooner, with pauses that double, since every second of darkness may be a deploy that is missed. Cold start: at once.
 * Recovery: the first answer ends the doubling. Limits: nothing is cached longer than here, whatever a ttl of a day says.
 */

/** Half: a ttl of 0 asks twice a second; double: a record that is meant to move fast moves late. */
const SHORTEST_TTL_MS = 1000;
/** Half: twice the questions; double: a name server that died is noticed only after half a minute. */
const LONGEST_TTL_MS = 20_000;
/** SRV answers come without their ttl. Half: twice the questions; double: a new instance waits ten seconds. */
const NO_TTL_MS = 5000;
const SPREAD = 0.1;
/** Half: a source that restarts is met more often; double: the gap in a watch is felt as a late deploy. */
const FIRST_RETRY_MS = 200;
/** Half: a dead source costs twice the questions; double: its return is noticed up to ten seconds late. */
const LONGEST_RETRY_MS = 5000;

/** Until an answer is asked for again. @param ttlSeconds as the answer gave it */
export function refreshMs(ttlSeconds: number | undefined, random: Random): number {
  const ms = ttlSeconds === undefined ? NO_TTL_MS : ttlSeconds * 1000;
  const kept = Math.min(Math.max(ms, SHORTEST_TTL_MS), LONGEST_TTL_MS);
  return kept * between(random, 1 - SPREAD, 1 + SPREAD);
}

/** Until a source is asked again that gave no answer. @param failures in a row, from 1; the first is within 250 ms */
export function retryMs(failures: number, random: Random): number {
  const ms = Math.min(FIRST_RETRY_MS * 2 ** Math.min(failures - 1, 16), LONGEST_RETRY_MS);
  return ms * between(random, 1 - SPREAD, 1 + SPREAD);
}
