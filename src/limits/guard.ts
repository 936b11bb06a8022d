/**
 * Guards and penalties: who strikes too often in a fixed window is blocked for a while.
 *
 * Signal: strikes, of a client at a route (answers such as 401: `routes[].guard`) or of a client anywhere (its own 429s:
 * `tiers.T.penalty`). Decision: so many in a window are forgiven, the next one blocks. Counting is a store's business
 * (`io/guard/`), beside the request's path; this is what one worker knows meanwhile: what the store said last, what it has
 * not answered yet, and until when a client is blocked. Both are added up, so a caller who is quicker than the store is blocked in
 * time, and one whose store is lost as well.
 *
 * Why a window and no bucket: a block must last whatever the caller does, which a bucket that refills cannot say.
 * Cold start: nobody is blocked; a worker learns of a block made elsewhere with its next strike. Idle: a window that is over counts
 * for nothing. Recovery: a block ends by itself, or by an operator's word. Limits: tries under way when the block comes are answered;
 * what is forgotten under a flood of strangers costs one more strike each.
 * Source: rate-limiter-flexible's login examples; OWASP, Blocking Brute Force Attacks.
 */
import type { Random } from '../kernel/random.ts';
import { RecentMap } from '../kernel/lru.ts';

export type GuardKind = 'guard' | 'penalty';

export interface GuardRule {
  /** As metrics and answers name it. */
  readonly kind: GuardKind;
  /** Forgiven in a window; the next one blocks. */
  readonly strikes: number;
  /** Whole seconds, 1 s to 24 d: shorter windows never end in the store, longer ones at once in memory. */
  readonly windowSeconds: number;
  readonly blockSeconds: number;
  /** False: observed, so counted, and nobody is blocked. */
  readonly enforced: boolean;
}

/** What a store says of a client after a strike. */
export interface Tally {
  /** Strikes in the window that runs, or of the block. */
  readonly strikes: number;
  /** How long window or block still last, ms. */
  readonly restMs: number;
  /** From the store that all share; false: from what stands in while it is lost and knows less. */
  readonly shared: boolean;
}

interface Standing {
  /** As the store said last. */
  counted: number;
  /** Sent to the store and not answered. */
  pending: number;
  windowEndsMs: number;
  blockedUntilMs: number;
}

const NOTHING: Readonly<Standing> = { counted: 0, pending: 0, windowEndsMs: 0, blockedUntilMs: 0 };

/** About 1.5 MB for each guard under a spray. Half: blocks are learned again sooner; double: memory for strangers. */
const KEPT_CLIENTS = 10_000;
/** Spread of those who come back. A quarter of the wait, as for limits, would lock a person out for minutes more. */
const MOST_JITTER_SECONDS = 30;

/** What a worker knows of the clients under one guard. `now`: monotonic ms. */
export class Strikes {
  readonly #clients = new RecentMap<string, Standing>(KEPT_CLIENTS);

  /** How long the client is still blocked, ms; 0 when it is not. One lookup, however many are. */
  blockedMs(client: string, now: number): number {
    const standing = this.#clients.get(client);
    return standing === undefined ? 0 : Math.max(0, standing.blockedUntilMs - now);
  }

  /** Notes a strike. @returns whether the store is to count it: not while the client is blocked */
  strike(client: string, rule: GuardRule, now: number): boolean {
    const standing = this.#standing(client);
    if (standing.blockedUntilMs > now) return false;
    if (standing.windowEndsMs <= now) {
      standing.counted = 0;
      standing.pending = 0;
      standing.windowEndsMs = now + rule.windowSeconds * 1000;
    }
    standing.pending++;
    this.#judge(standing, rule, now);
    return true;
  }

  /** The store has counted one of the strikes that were noted here. */
  counted(client: string, rule: GuardRule, tally: Tally, now: number): void {
    const standing = this.#standing(client);
    standing.pending = Math.max(0, standing.pending - 1);
    if (!tally.shared) {
      // It may know less than we do: it adds, and never takes back.
      standing.counted = Math.max(standing.counted + 1, tally.strikes);
      if (tally.strikes > rule.strikes) this.#block(standing, now + tally.restMs);
      else this.#judge(standing, rule, now);
      return;
    }
    standing.counted = tally.strikes;
    standing.windowEndsMs = now + tally.restMs;
    standing.blockedUntilMs = tally.strikes > rule.strikes ? now + tally.restMs : 0;
    if (standing.blockedUntilMs === 0) this.#judge(standing, rule, now);
  }

  /** Somebody else's strike blocked the client. */
  blocked(client: string, restMs: number, now: number): void {
    this.#block(this.#standing(client), now + restMs);
  }

  /** An operator's word: as if nothing had been. */
  forgive(client: string): void {
    const standing = this.#clients.get(client);
    // Not taken out: it may have two names, and would be found again by the other.
    if (standing !== undefined) Object.assign(standing, NOTHING);
  }

  /** Another hash is made of the client's name: what is known under the one before counts under both. */
  rename(before: string, client: string): void {
    const standing = this.#clients.get(before);
    if (standing === undefined) return;
    const there = this.#clients.get(client);
    if (there === undefined) this.#clients.set(client, standing);
    else if (there !== standing) {
      this.#block(there, standing.blockedUntilMs);
      this.#clients.set(before, there);
    }
  }

  #standing(client: string): Standing {
    let standing = this.#clients.get(client);
    if (standing === undefined) {
      standing = { ...NOTHING };
      this.#clients.set(client, standing);
    }
    return standing;
  }

  #judge(standing: Standing, rule: GuardRule, now: number): void {
    if (standing.counted + standing.pending > rule.strikes)
      this.#block(standing, now + rule.blockSeconds * 1000);
  }

  #block(standing: Standing, untilMs: number): void {
    standing.blockedUntilMs = Math.max(standing.blockedUntilMs, untilMs);
  }
}

/** Whole seconds for `Retry-After`: never before the block ends. */
export function blockedRetryAfterSeconds(restMs: number, random: Random): number {
  const least = Math.max(1, Math.ceil(restMs / 1000));
  const jitter = Math.min(MOST_JITTER_SECONDS, Math.max(1, Math.ceil(least / 4)));
  return least + Math.floor(random() * (jitter + 1));
}
