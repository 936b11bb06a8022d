import { upstreamFault, type UpstreamFault } from '../forwarding/fault.ts';
import { extendDeadline } from './answer-life.ts';
import type { Exchange } from './exchange.ts';
import type { LiveAttempt } from './live-attempt.ts';
import { H2Error } from './upstream-h2-error.ts';
import type { Release, UpstreamController, UpstreamHandler } from './upstream-pool.ts';
import type { RequestBody } from './request-body.ts';

/**
 * One try of a request at one instance: the upstream client's handler, and nothing that decides.
 *
 * It knows how far the try got (not connected, written, answered) and tells the forwarding what happened, once. From the
 * moment it is abandoned the client's late callbacks fall on deaf ears; a request that was given up before its socket was
 * ready is never written.
 */

/** What the forwarding makes of the news of an attempt. */
export interface AttemptOwner {
  /** An interim answer (103 and the like). */
  interim(attempt: Attempt, status: number, rawHeaders: readonly string[]): void;
  /** The final response head. */
  head(attempt: Attempt, status: number, rawHeaders: readonly string[]): void;
  /** @param release of `UpstreamHandler.onResponseData` */
  chunk(attempt: Attempt, chunk: Buffer, release: Release): void;
  /** The whole body at once, as latin-1 text. */
  text(attempt: Attempt, body: string): void;
  /** @param trailers names and values of the trailer section, empty as a rule */
  end(attempt: Attempt, trailers: readonly string[]): void;
  /** It ended without an answer, or in the middle of one. */
  failed(attempt: Attempt, fault: UpstreamFault, midAnswer: boolean): void;
  /** It waits for an instance that serves nobody any more. */
  lost(attempt: Attempt, now: number): void;
}

/** A try without an answer, as it is seen by whoever decides about another. */
export interface FailedTry {
  readonly exchange: Exchange;
  readonly slot: number;
  /** Null without a body. */
  readonly body: RequestBody | null;
  abandon(): void;
}

export type AttemptStage = 'connecting' | 'sent' | 'answered' | 'over';

export class Attempt implements LiveAttempt, FailedTry, UpstreamHandler {
  readonly exchange: Exchange;
  readonly slot: number;
  readonly startedMs: number;
  readonly body: RequestBody | null;
  readonly #owner: AttemptOwner;
  readonly #connectDueMs: number;
  readonly #perTryMs: number;
  /** Moment by which the answer to a request that is written must have begun. */
  #answerDueMs = Infinity;
  #controller: UpstreamController | undefined = undefined;
  #wasGiven = false;
  stage: AttemptStage = 'connecting';
  interims = 0;

  constructor(
    exchange: Exchange,
    slot: number,
    body: RequestBody | null,
    owner: AttemptOwner,
    now: number,
    connectTimeoutMs: number,
    perTryMs: number,
  ) {
    this.exchange = exchange;
    this.slot = slot;
    this.body = body;
    this.#owner = owner;
    this.startedMs = now;
    this.#connectDueMs = now + Math.min(connectTimeoutMs, perTryMs);
    this.#perTryMs = perTryMs;
  }

  get dueMs(): number {
    if (this.stage === 'connecting') return this.#connectDueMs;
    return this.stage === 'sent' ? this.#answerDueMs : Infinity;
  }

