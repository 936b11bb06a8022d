import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ServerHttp2Stream } from 'node:http2';
import type { TLSSocket } from 'node:tls';
import { translateHead, type StreamHead } from '../forwarding/http2-head.ts';
import type { ErrorCode } from '../kernel/errors.ts';
import type { Seated } from '../kernel/seats.ts';
import { exchangeOf, type Exchange } from './exchange.ts';
import type { FrontGate } from './front-gate.ts';
import { Http2Answer, type AnswerSession } from './http2-answer.ts';
import { Http2Request } from './http2-request.ts';
import { StreamSocket } from './http2-socket.ts';
import { WheelEntry } from './wheel.ts';

/**
 * One stream from its head to its end: a request, an answer, and the time its body may take.
 *
 * `requestTimeout` counts from the head to the last byte of the body, as in HTTP/1, for as long as no answer has begun:
 * then the stream is a conversation, and only silence ends it. A gRPC caller may speak for longer; its silence counts.
 *
 * A GET or HEAD whose head does not end its stream has a body or has none: callers who learn late that there is nothing to
 * send end it with an empty frame. It is not begun before its next byte or its end tells, for as long as a head may take;
 * then it is what it would be in HTTP/1, with a body or without.
 */

/** The session of a stream. */
export interface StreamOwner extends AnswerSession {
  readonly gate: FrontGate;
  readonly connection: TLSSocket;
  /** Bytes of a body. */
  received(bytes: number): void;
  /** What was held of a head that waited is needed no longer. */
  told(headBytes: number): void;
  /**
   * @param givenUp the caller left, or broke the stream, before the answer was whole
   * @param code with which it was closed
   */
  streamClosed(run: StreamRun, givenUp: boolean, code: number): void;
}

export class StreamRun extends WheelEntry implements Seated {
  seat = -1;
  readonly #stream: ServerHttp2Stream;
  readonly #owner: StreamOwner;
  readonly #request: Http2Request;
  readonly #answer: Http2Answer;
  readonly #startedMs: number;
  /** The head that waits, as it came. */
  #untold: readonly string[] | undefined = undefined;
  #untoldBytes = 0;
  #resetHere = false;
  #bytesBefore = 0;

  constructor(stream: ServerHttp2Stream, head: StreamHead, owner: StreamOwner) {
    super();
    this.#stream = stream;
    this.#owner = owner;
    this.#startedMs = owner.gate.worker.now();
    const socket = new StreamSocket(owner.connection, this.#reset);
    this.#request = new Http2Request(stream, head, socket, owner);
    this.#answer = new Http2Answer(stream, this.#request, owner);
    stream.once('close', this.#closed);
    // What broke is told by the close; without a listener an error would end the process.
    stream.on('error', ignore);
  }

  /** The request walks the steps of any other. */
  begin(refusedWith: ErrorCode | '', reason = 'not on this connection'): void {
    const { gate } = this.#owner;
    // The few members that the steps use are there; nothing else of node:http's is.
    const req = this.#request as unknown as IncomingMessage;
    const res = this.#answer as unknown as ServerResponse;
    if (!this.#request.bodyless) this.#arm(this.#startedMs);
    try {
      if (refusedWith === '') gate.request(req, res);
      else gate.refuse(req, res, refusedWith, reason);
    } catch (error) {
      // What a step throws is this request's fault alone.
      gate.worker.recorder.fault(error);
      this.#reset();
    }
  }

  /**
   * Begins once it is told whether the request has a body.
   * @param raw its head as it came, of so many bytes
   * @param longestMs after which it is refused
   */
  beginWhenTold(raw: readonly string[], headBytes: number, longestMs: number): void {
    this.#untold = raw;
    this.#untoldBytes = headBytes;
    this.#owner.gate.worker.wheel.arm(this, this.#startedMs + longestMs);
    this.#stream.on('readable', this.#next);
  }

  /** The gateway leaves: what can still be answered is, the rest must not look whole. */
  cut(): void {
    if (this.#untold !== undefined) {
      this.#stopWaiting();
      this.begin('SPW_DRAINING', '');
      return;
    }
    const exchange = this.#exchange;
    if (exchange === undefined || this.#answer.headersSent || !mayAskAgain(exchange)) {
      this.#reset();
      return;
    }
    // Nothing that it still waits for may begin it.
    exchange.next = undefined;
    exchange.refuse('SPW_DRAINING');
  }

  /** Ends it with a code, unanswered. */
  reject(code: number): void {
    this.#answer.resetCode = code;
    this.#reset();
  }

  override expired(): void {
    if (this.#untold !== undefined) {
      this.#stopWaiting();
      this.begin('SPW_REQUEST_TIMEOUT', 'body');
      return;
    }
    const exchange = this.#exchange;
    if (exchange === undefined || exchange.finished || this.#answer.headersSent || this.#request.complete)
      return;
    if (exchange.facts.grpc && this.#request.bytes > this.#bytesBefore)
      this.#arm(this.#owner.gate.worker.now());
    else exchange.refuse('SPW_REQUEST_TIMEOUT', 'body');
  }

  get #exchange(): Exchange | undefined {
    return exchangeOf(this.#request as unknown as IncomingMessage);
  }

  #arm(fromMs: number): void {
    const { worker, listener } = this.#owner.gate;
    const { requestTimeout } = listener.limits;
    if (requestTimeout === 0) return;
    this.#bytesBefore = this.#request.bytes;
    worker.wheel.arm(this, fromMs + requestTimeout);
  }

  /** Its first bytes, which stay where they are, or its end. */
  readonly #next = (): void => {
    const stream = this.#stream;
    const raw = this.#untold;
    // The end of a stream that was given up is none; its close follows.
    if (raw === undefined || stream.closed || stream.destroyed) return;
    this.#stopWaiting();
    if (stream.readableLength === 0) this.#request.endsBare(translateHead(raw, true).fields);
    this.begin('');
  };

  #stopWaiting(): void {
    if (this.#untold === undefined) return;
    this.#untold = undefined;
    this.#stream.off('readable', this.#next);
    const { gate } = this.#owner;
    gate.worker.wheel.disarm(this);
    this.#owner.told(this.#untoldBytes);
  }

  readonly #reset = (): void => {
    this.#resetHere = true;
    this.#answer.destroy();
  };

  readonly #closed = (): void => {
    const { gate } = this.#owner;
    this.#stopWaiting();
    gate.worker.wheel.disarm(this);
    const givenUp = !this.#resetHere && !this.#answer.writableFinished;
    const exchange = this.#exchange;
    const code = this.#stream.rstCode ?? 0;
    if (givenUp && exchange !== undefined) exchange.callerReset = code;
    this.#answer.closed();
    // Node's session holds its streams in a `Map`, hence for long (see `kernel/seats.ts`): the request is not to hang on it.
    this.#stream.removeAllListeners();
    this.#owner.streamClosed(this, givenUp, code);
  };
}

/** No instance was asked yet, or what it was asked may be asked twice: only then is `Retry-After` good advice. */
function mayAskAgain({ attempts, facts }: Exchange): boolean {
  return attempts === 0 || REPEATABLE.has(facts.method);
}

/** As in `upstreams/retry-policy.ts`. */
const REPEATABLE: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS']);

function ignore(): void {
  // See above.
}
