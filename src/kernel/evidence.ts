/**
 * What one probe, or a notice on an answer, says of an instance: made from answers by `src/readiness`, weighed by
 * `src/upstreams`.
 *
 * `explicit`, it says no; `absent`, it says nothing; `drain`, it says that it leaves; `void`, the question went wrong on
 * our side or says nothing of the instance.
 */
export interface Evidence {
  readonly kind: 'pass' | 'warn' | 'explicit' | 'absent' | 'drain' | 'void';
  /** In words, for people; empty for a plain pass. */
  readonly reason: string;
  /** Names of the checks that fail, before their `:`. */
  readonly failingChecks: readonly string[];
  /** The connection was refused: a closed port is certain, other silence is not. */
  readonly refused: boolean;
  /** Nothing came in the time that a probe has. */
  readonly timedOut?: true;
}
