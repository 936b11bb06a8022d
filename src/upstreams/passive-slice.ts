/**
 * What a worker saw of an instance's traffic since its last report.
 *
 * Signal: the end of every attempt. Decision: none here; the supervisor decides, since it sees all workers. A slice is sent
 * every 100 ms, and at once after a failure (the channel keeps 5 ms between two), so that five failures in a row
 * at a small service do not wait for a timer.
 * `callers` and `failedCallers` are sets of client hashes, five bits each, so two clients may share a bit (1 in 32): that
 * can hide that two fail and not one, which makes ejection later, never earlier.
 */

/**
 * `ok` an answer below 500 other than 429; `soft` 503 or 429; `hard` timeout, reset, 500, 502, 504; `connect` a connection
 * or TLS failure: hard, and certainly no caller's doing.
 */
export type AttemptVerdict = 'ok' | 'hard' | 'soft' | 'connect';

export interface PassiveReport {
  readonly ok: number;
  readonly hard: number;
  readonly soft: number;
  /** Hard failures since the last `ok` of this report. */
  readonly trailingHard: number;
  /** 32-bit set of the clients seen. */
  readonly callers: number;
  /** The same of those whose attempts failed; all bits when a failure was no caller's doing. */
  readonly failedCallers: number;
  /** An answer said that the instance drains (`x-drain: 1`). */
  readonly drains: boolean;
}

export class PassiveSlice {
  #ok = 0;
  #hard = 0;
  #soft = 0;
  #trailingHard = 0;
  #callers = 0;
  #failedCallers = 0;
  #drains = false;

  /** @param clientHash any 32-bit integer that is the same for the same client */
  record(verdict: AttemptVerdict, clientHash: number): void {
    const bit = 1 << (clientHash & 31);
    this.#callers |= bit;
    if (verdict === 'ok') {
      this.#ok++;
      this.#trailingHard = 0;
      return;
    }
    this.#failedCallers |= verdict === 'connect' ? -1 : bit;
    if (verdict === 'soft') this.#soft++;
    else {
      this.#hard++;
      this.#trailingHard++;
    }
  }

  /** An answer of the instance says that it drains. */
  noteDrain(): void {
    this.#drains = true;
  }

  /** Nothing to report. */
  get empty(): boolean {
    return this.#callers === 0 && !this.#drains;
  }

  /** The report, and a new beginning. */
  take(): PassiveReport {
    const report: PassiveReport = {
      ok: this.#ok,
      hard: this.#hard,
      soft: this.#soft,
      trailingHard: this.#trailingHard,
      callers: this.#callers,
      failedCallers: this.#failedCallers,
      drains: this.#drains,
    };
    this.#drains = false;
    this.#ok = 0;
    this.#hard = 0;
    this.#soft = 0;
    this.#trailingHard = 0;
    this.#callers = 0;
    this.#failedCallers = 0;
    return report;
  }
}
