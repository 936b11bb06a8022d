/**
 * Who is refused first among equals: a client's fixed place among the clients of its class.
 *
 * With half of all requests refused by chance a session of ten survives once in a thousand; refused by client, half of the
 * sessions are whole. So each arrival has a *level*, class · 128 + cohort, and the highest levels are refused
 * (threshold.ts):
 *
 *     0..111     hash of the client and the hour: everybody has another place in the next one
 *     112..126   a client that sends more than its share (elephants.ts), by that share
 *     127        a retry. Anybody is believed who says so, since it only lowers. An unmarked one has its client's place
 *
 * The client comes as its bucket, which is keyed by a secret that the workers of a gateway share: they agree on every
 * place, also after a restart, and nobody can work out a name with a good one. Who finds by trying that some of its
 * addresses are served has found just that, until the hour ends. A clock that steps moves the hour's end and no more.
 * Source: DAGOR (Zhou et al., 2018), user-oriented admission.
 */
import type { PriorityRank } from '../kernel/priority.ts';
import { ELEPHANT_GRADES, Elephants } from './elephants.ts';

export const LEVELS_PER_CLASS = 128;
export const LEVELS = 4 * LEVELS_PER_CLASS;
/** Places of ordinary clients. Half: a step of the cut moves 2 % of them; double: no room in 128 for what stands above. */
export const COHORTS = LEVELS_PER_CLASS - ELEPHANT_GRADES - 1;
const RETRY = LEVELS_PER_CLASS - 1;
const HOUR_MS = 3_600_000;

/** 32 bits that are the same for one client during one hour; FNV-1a, then the end of MurmurHash3, so that all bits count. */
export function clientMark(bucket: string, wallMs: number): number {
  let hash = Math.imul(Math.floor(wallMs / HOUR_MS), 0x9e37_79b1) ^ 0x811c_9dc5;
  for (let at = 0; at < bucket.length; at += 1) hash = Math.imul(hash ^ bucket.charCodeAt(at), 0x0100_0193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85eb_ca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2_ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** 0..111. */
export function cohortOf(mark: number): number {
  return Math.floor((mark / 2 ** 32) * COHORTS);
}

/** One in each worker, asked once for an arrival and only under pressure. */
export class Levels {
  readonly #elephants: readonly [Elephants, Elephants, Elephants, Elephants];

  constructor(now: number) {
    this.#elephants = [new Elephants(now), new Elephants(now), new Elephants(now), new Elephants(now)];
  }

  /** Counts the arrival. @returns 0..511, the higher the sooner refused */
  of(rank: PriorityRank, mark: number, isRetry: boolean, now: number): number {
    const grade = this.#elephants[rank].arrived(mark, now);
    const base = rank * LEVELS_PER_CLASS;
    if (isRetry) return base + RETRY;
    return grade > 0 ? base + COHORTS + grade - 1 : base + cohortOf(mark);
  }
}
