/**
 * Decisions of one turn of the event loop leave together, with one deadline for all of them.
 *
 * The turn's end is `setImmediate`: it comes after all sockets that were readable have been read, so everything that
 * arrived together travels together. The deadline is ours alone, since a client library's own timeouts either kill the
 * handshake or leave the call running unseen. When it fires, the socket is read once more before it counts (again
 * `setImmediate`: the poll phase lies between), and it says nothing about the store when our own loop was late, up to
 * three times in a row, after which a loop that is always late may no longer excuse a store that is really gone.
 *
 * Heartbeats are batches without calls, so that they are judged by the same deadline and the same excuses.
 */
import type { StoreFitness } from '../../limits/fitness.ts';
import { SLOW } from '../../limits/fitness.ts';
import type { StoreCall, StoreReply } from '../../limits/store.ts';

/** Our loop counts as late past this. 2 ms would excuse a slow store on every busy gateway; 10 ms is half a deadline. */
const OWN_LATENESS_MS = 5;
/** A deadline that fires early (the loop's clock is read once a turn) is set again, unless this little is missing. */
const EARLY_MS = 1;
const EXCUSES_IN_A_ROW = 3;

const NOTHING: readonly never[] = Object.freeze([]);

export class Batch {
  readonly beat: boolean;
  readonly calls: StoreCall[] = [];
  readonly replies: (StoreReply | undefined)[] = [];
  /** Replies still to come. */
  left = 0;
  sentAt = 0;
  timer: NodeJS.Timeout | undefined;
  ownLatenessMs = 0;
  /** The deadline has passed and the calls have been told. */
  expired = false;
  /** Those of them that were told of no answer: only they hear a late one, or a grant would count twice. */
  untold: readonly number[] = NOTHING;
  /** It passed because of us. */
  excused = false;
  /** Calls that are to be sent a second time (Redis had lost its script); a batch does so once. */
  again: number[] = [];
  repeated = false;

  constructor(beat: boolean) {
    this.beat = beat;
  }
}

export interface TurnBatchesOptions {
  /** The longest that a call waits, ms. */
  readonly timeoutMs: number;
  /** Calls in one batch at most. */
  readonly mostCalls: number;
  readonly fitness: StoreFitness;
  /** Monotonic ms. */
  readonly clock: () => number;
  /** Sends a batch; `left` and `replies` are prepared, and each reply or failure is reported back. */
  readonly transmit: (batch: Batch) => void;
  /** Told the round trip of every batch that was answered, ms. */
  readonly onTrip?: ((tripMs: number) => void) | undefined;
  /** Told the calls and heartbeats that got no answer in time, by what came instead: `slow`, an error's word. */
  readonly onUnanswered?: ((kind: string, calls: number) => void) | undefined;
}

export class TurnBatches {
  readonly #options: TurnBatchesOptions;
  readonly #fitness: StoreFitness;
  readonly #clock: () => number;
  #open: Batch | undefined;
  #turnEndSet = false;
  #beat: Batch | undefined;
  #excuses = 0;
  #closed = false;
  calls = 0;
  batches = 0;
  missed = 0;
  failed = 0;

  constructor(options: TurnBatchesOptions) {
    this.#options = options;
    this.#fitness = options.fitness;
    this.#clock = options.clock;
  }

