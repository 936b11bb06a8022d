import { sumOf, type Share } from '../shedding/siblings.ts';
import type { NamedShares } from './ipc.ts';

/**
 * The supervisor's part in what workers tell each other: takes each one's shares and gives each the sum of the others'.
 *
 * A share is passed on as it comes, so that two workers know each other within a millisecond or two; but nobody is told
 * more often than each 40 ms, so that sixteen cost 400 messages a second and not 4 800: what comes between waits for the
 * next share of anybody. There is no timer, and an idle gateway sends nothing.
 *
 * Levels (limits, in flight, who waits) are each worker's latest. Increments (what ended, attempts × ms) are added up for
 * each listener apart and begin anew when it is told, so each counts once; one that is lost is no matter. Not believed:
 * what is older than 250 ms, a worker that is gone, another configuration than the newest one that was told of. A worker
 * that tells nothing of a service hears nothing of it.
 */

/** Below the 50 ms between two shares of one worker by what its beat may shake: half doubles the messages of many workers. */
const GAP_MS = 40;
/** Half takes a busy worker for silent, double believes a worker that hangs for half a second. */
const FRESH_MS = 250;
/** Shares that follow each other faster lay in the channel: it was we who stood still, and their sum is no present pace. */
const BACKLOG_MS = 25;

interface Told {
  share: Share;
  atMs: number;
  /** Of the others, since this worker was told last. */
  othersEnded: number;
  othersAreaMs: number;
}

/** `W` stands for a worker. */
export class ShareExchange<W> {
  readonly #deliver: (to: W, generation: number, sums: NamedShares) => void;
  readonly #services = new Map<string, Map<W, Told>>();
  /** When each worker was told last. */
  readonly #workers = new Map<W, number>();
  #generation = -1;

  constructor(deliver: (to: W, generation: number, sums: NamedShares) => void) {
    this.#deliver = deliver;
  }

  /** A worker's shares came; the others are told of them, now or with the next. */
  take(worker: W, generation: number, shares: NamedShares, now: number): void {
    if (generation < this.#generation) return;
    if (generation > this.#generation) {
      this.#generation = generation;
      this.#services.clear();
      this.#workers.clear();
    }
    if (!this.#workers.has(worker)) this.#workers.set(worker, Number.NEGATIVE_INFINITY);
    for (const [service, share] of shares) this.#note(worker, service, share, now);
    for (const [other, toldAtMs] of this.#workers) {
      if (other === worker || now - toldAtMs < GAP_MS) continue;
      const sums = this.#sumsFor(other, now);
      if (sums.length === 0) continue;
      this.#workers.set(other, now);
      this.#deliver(other, generation, sums);
    }
  }

  gone(worker: W): void {
    this.#workers.delete(worker);
    for (const told of this.#services.values()) told.delete(worker);
  }

  #note(worker: W, service: string, share: Share, now: number): void {
    let told = this.#services.get(service);
    if (told === undefined) {
      told = new Map();
      this.#services.set(service, told);
    }
    const before = told.get(worker);
    const sinceMs = before === undefined ? Number.POSITIVE_INFINITY : now - before.atMs;
    const heeds = before !== undefined && sinceMs <= FRESH_MS;
    told.set(worker, {
      share,
      atMs: now,
      othersEnded: heeds ? before.othersEnded : 0,
      othersAreaMs: heeds ? before.othersAreaMs : 0,
    });
    if (sinceMs < BACKLOG_MS) return;
    for (const [other, listener] of told) {
      if (other === worker) continue;
      listener.othersEnded += share.ended;
      listener.othersAreaMs += share.awaitingAreaMs;
    }
  }

  #sumsFor(worker: W, now: number): NamedShares {
    const sums: [string, Share][] = [];
    for (const [service, told] of this.#services) {
      const own = told.get(worker);
      if (own === undefined || now - own.atMs > FRESH_MS) continue;
      const others: Share[] = [];
      for (const [other, { share, atMs }] of told)
        if (other !== worker && now - atMs <= FRESH_MS) others.push(share);
      if (others.length === 0) continue;
      sums.push([service, { ...sumOf(others), ended: own.othersEnded, awaitingAreaMs: own.othersAreaMs }]);
      own.othersEnded = 0;
      own.othersAreaMs = 0;
    }
    return sums;
  }
}
