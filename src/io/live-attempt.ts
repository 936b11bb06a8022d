/** An attempt in flight at an instance, as the exchange needs to see it. */
export interface LiveAttempt {
  /** Stops it wherever it stands; nothing of it reaches the exchange afterwards. */
  abandon(): void;
  /** The caller reads again after back pressure. */
  resume(): void;
  /** A moment of its own (connecting) came; `now` past the exchange's deadline ends the request instead. */
  overdue(now: number): void;
  /** The gateway leaves: whoever would run on for ever says so to its caller and ends. */
  leave?(now: number): void;
  /** Its instance serves nobody any more: what can be repeated goes elsewhere, the rest waits on. */
  lost?(now: number): void;
  /** Moment of its own next limit, Infinity when the request's deadline rules. */
  readonly dueMs: number;
}
