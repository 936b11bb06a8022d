/**
 * The governor of removals by silence: automatic harm is slow, people get time.
 *
 * Signal: an instance is silent, which may also mean that the prober is blind. Decision: at most max(1, 10 %) of the
 * instances per 10 s, and at most half of them in all, are taken out for silence; the rest keeps its state, reason `held`.
 * Why: a broken health check or a lost route of the supervisor must not empty the fleet; what is really dead meanwhile
 * shows in traffic and leaves by outlier ejection. Explicit noes, closed ports and operators need no token.
 * Cold start: all tokens are there. Recovery: a token returns 10 s after its use. One of one may go: `panic` still uses it.
 */

/** Half: a real outage of a rack takes twice as long to leave. Double: a blind prober removes half in 20 s, not 50. */
const TOKENS_RATIO = 0.1;
const REFILL_MS = 10_000;
/** The share that may be silent in all. More, and the rest drowns in the traffic of the removed. */
const MAX_SILENT_RATIO = 0.5;

export class RemovalGovernor {
  readonly #usedAt: number[] = [];

  /**
   * Takes a token, if one is there.
   * @param instances all that belong to the service
   * @param silent how many of them are already out for silence
   */
  take(instances: number, silent: number, now: number): boolean {
    if (silent + 1 > Math.max(1, Math.floor(MAX_SILENT_RATIO * instances))) return false;
    while (this.#usedAt.length > 0 && now - (this.#usedAt[0] ?? 0) >= REFILL_MS) this.#usedAt.shift();
    if (this.#usedAt.length >= Math.max(1, Math.floor(TOKENS_RATIO * instances))) return false;
    this.#usedAt.push(now);
    return true;
  }
}
