/**
 * Whether a gateway starts, serves or ends, and what is made of workers that cannot serve meanwhile.
 *
 * While it starts, a worker that refuses its configuration or cannot listen ends the start, for the next would fare alike;
 * so do several that die. Once it serves neither ends anything: a worker is told again or started again.
 */

/** Half: one bad second of a busy machine ends a start; double: a worker that cannot start is tried for half a minute. */
const START_DEATHS = 5;

export type StartPhase = 'starting' | 'serving' | 'ending';

export class StartUp {
  #phase: StartPhase = 'starting';
  #deaths = 0;
  #fault = '';

  get phase(): StartPhase {
    return this.#phase;
  }

  /** Why the start has failed; empty while it has not. */
  get fault(): string {
    return this.#fault;
  }

  /** Start-up is complete. Too late for one that ends already. */
  served(): void {
    if (this.#phase === 'starting') this.#phase = 'serving';
  }

  end(): void {
    this.#phase = 'ending';
  }

  workerCannot(reason: string): void {
    if (this.#phase === 'starting') this.#fault = reason;
  }

  workerDied(reason: string): void {
    if (this.#phase !== 'starting' || ++this.#deaths < START_DEATHS) return;
    this.#fault = `workers do not start: ${this.#deaths} died, the last with ${reason}`;
  }
}
