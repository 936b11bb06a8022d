import { SLOW } from '../../limits/fitness.ts';
import { beforeDeadline } from './before-deadline.ts';

/**
 * Answers over a connection of the supervisor's, behind which no request ever waits.
 *
 * Each has a deadline, since the library's own would end the handshake. A connection on which nothing was answered for so
 * long that it cannot be the store's slowness is replaced: one whose other end went without a word would last for minutes.
 */

/** A connection that is silent for so long is replaced. Half would do so while Redis forks; double delays what gateways tell each other past its bound. */
const SILENT_MS = 1000;

export class AnswersInTime {
  readonly #client: { disconnect(reconnect?: boolean): void };
  readonly #deadlineMs: number;
  readonly #now: () => number;
  /** Since when no call has been answered, 0 = the last one was. */
  #silentSince = 0;

  constructor(client: { disconnect(reconnect?: boolean): void }, deadlineMs: number, now: () => number) {
    this.#client = client;
    this.#deadlineMs = deadlineMs;
    this.#now = now;
  }

  async of<T>(answer: Promise<T>): Promise<T> {
    // Told by the race below, unless that is over before.
    answer.catch(() => undefined);
    try {
      const told = await beforeDeadline(answer, this.#deadlineMs);
      this.#silentSince = 0;
      return told;
    } catch (error) {
      if (!(error instanceof Error) || error.message !== SLOW) throw error;
      const now = this.#now();
      if (this.#silentSince === 0) this.#silentSince = now;
      else if (now - this.#silentSince > SILENT_MS) {
        this.#silentSince = 0;
        this.#client.disconnect(true);
      }
      throw error;
    }
  }
}
