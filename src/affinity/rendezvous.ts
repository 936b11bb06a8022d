/**
 * The instance of a caller without a cookie, by a key that it sends: rendezvous hashing with bounded loads.
 *
 * Each instance draws a number for the key, by hashing both; the best draw wins. So every worker and gateway finds the same
 * instance without a table, and one that comes or goes moves its own callers alone, onto all others. The draw is
 * exponential with the instance's weight as its rate, which gives each its share exactly. An instance that has 1.25 times its
 * share of what is in flight here is passed over for the next best, so that one busy key cannot swamp one instance.
 *
 * Cold start and idle gap: nothing is learned. Limits: linear in the number of instances, 20 ns each; what other workers have
 * in flight is unknown; no drain keeps a caller, since it has no session. A key is not a secret and its hash no protection:
 * whoever chooses keys chooses instances. Source: Thaler and Ravishankar, 1998; Mirrokni, Thorup, Zadimoghaddam, "Consistent
 * Hashing with Bounded Loads", 2018.
 */

/** Half of what is over 1: keys leave their instance for every small unevenness; double: half as much again on one instance. */
const LOAD_BOUND = 1.25;
/** Half: at low load two requests of a caller at once go to two instances; double: a bound of a few in flight is none. */
const LEAST_BOUND = 2;

/** The instances that may be drawn, as the balancer knows them. */
export interface Field {
  readonly candidates: number;
  /** The slot at a place of the list. */
  candidateAt(index: number): number;
  /** 1 / weight, more for one that warns. */
  factorOf(slot: number): number;
  inFlight(slot: number): number;
}

/** A text as 32 bits: for keys, and for the names of instances. */
export function markOf(text: string): number {
  let mark = 0x811c_9dc5;
  for (let at = 0; at < text.length; at++) mark = Math.imul(mark ^ text.charCodeAt(at), 0x0100_0193);
  return mixBits(mark);
}

/**
 * The slot for a key, or -1 when there is no candidate.
 * @param marks by slot: `markOf` the instance's name
 */
export function rendezvous(key: number, field: Field, marks: readonly number[]): number {
  const { candidates } = field;
  let total = 1;
  let shares = 0;
  for (let index = 0; index < candidates; index++) {
    const slot = field.candidateAt(index);
    total += field.inFlight(slot);
    shares += 1 / field.factorOf(slot);
  }
  let best = -1;
  let bestDraw = Infinity;
  for (let index = 0; index < candidates; index++) {
    const slot = field.candidateAt(index);
    const factor = field.factorOf(slot);
    const bound = Math.max(LEAST_BOUND, Math.ceil((LOAD_BOUND * total) / (shares * factor)));
    if (field.inFlight(slot) >= bound) continue;
    const draw = -Math.log((mixBits(key ^ (marks[slot] ?? 0)) + 0.5) / 2 ** 32) * factor;
    if (draw >= bestDraw) continue;
    best = slot;
    bestDraw = draw;
  }
  return best;
}

/** All bits of the result depend on all of `bits`; 0 ≤ result < 2^32. Source: MurmurHash3, the final mix. */
export function mixBits(bits: number): number {
  let hash = bits;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85eb_ca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2_ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
