/**
 * How many frames that do nothing a caller may send: pings, settings, streams it gives up.
 *
 * Each is cheap for the sender and asks for work here, and none is bounded by a limit on streams or bytes. Signal: one token
 * a frame. Decision: an empty bucket ends the session. Tokens come back with time, and with every chunk of an answer that is
 * sent: gRPC callers ping as often as they are sent something to measure the way, which is no flood. Cold start: a full
 * bucket. Idle gap: full again. Limit of the method: whoever downloads may ping as often as he is sent chunks. nghttp2 has
 * a bucket of its own for RST_STREAM; it does not count streams that a caller makes *us* reset (CVE-2025-8671), this does.
 */

/** As nghttp2's for resets. Half: a page with many images that is left at once; double: a second of flood passes. */
export const FRAME_BURST = 200;
/** Half: impatient callers on a slow link are cut; double: a session may cost twice as much for ever. */
export const FRAMES_PER_SECOND = 20;

export class FrameBudget {
  #tokens = FRAME_BURST;
  #filledMs: number;

  constructor(now: number) {
    this.#filledMs = now;
  }

  /** @returns false when the caller has sent too many */
  spend(now: number, tokens = 1): boolean {
    const refill = ((now - this.#filledMs) * FRAMES_PER_SECOND) / 1000;
    if (refill > 0) {
      this.#tokens = Math.min(FRAME_BURST, this.#tokens + refill);
      this.#filledMs = now;
    }
    if (this.#tokens < tokens) return false;
    this.#tokens -= tokens;
    return true;
  }

  /** A chunk was sent to the caller. */
  earn(): void {
    if (this.#tokens < FRAME_BURST) this.#tokens += 1;
  }
}
