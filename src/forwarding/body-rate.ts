/**
 * Whether one side of a transfer is too slow to be waited for (`limits.minBytesPerSecond`).
 *
 * Signal: spans of time in which the other side owed us something (bytes of a body that we were ready to read, or room
 * for bytes that we were ready to write), and how many bytes moved in them. Time in which nothing was owed is never told
 * to this module, so a paused instance, a quiet event stream or a long poll can't make their caller look slow.
 *
 * Decision: slow when the last 5 s of owed time moved less than the rate. A window, and not the average since the start
 * as in the source: there a burst at the beginning pays for an hour of silence.
 *
 * Cold start: the first 5 s. Idle gap: counts for nothing. Recovery: none is needed, a verdict ends the transfer.
 * Limits: bytes that come in lumps further apart than 5 s look slow whatever their average. Source: Kestrel's minimum
 * data rates (240 bytes/s after a grace of 5 s).
 */

/** Half: a lost packet or two over a satellite are a verdict; double: a drip holds its place twice as long. */
export const GRACE_MS = 5000;
/** Half: twice the ring for a quarter of a second; double: silence is noticed a second late. */
const SLICE_MS = 500;
const SLICES = GRACE_MS / SLICE_MS;

export class BodyRate {
  readonly #bytesPerMs: number;
  readonly #owedMs = new Float64Array(SLICES);
  readonly #bytes = new Float64Array(SLICES);
  #at = 0;
  #slow = false;

  /** @param bytesPerSecond the slowest that is waited for */
  constructor(bytesPerSecond: number) {
    this.#bytesPerMs = bytesPerSecond / 1000;
  }

  /** Stays once it is said. */
  get slow(): boolean {
    return this.#slow;
  }

  /** @param owedMs time in which something was owed, 0 = none @param bytes what moved meanwhile */
  note(owedMs: number, bytes: number): void {
    const slice = this.#at;
    this.#owedMs[slice] = (this.#owedMs[slice] ?? 0) + owedMs;
    this.#bytes[slice] = (this.#bytes[slice] ?? 0) + bytes;
    if (this.#judged()) this.#slow = true;
    if ((this.#owedMs[slice] ?? 0) < SLICE_MS) return;
    this.#at = (slice + 1) % SLICES;
    this.#owedMs[this.#at] = 0;
    this.#bytes[this.#at] = 0;
  }

  #judged(): boolean {
    let owedMs = 0;
    let bytes = 0;
    for (let slice = 0; slice < SLICES; slice++) {
      owedMs += this.#owedMs[slice] ?? 0;
      bytes += this.#bytes[slice] ?? 0;
    }
    return owedMs >= GRACE_MS && bytes < owedMs * this.#bytesPerMs;
  }
}
