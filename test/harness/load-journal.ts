/**
 * Every attempt of an open-loop run, one row each, so that whatever a report asks for afterwards (a window, a class, a
 * worker, a bin) is counted from what happened and not from what somebody thought of before the run.
 *
 * Columns instead of objects: 40 000 rows a run would be garbage collected in the middle of the measurement.
 */

/** *Served* is an answer below 400, *refused* one of 429 or 503; *failed* is everything else, an incomplete answer too. */
export type Fate = 'served' | 'refused' | 'failed';

export interface Entry {
  /** When it was meant to leave, ms since the start of the run. */
  readonly atMs: number;
  /** From that moment to the end of its answer, or until it was given up. */
  readonly tookMs: number;
  /** The intended moment of the caller's first attempt: `atMs` unless it is a retry. */
  readonly firstAtMs: number;
  /** 0 for the first attempt, 1 for the first retry. */
  readonly attempt: number;
  /** Into the classes of the run. */
  readonly classIndex: number;
  readonly fate: Fate;
  /** The gateway's code of a refusal, empty when there was none. */
  readonly code: string;
  /** How long it says it let the request wait, NaN when it does not say. */
  readonly queuedMs: number;
  /** Of the gateway's processes, the one that answered: the beginning of its request ids; empty when unknown. */
  readonly worker: string;
}

const FATES: readonly Fate[] = ['served', 'refused', 'failed'];
const FIRST_ROWS = 8192;
const TIMES = 4;
const MARKS = 5;

/** Texts by number: the few codes and workers of a run. */
class Words {
  readonly #numbers = new Map<string, number>();
  readonly #words: string[] = [];

  numberOf(word: string): number {
    const known = this.#numbers.get(word);
    if (known !== undefined) return known;
    const number = this.#words.length;
    this.#numbers.set(word, number);
    this.#words.push(word);
    return number;
  }

  word(number: number): string {
    return this.#words[number] ?? '';
  }
}

export class LoadJournal {
  #length = 0;
  #times = new Float64Array(FIRST_ROWS * TIMES);
  #marks = new Uint16Array(FIRST_ROWS * MARKS);
  readonly #codes = new Words();
  readonly #workers = new Words();

  get length(): number {
    return this.#length;
  }

  add(entry: Entry): void {
    if (this.#length * TIMES === this.#times.length) this.#grow();
    const time = this.#length * TIMES;
    this.#times[time] = entry.atMs;
    this.#times[time + 1] = entry.tookMs;
    this.#times[time + 2] = entry.firstAtMs;
    this.#times[time + 3] = entry.queuedMs;
    const mark = this.#length * MARKS;
    this.#marks[mark] = entry.attempt;
    this.#marks[mark + 1] = entry.classIndex;
    this.#marks[mark + 2] = FATES.indexOf(entry.fate);
    this.#marks[mark + 3] = this.#codes.numberOf(entry.code);
    this.#marks[mark + 4] = this.#workers.numberOf(entry.worker);
    this.#length += 1;
  }

  /** In the order in which they ended. */
  *entries(): Generator<Entry> {
    for (let row = 0; row < this.#length; row += 1) {
      const time = row * TIMES;
      const mark = row * MARKS;
      yield {
        atMs: this.#times[time] ?? 0,
        tookMs: this.#times[time + 1] ?? 0,
        firstAtMs: this.#times[time + 2] ?? 0,
        queuedMs: this.#times[time + 3] ?? Number.NaN,
        attempt: this.#marks[mark] ?? 0,
        classIndex: this.#marks[mark + 1] ?? 0,
        fate: FATES[this.#marks[mark + 2] ?? 2] ?? 'failed',
        code: this.#codes.word(this.#marks[mark + 3] ?? 0),
        worker: this.#workers.word(this.#marks[mark + 4] ?? 0),
      };
    }
  }

  #grow(): void {
    const times = new Float64Array(this.#times.length * 2);
    times.set(this.#times);
    this.#times = times;
    const marks = new Uint16Array(this.#marks.length * 2);
    marks.set(this.#marks);
    this.#marks = marks;
  }
}
