/**
 * What the peers have in common: so many requests in flight, who comes above it is refused at once, nobody waits and
 * nobody is more important. The number is an algorithm's.
 *
 * The model has no threads, so a peer that shares one limit between the threads of a process is one gate a worker here.
 */
import type { HeadOutcome } from '../../../src/shedding/permit.ts';
import type { Entrant, Gate, GatePermit, GateView } from '../gate.ts';

export interface PeerSample {
  readonly startMs: number;
  readonly rttMs: number;
  /** In flight when it was let in, itself included. */
  readonly inFlight: number;
  /** A timeout, or the service said that it is busy. */
  readonly dropped: boolean;
}

export interface LimitAlgorithm {
  /** Permits; only the whole part counts. */
  readonly limit: number;
  /** What it takes for the latency without a queue, ms; 0: it has no such notion, or does not know yet. */
  readonly baselineMs: number;
  sample(sample: PeerSample): void;
  tick(now: number): void;
}

class PeerPermit implements GatePermit {
  readonly #gate: LimitedGate;
  readonly #inFlight: number;
  #startMs = Number.NaN;
  #held = true;

  constructor(gate: LimitedGate, inFlight: number) {
    this.#gate = gate;
    this.#inFlight = inFlight;
  }

  attempt(now: number): void {
    this.#startMs = now;
  }

  head(now: number, outcome: HeadOutcome): void {
    // An error or a "not found" says nothing about the load: their users tell these libraries to ignore it.
    if (outcome !== 'sample' && outcome !== 'drop') return;
    this.#gate.algorithm.sample({
      startMs: this.#startMs,
      rttMs: now - this.#startMs,
      inFlight: this.#inFlight,
      dropped: outcome === 'drop',
    });
  }

  asStream(): void {
    throw new Error('peers know no streams');
  }

  release(): boolean {
    if (!this.#held) return false;
    this.#held = false;
    this.#gate.released();
    return true;
  }
}

export class LimitedGate implements Gate {
  readonly algorithm: LimitAlgorithm;
  #inFlight = 0;

  constructor(algorithm: LimitAlgorithm) {
    this.algorithm = algorithm;
  }

  enter(who: Entrant): void {
    if (this.#inFlight >= Math.floor(this.algorithm.limit)) {
      who.shed('SPW_SHED_CONCURRENCY', 'at the limit');
      return;
    }
    this.#inFlight += 1;
    who.admitted(new PeerPermit(this, this.#inFlight), 0);
  }

  /** Nobody waits here. */
  leave(): void {
    return;
  }

  released(): void {
    this.#inFlight -= 1;
  }

  tick(now: number): void {
    this.algorithm.tick(now);
  }

  view(): GateView {
    return {
      limit: Math.floor(this.algorithm.limit),
      inFlight: this.#inFlight,
      queueDepth: 0,
      baselineMs: this.algorithm.baselineMs,
      p50Ms: 0,
      slow: false,
    };
  }
}
