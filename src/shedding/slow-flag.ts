/**
 * Is the service slow by itself? A word for people and metrics, not a control signal.
 *
 * Raised when the governor found it out (elasticity.ts), or after two windows far slower than the baseline in which nobody
 * waited for a permit: whatever that is, it is not our load. Lowered by a calm window less than 1.5 times as slow as before.
 */
import type { Reading } from './window.ts';

/** One window may be chance. */
const WINDOWS = 2;
/** × 1.5 is what a busy service does to itself, × 3 would pass over half of what callers notice. */
const MUCH_SLOWER = 1.8;
/** Below what raises it, or it would flutter. */
const FAST_AGAIN = 1.5;

export class SlowFlag {
  raised = false;
  #windows = 0;
  #beforeMs = 0;

  /** The governor is sure. `baselineMs`: the speed until now. */
  raise(baselineMs: number): void {
    if (!this.raised) this.#beforeMs = baselineMs;
    this.raised = true;
  }

  /** A window. `calm`: well below the limit and nobody waited. */
  note(reading: Reading, baselineMs: number, calm: boolean): void {
    const slow = baselineMs > 0 && !reading.bound && reading.p50Ms >= MUCH_SLOWER * baselineMs;
    this.#windows = slow ? this.#windows + 1 : 0;
    if (this.#windows >= WINDOWS) this.raise(baselineMs);
    if (calm && this.raised && reading.p50Ms < FAST_AGAIN * this.#beforeMs) this.raised = false;
  }
}