  add(call: StoreCall, now: number): boolean {
    if (this.#closed || !this.#fitness.mayAsk(now)) return false;
    this.calls++;
    let batch = this.#open;
    if (batch === undefined) {
      batch = new Batch(false);
      this.#open = batch;
      if (!this.#turnEndSet) {
        this.#turnEndSet = true;
        setImmediate(this.#turnEnd);
      }
    }
    batch.calls.push(call);
    if (batch.calls.length >= this.#options.mostCalls) this.#flush();
    return true;
  }

  /** Sends a heartbeat if the last one has come to its end; true when it was sent. */
  sendBeat(now: number): boolean {
    if (this.#beat !== undefined || this.#closed) return false;
    const batch = new Batch(true);
    this.#beat = batch;
    this.#fitness.beatSent(now);
    batch.left = 1;
    this.#send(batch);
    return true;
  }

  replied(batch: Batch, index: number, reply: StoreReply): void {
    batch.replies[index] = reply;
    if (--batch.left === 0) this.#complete(batch);
  }

  /**
   * One call of the batch came to nothing; `reason` counts as a failure of the store when it is not empty.
   * @param kind what it is counted as
   */
  refused(batch: Batch, reason: string, kind: string): void {
    if (!batch.expired) this.#options.onUnanswered?.(kind, 1);
    if (reason !== '' && !batch.beat) this.#fitness.failed(this.#clock(), reason);
    if (reason !== '' && batch.beat && !batch.expired) this.#fitness.beatFailed(this.#clock(), reason);
    this.failed++;
    if (--batch.left === 0) this.#complete(batch);
  }

  /** Tells every waiting call that there is no store; nothing is taken any more. */
  close(): void {
    this.#closed = true;
    this.#flush();
  }

  readonly #turnEnd = (): void => {
    this.#turnEndSet = false;
    this.#flush();
  };

  #flush(): void {
    const batch = this.#open;
    if (batch === undefined) return;
    this.#open = undefined;
    const now = this.#clock();
    if (this.#closed || !this.#fitness.mayAsk(now)) {
      for (const call of batch.calls) call.unavailable(now);
      return;
    }
    this.batches++;
    batch.left = batch.calls.length;
    for (let i = 0; i < batch.left; i++) batch.replies.push(undefined);
    this.#send(batch);
  }

  #send(batch: Batch): void {
    batch.sentAt = this.#clock();
    batch.timer = setTimeout(this.#deadline, this.#options.timeoutMs, batch);
    this.#options.transmit(batch);
  }

  readonly #deadline = (batch: Batch): void => {
    const late = this.#clock() - batch.sentAt - this.#options.timeoutMs;
    if (late < -EARLY_MS) {
      batch.timer = setTimeout(this.#deadline, -late, batch);
      return;
    }
    batch.timer = undefined;
    batch.ownLatenessMs = late;
    setImmediate(this.#judge, batch);
  };

  readonly #judge = (batch: Batch): void => {
    if (batch.left === 0) return;
    const now = this.#clock();
    batch.expired = true;
    this.#options.onUnanswered?.(SLOW, batch.left);
    if (batch.ownLatenessMs > OWN_LATENESS_MS && this.#excuses < EXCUSES_IN_A_ROW) {
      this.#excuses++;
      batch.excused = true;
    } else {
      this.missed++;
      if (batch.beat) this.#fitness.beatFailed(now, SLOW);
      else this.#fitness.missed(now);
    }
    if (this.#beat === batch) this.#beat = undefined;
    const untold: number[] = [];
    for (let i = 0; i < batch.calls.length; i++) if (batch.replies[i] === undefined) untold.push(i);
    batch.untold = untold;
    for (let i = 0; i < batch.calls.length; i++) settle(batch, i, now);
  };

  #complete(batch: Batch): void {
    const now = this.#clock();
    if (batch.timer !== undefined) clearTimeout(batch.timer);
    if (this.#beat === batch) this.#beat = undefined;
    const inTime = !batch.expired || batch.excused;
    if (batch.replies.some(isReply)) {
      if (inTime) this.#excuses = 0;
      if (batch.beat) this.#fitness.beatAnswered(now, inTime);
      else this.#fitness.answered(now, inTime);
      this.#options.onTrip?.(now - batch.sentAt);
    }
    if (batch.expired) for (const index of batch.untold) tellLate(batch, index, now);
    else for (let i = 0; i < batch.calls.length; i++) settle(batch, i, now);
    // Whoever still holds the batch does not hold the requests: a `Map` does so for long (see `kernel/seats.ts`).
    batch.calls.length = 0;
  }
}

function isReply(reply: StoreReply | undefined): boolean {
  return reply !== undefined;
}

function settle(batch: Batch, index: number, now: number): void {
  const call = batch.calls[index] as StoreCall;
  const reply = batch.replies[index];
  if (reply === undefined) call.unavailable(now);
  else call.answered(reply, now);
}

/** Whoever was told that no answer came may still have use for it: what it granted has been charged. */
function tellLate(batch: Batch, index: number, now: number): void {
  const reply = batch.replies[index];
  if (reply !== undefined) batch.calls[index]?.late?.(reply, now);
}
