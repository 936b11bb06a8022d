/**
 * Does more load make the service slower? Asked of a service that has long looked congested at a low limit.
 *
 * Two levels, so many answers at each: as it is, then with half as much again (next to the floor twice as much). A
 * service that is slow by itself answers as before, one that is full takes as much longer. A median of so many answers
 * is known to 8 %, so the two are told apart where a single window (30 answers, 16 %) would believe chance one time in
 * ten. Costs a full service a wait of half its latency for a second or two, and nobody a refusal.
 */
import type { Reading } from './window.ts';

/** Answers at each level. Half is wrong one time in ten, double keeps a slow service waiting at 50/s for ten seconds. */
const ENOUGH = 120;
/** With twice the load the two differ by so much that fewer do: at the floor answers are rare, and nothing may stay there. */
const ENOUGH_DOUBLED = 50;
/** Half as much again; where the limit is next to nothing, as much again. */
const STEP = 1.5;
const DOUBLE = 2;

export type TrialStep =
  | { readonly kind: 'wait' }
  /** The first level is known: raise the limit. */
  | { readonly kind: 'raise'; readonly factor: number }
  /** d ln(median) / d ln(in flight); NaN when the load did not rise. */
  | { readonly kind: 'result'; readonly elasticity: number };

const WAIT: TrialStep = { kind: 'wait' };
/** A smaller rise of the load (as a logarithm) explains nothing: ± 10 % is Poisson. */
export const LEAST_STEP = 0.15;

export class Trial {
  readonly #doubles: boolean;
  #phase: 'base' | 'settling' | 'raised' = 'base';
  #baseInFlight = 0;
  #baseP50Ms = 0;
  #samples = 0;
  #elapsedMs = 0;
  #areaMs = 0;
  #p50Sum = 0;

  /** `doubles`: the limit is so low that doubling it costs next to nothing. */
  constructor(doubles: boolean) {
    this.#doubles = doubles;
  }

  /** Takes a window in. */
  add(reading: Reading): TrialStep {
    if (this.#phase === 'settling') {
      // The limit has just moved: this window is a mixture.
      this.#phase = 'raised';
      return WAIT;
    }
    this.#samples += reading.samples;
    this.#elapsedMs += reading.elapsedMs;
    this.#areaMs += reading.inFlight * reading.elapsedMs;
    this.#p50Sum += reading.p50Ms * reading.samples;
    if (this.#samples < (this.#doubles ? ENOUGH_DOUBLED : ENOUGH)) return WAIT;
    const inFlight = this.#areaMs / this.#elapsedMs;
    const p50Ms = this.#p50Sum / this.#samples;
    if (this.#phase === 'raised') {
      const step = Math.log(inFlight / this.#baseInFlight);
      const elasticity = step < LEAST_STEP ? Number.NaN : Math.log(p50Ms / this.#baseP50Ms) / step;
      return { kind: 'result', elasticity };
    }
    this.#baseInFlight = inFlight;
    this.#baseP50Ms = p50Ms;
    this.#phase = 'settling';
    this.#samples = 0;
    this.#elapsedMs = 0;
    this.#areaMs = 0;
    this.#p50Sum = 0;
    return { kind: 'raise', factor: this.#doubles ? DOUBLE : STEP };
  }
}
