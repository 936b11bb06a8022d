/**
 * What a worker does about its own overload below the requests.
 *
 * - *Memory*, pressure 0.5 and above: a connection that is kept alive may be idle for a second only, and those that were
 *   idle before go a second later. Each holds its buffers and tells nothing.
 * - *Event loop*, 0.95 and above: what a refusal costs is more than the loop can pay, so new connections are closed as they
 *   are accepted, before a byte is read; those that are there are served and refused as before.
 *
 * Each ends at a lower pressure than it begins, or it would flicker. Where shedding only observes, or is off, nothing of
 * this happens.
 */

/** Half: connections are cut that cost nothing; at 0.9 most requests are refused before memory is looked for. */
const IDLE_FROM = 0.5;
const IDLE_TO = 0.4;
/** At 0.9 connections are closed that could be told why; at 0.98, the most that pressure can be, hardly ever. */
const ACCEPT_FROM = 0.95;
const ACCEPT_TO = 0.9;
const IDLE_MS = 1000;

/** What relief asks of a server; implemented by `WorkerServer`. */
export interface RelievedServer {
  /** New connections are closed at once, or taken as configured. */
  refuseConnections(refuse: boolean): void;
  /** The longest that a connection may be idle, ms; undefined: as configured. */
  boundIdle(idleMs: number | undefined): void;
  closeIdle(): void;
}

export class PressureRelief {
  #closing = false;
  #shortIdle = false;
  /** Idle connections from before are closed then; Infinity: nothing to close. */
  #closeIdleAtMs = Number.POSITIVE_INFINITY;

  /** Some times a second, with every server there is: one that was opened meanwhile learns of it here. */
  apply(
    pressure: { readonly loop: number; readonly memory: number },
    servers: Iterable<RelievedServer>,
    now: number,
  ): void {
    this.#closing = pressure.loop >= (this.#closing ? ACCEPT_TO : ACCEPT_FROM);
    const wasShort = this.#shortIdle;
    this.#shortIdle = pressure.memory >= (wasShort ? IDLE_TO : IDLE_FROM);
    if (!this.#shortIdle) this.#closeIdleAtMs = Number.POSITIVE_INFINITY;
    else if (!wasShort) this.#closeIdleAtMs = now + IDLE_MS;
    const closesIdle = now >= this.#closeIdleAtMs;
    if (closesIdle) this.#closeIdleAtMs = Number.POSITIVE_INFINITY;
    for (const server of servers) {
      server.refuseConnections(this.#closing);
      server.boundIdle(this.#shortIdle ? IDLE_MS : undefined);
      if (closesIdle) server.closeIdle();
    }
  }
}