  overdue(now: number): void {
    const { exchange } = this;
    const ownLimit = now >= this.dueMs;
    const silenceMs = exchange.route?.service.configuration.timeout.idle ?? 0;
    const stalled = this.body?.stalledFor(now, silenceMs) ?? false;
    const late = now >= exchange.deadlineMs && (stalled || !extendDeadline(exchange, now));
    if (!ownLimit && !late) {
      exchange.arm(Math.min(this.dueMs, Math.max(exchange.deadlineMs, now + 1)));
      return;
    }
    const fault = upstreamFault(undefined, this.stage === 'connecting' ? 'connect-timeout' : 'timeout');
    // An instance that does not take the body is as late as one that has it and is silent.
    if (!this.#wasGiven) this.#given();
    this.abandon();
    this.#owner.failed(this, fault, false);
  }

  lost(now: number): void {
    if (this.stage === 'sent' && this.interims === 0) this.#owner.lost(this, now);
  }

  abandon(): void {
    if (this.stage === 'over') return;
    this.stage = 'over';
    this.body?.destroy();
    const { callerReset } = this.exchange;
    this.#controller?.abort(callerReset === 0 ? ABANDONED : new H2Error('H2_RESET', callerReset));
  }

  pause(): void {
    this.#controller?.pause();
  }

  resume(): void {
    this.#controller?.resume();
  }

  /** True as long as no byte of the request was handed to a socket. */
  get unsent(): boolean {
    return this.#controller === undefined;
  }

  // The upstream client -----------------------------------------------------------------------------------------------

  onRequestStart(controller: UpstreamController): void {
    if (this.stage === 'over') {
      controller.abort(ABANDONED);
      return;
    }
    if (this.#controller !== undefined) {
      // The client wants to write the request a second time; whether that is safe is the retry policy's business.
      controller.abort(ABANDONED);
      return;
    }
    this.#controller = controller;
    this.stage = 'sent';
    const { exchange } = this;
    if (this.body === null) {
      this.#answerDueMs = this.startedMs + this.#perTryMs;
      this.#given();
    } else {
      this.body.once('end', () => {
        this.#given();
        this.#limitAnswer();
      });
    }
    exchange.arm(Math.min(this.dueMs, exchange.deadlineMs));
  }

  /** With a body the try's time counts from its last byte, as the request's own does. */
  #limitAnswer(): void {
    if (this.stage !== 'sent' || this.#perTryMs === Infinity) return;
    const { exchange } = this;
    this.#answerDueMs = exchange.worker.now() + this.#perTryMs;
    exchange.arm(Math.min(this.#answerDueMs, exchange.deadlineMs));
  }

  /**
   * The instance has the whole request: from here on the wait is its own. A caller that sends half a body must not make it
   * look late, or a handful of them would take the limit down for everybody.
   */
  #given(): void {
    if (this.stage !== 'sent') return;
    const { exchange } = this;
    this.#wasGiven = true;
    exchange.permit?.attempt(exchange.worker.now());
  }

  // A throw must not leave these: it would come out of the loop's reading and end the worker.

  onResponseStart(controller: UpstreamController, status: number): void {
    if (this.stage !== 'sent') return;
    try {
      if (status < 200) {
        this.interims++;
        this.#owner.interim(this, status, controller.rawHeaders);
        return;
      }
      this.stage = 'answered';
      this.#owner.head(this, status, controller.rawHeaders);
    } catch (error) {
      this.#ourFault(error);
    }
  }

  onResponseData(_controller: UpstreamController, chunk: Buffer, release: Release): void {
    if (this.stage !== 'answered') return;
    try {
      this.#owner.chunk(this, chunk, release);
    } catch (error) {
      this.#ourFault(error);
    }
  }

  onResponseText(_controller: UpstreamController, body: string): void {
    if (this.stage !== 'answered') return;
    try {
      this.#owner.text(this, body);
    } catch (error) {
      this.#ourFault(error);
    }
  }

  onResponseEnd(controller: UpstreamController): void {
    if (this.stage !== 'answered') return;
    this.stage = 'over';
    try {
      this.#owner.end(this, controller.rawTrailers);
    } catch (error) {
      this.#ourFault(error);
    }
  }

  onResponseError(_controller: UpstreamController | undefined, error: Error): void {
    if (this.stage === 'over') return;
    const phase = this.stage === 'connecting' ? 'connect' : this.stage === 'sent' ? 'waiting' : 'body';
    this.#fail(upstreamFault(error, phase));
  }

  /** What we throw ourselves never counts against the instance. */
  #ourFault(error: unknown): void {
    const { exchange } = this;
    exchange.worker.recorder.fault(error);
    this.abandon();
    exchange.refuse('SPW_INTERNAL', 'a step failed');
  }

  #fail(fault: UpstreamFault): void {
    if (this.stage === 'over') return;
    const { stage } = this;
    this.stage = 'over';
    this.body?.destroy();
    this.#owner.failed(this, fault, stage === 'answered');
  }
}

const ABANDONED = new Error('abandoned');
