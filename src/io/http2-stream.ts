import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ServerHttp2Stream } from 'node:http2';
import type { TLSSocket } from 'node:tls';
import type { StreamHead } from '../forwarding/http2-head.ts';
import type { ErrorCode } from '../kernel/errors.ts';
import { exchangeOf } from './exchange.ts';
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
 */

/** The session of a stream. */
export interface StreamOwner extends AnswerSession {
  readonly gate: FrontGate;
  readonly connection: TLSSocket;
  /** Bytes of a body. */
  received(bytes: number): void;
  /** @param givenUp the caller left, or broke the stream, before the answer was whole */
  streamClosed(givenUp: boolean): void;
}

export class StreamRun extends WheelEntry {
  readonly #stream: ServerHttp2Stream;
  readonly #owner: StreamOwner;
  readonly #request: Http2Request;
  readonly #answer: Http2Answer;
  #resetHere = false;
  #bytesBefore = 0;

  constructor(stream: ServerHttp2Stream, head: StreamHead, owner: StreamOwner) {
    super();
    this.#stream = stream;
    this.#owner = owner;
    const socket = new StreamSocket(owner.connection, this.#reset);
    this.#request = new Http2Request(stream, head, socket, owner);
    this.#answer = new Http2Answer(stream, this.#request, owner);
    stream.once('close', this.#closed);
    // What broke is told by the close; without a listener an error would end the process.
    stream.on('error', ignore);
  }

  /** The request walks the steps of any other. */
  begin(refusedWith: ErrorCode | ''): void {
    const { gate } = this.#owner;
    // The few members that the steps use are there; nothing else of node:http's is.
    const req = this.#request as unknown as IncomingMessage;
    const res = this.#answer as unknown as ServerResponse;
    if (!this.#stream.endAfterHeaders) this.#arm();
    try {
      if (refusedWith === '') gate.request(req, res);
      else gate.refuse(req, res, refusedWith, 'not on this connection');
    } catch (error) {
      // What a step throws is this request's fault alone.
      gate.worker.recorder.fault(error);
      this.#reset();
    }
  }

  override expired(): void {
    const exchange = exchangeOf(this.#request as unknown as IncomingMessage);
    if (exchange === undefined || exchange.finished || this.#answer.headersSent || this.#request.complete)
      return;
    if (exchange.facts.grpc && this.#request.bytes > this.#bytesBefore) this.#arm();
    else exchange.refuse('SPW_REQUEST_TIMEOUT', 'body');
  }

  #arm(): void {
    const { worker, listener } = this.#owner.gate;
    const { requestTimeout } = listener.limits;
    if (requestTimeout === 0) return;
    this.#bytesBefore = this.#request.bytes;
    worker.wheel.arm(this, worker.now() + requestTimeout);
  }

  readonly #reset = (): void => {
    this.#resetHere = true;
    this.#answer.destroy();
  };

  readonly #closed = (): void => {
    const { gate } = this.#owner;
    gate.worker.wheel.disarm(this);
    const givenUp = !this.#resetHere && !this.#answer.writableFinished;
    const exchange = exchangeOf(this.#request as unknown as IncomingMessage);
    if (givenUp && exchange !== undefined) exchange.callerReset = this.#stream.rstCode ?? 0;
    this.#answer.closed();
    this.#owner.streamClosed(givenUp);
  };
}

function ignore(): void {
  // See above.
}
