/**
 * What the instances of a version answered: how often, how often badly, and in which time.
 *
 * Times are counted in classes that grow by an eighth, so that several workers' can be added and a quantile is known to that
 * much. The first class takes all up to 5 ms: below that a difference is the loop's and nobody's. Figures grow as long as the
 * process lives; whoever wants those of a span takes the difference.
 */

/** Plain, to cross processes. */
export interface VersionTally {
  readonly version: string;
  readonly answered: number;
  /** Of those: 500 and more, or no answer by the fault of the instance. */
  readonly failed: number;
  /** Requests that its weight gave it while it took none. */
  readonly missed: number;
  /** Answers by class of their time to the response head. */
  readonly times: readonly number[];
}

/** Half: the noise of a busy loop is a difference; double: an answer in 6 ms that becomes one in 9 is none. */
const LEAST_MS = 5;
/** Six to a doubling, 12 %: half as many blur a bound of 1.5, twice as many are twice as much to send. */
const CLASSES_PER_DOUBLING = 6;
/** Up to 80 s. */
const CLASSES = 6 * 14;

export class VersionBook {
  readonly #version: string;
  #answered = 0;
  #failed = 0;
  #missed = 0;
  readonly #times = new Float64Array(CLASSES);

  constructor(version: string) {
    this.#version = version;
  }

  answer(hasFailed: boolean, ms: number): void {
    this.#answered++;
    if (hasFailed) this.#failed++;
    const at = timeClass(ms);
    this.#times[at] = (this.#times[at] ?? 0) + 1;
  }

  /** No answer came, by the fault of the instance. */
  lost(): void {
    this.#answered++;
    this.#failed++;
  }

  miss(): void {
    this.#missed++;
  }

  get tally(): VersionTally {
    return {
      version: this.#version,
      answered: this.#answered,
      failed: this.#failed,
      missed: this.#missed,
      times: [...this.#times],
    };
  }
}

export function emptyTally(version: string): VersionTally {
  return { version, answered: 0, failed: 0, missed: 0, times: [] };
}

/** Both together, under the name of the first. */
export function sumOf(a: VersionTally, b: VersionTally): VersionTally {
  return combined(a, b, 1);
}

/** What came since an earlier look at the same book; one that counts less than before was begun anew. */
export function since(later: VersionTally, earlier: VersionTally): VersionTally {
  return later.answered < earlier.answered || later.missed < earlier.missed
    ? later
    : combined(later, earlier, -1);
}

function combined(a: VersionTally, b: VersionTally, sign: 1 | -1): VersionTally {
  const length = Math.max(a.times.length, b.times.length);
  return {
    version: a.version,
    answered: a.answered + sign * b.answered,
    failed: a.failed + sign * b.failed,
    missed: a.missed + sign * b.missed,
    times: Array.from({ length }, (_, at) => (a.times[at] ?? 0) + sign * (b.times[at] ?? 0)),
  };
}

/** The time within which a share of the answers came, ms; 0 without any. */
export function quantileMs({ times }: VersionTally, share: number): number {
  const total = times.reduce((sum, count) => sum + count, 0);
  let seen = 0;
  for (const [at, count] of times.entries()) {
    seen += count;
    if (count > 0 && seen >= share * total) return LEAST_MS * 2 ** (at / CLASSES_PER_DOUBLING);
  }
  return 0;
}

/** How many answers came later than a time, as far as the classes tell. */
export function laterThan({ times }: VersionTally, ms: number): number {
  return times.slice(timeClass(ms) + 1).reduce((sum, count) => sum + count, 0);
}

function timeClass(ms: number): number {
  if (!(ms > LEAST_MS)) return 0;
  return Math.min(CLASSES - 1, Math.ceil(Math.log2(ms / LEAST_MS) * CLASSES_PER_DOUBLING));
}
