/**
 * An instance that goes and comes back again and again is held out for longer each time.
 *
 * Signal: the moments in which its probes took it out of use. Decision: from the third within a minute on (out, in, out, in,
 * out: more than four changes) it stays out for 5 s · 2^k after leaving, at most a minute, whatever its probes say; k grows
 * with each such leaving and falls by one for each minute in service. Why: every return opens it for users, and one that
 * fails them every ten seconds is worse than one that is missing. A fault behind all instances does
 * not count, nor an end that was announced.
 * Limits: who holds it out must not hold out the last one that passes (`Fleet`).
 */

const WINDOW_MS = 60_000;
/** Two are a deploy and its mistake; four let an instance that fails twice a minute go on for ever. */
const LEAVINGS = 3;
/** Half: it is tried by users as often as it falls; double: the first mistake costs as much as the third. */
const BASE_MS = 5000;
/** Longest. Half: a crash loop of a minute never grows out of sight; double: a repaired one waits for two minutes. */
const CAP_MS = 60_000;
const MAX_K = 4;

export class FlapHold {
  /** How long after leaving it stays out; 0 = no longer than others. */
  holdMs = 0;
  readonly #leftAt: number[] = [];
  #k = 0;
  #backAt = -Infinity;

  /** Its probes take it out of use. */
  left(now: number): void {
    this.#leftAt.push(now);
    while (this.#leftAt.length > LEAVINGS) this.#leftAt.shift();
    this.#k = Math.max(0, this.#k - Math.floor((now - this.#backAt) / WINDOW_MS));
    const first = this.#leftAt[0] ?? now;
    const flaps = this.#leftAt.length === LEAVINGS && now - first <= WINDOW_MS;
    if (!flaps && this.#k === 0) {
      this.holdMs = 0;
      return;
    }
    this.holdMs = Math.min(CAP_MS, BASE_MS * 2 ** this.#k);
    this.#k = Math.min(MAX_K, this.#k + 1);
  }

  /** It is in use again. */
  back(now: number): void {
    this.#backAt = now;
  }

  /** It left for a fault behind all instances: what was counted since then was not its own. */
  forgive(since: number): void {
    while ((this.#leftAt.at(-1) ?? -Infinity) >= since) this.#leftAt.pop();
    this.holdMs = 0;
  }
}
