/**
 * A permit: the right to have one request in flight at a service, from admission to the last byte of the answer.
 *
 * A permit is not a sample. The permit lasts to the last byte; the sample is one attempt, from the request handed to
 * the wire to the response head, so that a slow reader of a body does not look like a slow service. A retry keeps its
 * permit and begins a new sample. Whatever happens, the permit is given back exactly once: every later `release`
 * answers false and changes nothing.
 */

/**
 * How an attempt ended.
 * - `sample`: an answer that tells the service's speed.
 * - `ignored`: 304 and 4xx: says nothing about speed, and a scan of cheap 404s must not make others look slow.
 * - `failed`: 500, 502, a connect failure: no sample either; when these are most of the outcomes, nothing is decided.
 * - `drop`: a timeout (also to connect) or an upstream's own 429 or 503: the service says "too much".
 */
export type HeadOutcome = 'sample' | 'ignored' | 'failed' | 'drop';

/** Where a permit reports to; implemented by `Admission`. */
export interface PermitIssuer {
  attempted(permit: Permit, now: number): void;
  answered(permit: Permit, outcome: HeadOutcome, now: number): void;
  streaming(permit: Permit, now: number): void;
  released(permit: Permit, wasStream: boolean, now: number): void;
}

export class Permit {
  readonly #issuer: PermitIssuer;
  #state: 'request' | 'stream' | 'released' = 'request';
  /** The issuer's: moment the running attempt began, NaN while none runs. */
  attemptAtMs = Number.NaN;
  /** The issuer's: its response head has come. */
  flowing = false;
  /** The issuer's: it has left the limit. */
  streams = false;
  /** The issuer's: neighbours in the order of beginning. */
  older: Permit | undefined = undefined;
  younger: Permit | undefined = undefined;

  /** The issuer's: its request is critical. */
  readonly critical: boolean;

  constructor(issuer: PermitIssuer, critical = false) {
    this.#issuer = issuer;
    this.critical = critical;
  }

  /** The request is handed to the wire: the sample's clock starts, on a retry again. Does nothing after `release`. */
  attempt(now: number): void {
    if (this.#state === 'released') return;
    this.#issuer.attempted(this, now);
  }

  /** The attempt is over: its response head came, or it failed or timed out. Without a running attempt: nothing. */
  head(now: number, outcome: HeadOutcome): void {
    if (this.#state === 'released') return;
    this.#issuer.answered(this, outcome, now);
  }

  /**
   * WebSocket, event stream, or a body that still flows after 10 s: the permit leaves the limit and counts against
   * the instances' caps only. A second call does nothing.
   */
  asStream(now: number): void {
    if (this.#state !== 'request') return;
    this.#state = 'stream';
    this.#issuer.streaming(this, now);
  }

  /**
   * Gives the permit back and wakes whoever waits. True the first time, false after. A release while an attempt still
   * runs is a cancel: an early one says nothing, a late one counts as "at least this long".
   */
  release(now: number): boolean {
    const state = this.#state;
    if (state === 'released') return false;
    this.#state = 'released';
    this.#issuer.released(this, state === 'stream', now);
    return true;
  }
}
