import { EventEmitter } from 'node:events';
import type { ServerResponse } from 'node:http';
import { constants, type OutgoingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import { isHopByHop } from '../forwarding/field-names.ts';
import type { Http2Request } from './http2-request.ts';
import { resetStream } from './http2-reset.ts';
import type { StreamSocket } from './http2-socket.ts';

/**
 * The answer of one HTTP/2 stream, with the members of node:http's that the steps use.
 *
 * A head waits for the first chunk or the end of the tick, as in HTTP/1, so that a small answer is one write. What speaks of
 * a connection is left out: `connection: close` says nothing here, the session has GOAWAY. An answer that is over while
 * its upload is not ends with RST_STREAM NO_ERROR (RFC 9113 §8.1); one that cannot be completed with INTERNAL_ERROR, and
 * at once: a reset waits in the queue of a caller that reads nothing, and its permit must not.
 */

/** What an answer asks of its session. */
export interface AnswerSession {
  /** A head leaves: time to say that nothing new is taken, if so. */
  answering(): void;
  /** A chunk was sent. */
  sent(): void;
}

/** Half: twice the looks at a caller who reads slowly and sends on; double: his upload runs that much longer. */
const RESET_RETRY_MS = 50;
const NONE: readonly string[] = Object.freeze([]);

export class Http2Answer extends EventEmitter {
  readonly socket: StreamSocket;
  readonly #stream: ServerHttp2Stream;
  readonly #request: Http2Request;
  readonly #session: AnswerSession;
  #list: readonly string[] = NONE;
  #trailers: readonly (readonly [string, string])[] | undefined = undefined;
  #responded = false;
  #waitsForTrailers = false;
  /** A status or a method without content. */
  #bodyless = false;
  /** What the caller is told when the answer is cut. */
  resetCode: number = constants.NGHTTP2_INTERNAL_ERROR;
  statusCode = 0;
  headersSent = false;
  writableEnded = false;

  constructor(stream: ServerHttp2Stream, request: Http2Request, session: AnswerSession) {
    super();
    this.#stream = stream;
    this.#request = request;
    this.#session = session;
    this.socket = request.socket;
    stream.on('drain', this.#onDrain);
  }

  get destroyed(): boolean {
    return this.#stream.destroyed || this.#stream.closed;
  }

  /**
   * The whole answer was taken. Node closes a stream of which it has read the end as soon as ours is on its way, and then
   * never says `finish`; of a stream that was given up it ends our side too, but not without a code. Limit: who gives up with
   * NO_ERROR what was written whole counts as having it, as over HTTP/1, where the kernel has it then.
   */
  get writableFinished(): boolean {
    const stream = this.#stream;
    if (!this.writableEnded || stream.rstCode !== constants.NGHTTP2_NO_ERROR) return false;
    return stream.writableFinished || (stream.closed && this.#request.endSeen);
  }

  writeContinue(): void {
    this.#inform({ ':status': constants.HTTP_STATUS_CONTINUE });
  }

  /** An interim answer; values of a name that comes twice are kept apart. */
  writeInformation(status: number, list: readonly string[]): void {
    const fields: OutgoingHttpHeaders = { ':status': status };
    for (let index = 0; index + 1 < list.length; index += 2) {
      const name = (list[index] ?? '').toLowerCase();
      const before = fields[name];
      const value = list[index + 1] ?? '';
      if (before === undefined) fields[name] = value;
      else fields[name] = Array.isArray(before) ? [...before, value] : [String(before), value];
    }
    this.#inform(fields);
  }

  writeHead(status: number, list: readonly string[]): this {
    this.statusCode = status;
    this.#list = list;
    this.headersSent = true;
    this.#bodyless = status === 204 || status === 205 || status === 304 || this.#request.method === 'HEAD';
    this.#session.answering();
    return this;
  }

  flushHeaders(): void {
    if (!this.#responded) this.#respond(false);
  }

  /** @param encodingOrDone an encoding, or what is called when it is written */
  write(chunk: Buffer | string, encodingOrDone: BufferEncoding | (() => void) = 'utf8'): boolean {
    this.flushHeaders();
    if (this.#bodyless || this.destroyed) return true;
    this.#session.sent();
    return typeof encodingOrDone === 'string'
      ? this.#stream.write(chunk, encodingOrDone)
      : this.#stream.write(chunk, encodingOrDone);
  }

  addTrailers(pairs: readonly (readonly [string, string])[]): void {
    this.#trailers = pairs;
  }

  end(chunk?: Buffer | string, encodingOrDone: BufferEncoding | (() => void) = 'utf8'): this {
    if (this.writableEnded) return this;
    this.writableEnded = true;
    const empty = this.#bodyless || chunk === undefined || chunk.length === 0;
    this.#request.noteEnd();
    if (!this.#responded) this.#respond(empty && this.#trailers === undefined);
    const stream = this.#stream;
    if (this.destroyed) return this;
    this.#session.sent();
    if (empty) stream.end();
    else if (typeof encodingOrDone === 'string') stream.end(chunk, encodingOrDone);
    else stream.end(chunk, encodingOrDone);
    if (this.#waitsForTrailers) return this;
    if (stream.writableFinished) setImmediate(this.#over);
    else stream.once('finish', this.#soonOver);
    return this;
  }

  /** Ends the stream now, whatever of it is still on its way. */
  destroy(): this {
    const stream = this.#stream;
    if (stream.destroyed) return this;
    resetStream(stream, this.resetCode);
    stream.destroy();
    return this;
  }

  // No connection is handed over by HTTP/2.
  detachSocket(): void {
    // Nothing was attached.
  }

  #inform(fields: OutgoingHttpHeaders): void {
    if (this.#responded || this.destroyed) return;
    try {
      this.#stream.additionalHeaders(fields);
    } catch {
      // An interim answer that cannot be written is one the caller does without.
    }
  }

  #respond(endStream: boolean): void {
    this.#responded = true;
    if (this.destroyed) return;
    const list = this.#list;
    const head: string[] = [':status', String(this.statusCode)];
    let sized = false;
    for (let index = 0; index + 1 < list.length; index += 2) {
      const name = (list[index] ?? '').toLowerCase();
      if (isHopByHop(name)) continue;
      if (name === 'content-length') sized = true;
      head.push(name, list[index + 1] ?? '');
    }
    const ends = endStream || this.#bodyless;
    // Whether trailers come is known at the end only; behind a length that was told there is no place for them.
    this.#waitsForTrailers = !ends && (this.#trailers !== undefined || (!sized && !this.writableEnded));
    if (this.#waitsForTrailers) this.#stream.once('wantTrailers', this.#sendTrailers);
    try {
      this.#stream.respond(head, {
        endStream: ends,
        waitForTrailers: this.#waitsForTrailers,
      });
    } catch {
      this.destroy();
    }
  }

  readonly #sendTrailers = (): void => {
    const fields: OutgoingHttpHeaders = {};
    for (const [name, value] of this.#trailers ?? []) {
      const lowered = name.toLowerCase();
      const before = fields[lowered];
      fields[lowered] = before === undefined ? value : [before, value].flat().map(String);
    }
    try {
      this.#stream.sendTrailers(fields);
    } catch {
      this.destroy();
      return;
    }
    // They leave in the next turn of the loop, and nothing may overtake them.
    setImmediate(this.#over);
  };

  readonly #soonOver = (): void => {
    setImmediate(this.#over);
  };

  /**
   * The answer is written: what is left of an upload reaches nobody any more. nghttp2 drops an answer that still waits to be
   * sent when its stream is reset, so a caller who is slow to take it is waited for.
   */
  readonly #over = (): void => {
    const stream = this.#stream;
    if (stream.destroyed || stream.closed) return;
    if (this.#request.complete) {
      this.#request.discard();
      return;
    }
    if (stream.state.state !== constants.NGHTTP2_STREAM_STATE_HALF_CLOSED_LOCAL) {
      setTimeout(this.#over, RESET_RETRY_MS).unref();
      return;
    }
    this.#request.discard();
    stream.close(constants.NGHTTP2_NO_ERROR);
  };

  readonly #onDrain = (): void => {
    this.emit('drain');
  };

  /** The stream is gone. */
  closed(): void {
    this.socket.closed();
    this.emit('close');
  }
}

/** An instance gave its answer up with a code of its own, which its caller may know how to read. */
export function passResetCode(res: ServerResponse, code: number): void {
  const answer: unknown = res;
  if (answer instanceof Http2Answer) answer.resetCode = code;
}
