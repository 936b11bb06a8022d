/**
 * Those of one class who wait, in the order in which they came.
 *
 * A standing queue is told from a burst by its smallest wait (CoDel, RFC 8289): each 100 ms, was the oldest in line
 * younger than the target at any time? A line that stands, has begun to refuse, and waits for a congested service is
 * *overloaded*: it then serves the newest first and lets nobody wait long, since who waited longest is least likely to be
 * served in time. Without refusals a standing line is only a closed loop of patient callers, and first come is first
 * served. An empty line is never overloaded.
 */
import type { Admittee } from './admission.ts';

/** RFC 8289's interval: half mistakes bursts for overload, double lets everybody wait that much longer first. */
const INTERVAL_MS = 100;
/** A refusal is news for so long. */
const REFUSED_LATELY_MS = 1000;

export class Waiter {
  readonly who: Admittee;
  readonly sinceMs: number;
  /** 0.8..1.2: equal waits would end together and come back together. */
  readonly patience: number;
  /** Moment after which the answer is no use. */
  readonly usefulUntilMs: number;
  /** What the queue had forgiven before it came, ms. */
  readonly forgivenMs: number;
  older: Waiter | undefined = undefined;
  younger: Waiter | undefined = undefined;
  line: Line | undefined = undefined;
  /** Its caller has left while its verdict was on the way. */
  left = false;

  constructor(who: Admittee, sinceMs: number, patience: number, usefulUntilMs: number, forgivenMs: number) {
    this.who = who;
    this.forgivenMs = forgivenMs;
    this.sinceMs = sinceMs;
    this.patience = patience;
    this.usefulUntilMs = usefulUntilMs;
  }
}

export class Line {
  length = 0;
  overloaded = false;
  oldest: Waiter | undefined;
  newest: Waiter | undefined;
  #leastWaitMs = Number.POSITIVE_INFINITY;
  #intervalAtMs: number;
  #refusedAtMs = Number.NEGATIVE_INFINITY;
  #standing = 0;
  readonly #patience: number;

  /** `patience`: intervals that the line must stand in a row before it counts as overloaded. */
  constructor(patience: number, now: number) {
    this.#patience = patience;
    this.#intervalAtMs = now;
  }

  push(waiter: Waiter): void {
    waiter.line = this;
    waiter.older = this.newest;
    if (this.newest === undefined) this.oldest = waiter;
    else this.newest.younger = waiter;
    this.newest = waiter;
    this.length += 1;
  }

  remove(waiter: Waiter): void {
    if (waiter.older === undefined) this.oldest = waiter.younger;
    else waiter.older.younger = waiter.younger;
    if (waiter.younger === undefined) this.newest = waiter.older;
    else waiter.younger.older = waiter.older;
    waiter.older = undefined;
    waiter.younger = undefined;
    waiter.line = undefined;
    this.length -= 1;
    if (this.length > 0) return;
    this.#leastWaitMs = 0;
    this.#standing = 0;
    this.overloaded = false;
  }

  /** Somebody of this class was refused: waited too long, or found the queue full. */
  refused(now: number): void {
    this.#refusedAtMs = now;
  }

  /** About every 5 ms. `congested`: the governor saw the service congested lately. */
  observe(targetMs: number, congested: boolean, forgivenMs: number, now: number): void {
    const waitMs =
      this.oldest === undefined ? 0 : now - this.oldest.sinceMs - (forgivenMs - this.oldest.forgivenMs);
    if (waitMs < this.#leastWaitMs) this.#leastWaitMs = waitMs;
    if (now - this.#intervalAtMs < INTERVAL_MS) return;
    this.#standing = this.#leastWaitMs > targetMs && this.length > 0 ? this.#standing + 1 : 0;
    this.overloaded =
      this.#standing >= this.#patience && congested && now - this.#refusedAtMs < REFUSED_LATELY_MS;
    this.#leastWaitMs = Number.POSITIVE_INFINITY;
    this.#intervalAtMs = now;
  }
}
