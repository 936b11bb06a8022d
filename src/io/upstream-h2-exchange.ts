import type { Buffer } from 'node:buffer';
import { constants, type ClientHttp2Session, type ClientHttp2Stream } from 'node:http2';
import { Duplex } from 'node:stream';
import { h2RequestFields, plainFields } from '../forwarding/h2-fields.ts';
import { resetStream } from './http2-reset.ts';
import { H2Error } from './upstream-h2-error.ts';
import type { UpstreamController, UpstreamHandler, UpstreamRequest } from './upstream-pool.ts';

/**
 * One request on one stream of a connection.
 *
 * Both directions run at once, as gRPC needs it; the answer may be over before the request is, which then ends too. An
 * answer is whole when the instance said END_STREAM. node:http2 ends the readable side also for RST_STREAM with NO_ERROR,
 * which would make half an answer look whole; so the end of the readable side is watched where it is made.
 */

/** What an exchange needs of its connection. */
export interface H2Carrier {
  readonly session: ClientHttp2Session;
  readonly scheme: 'http' | 'https';
  /** The last stream that the instance says it has begun; Infinity while it has not said goodbye. */
  readonly lastStreamId: number;
  /** What ended the connection, if something did. */
  readonly broken: Error | undefined;
  /** Something came from the instance. */
  heard(): void;
  /**
   * @param silent it was given up before a byte of its answer came
   * @param code with which its stream was closed, and not by us
   */
  over(silent: boolean, code: number): void;
}

const EXCHANGE = Symbol('exchange');

interface CarryingStream extends ClientHttp2Stream {
  [EXCHANGE]: H2Exchange | undefined;
}

const { NGHTTP2_CANCEL, NGHTTP2_NO_ERROR, NGHTTP2_REFUSED_STREAM, NGHTTP2_FLAG_END_STREAM } = constants;
/** What a paused answer holds here at most. Half: a stream is bound by the round trip sooner; double: slow readers cost more. */
export const STREAM_WINDOW_BYTES = 256 * 1024;
/** Frame type of HEADERS; node reports those it could not send by number. RFC 9113 §6.2. */
const HEADERS_FRAME = 1;

export class H2Exchange implements UpstreamController {
  readonly #carrier: H2Carrier;
  readonly #request: UpstreamRequest;
  readonly #handler: UpstreamHandler;
  #stream: ClientHttp2Stream | undefined = undefined;
  /** The handler heard its last word, or wants to hear none. */
  #over = false;
  #answered = false;
  /** What ended the readable side: END_STREAM, or the end of the stream. */
  #end: 'none' | 'whole' | 'cut' = 'none';
  /** Of the body, as its head told; -1 where it did not. */
  #length = -1;
  receivedBytes = 0;
  #unsent = false;
  rawHeaders: readonly string[] = [];
  rawTrailers: readonly string[] = [];

  constructor(carrier: H2Carrier, request: UpstreamRequest, handler: UpstreamHandler) {
    this.#carrier = carrier;
    this.#request = request;
    this.#handler = handler;
  }

  begin(): void {
    this.#handler.onRequestStart(this);
    if (this.#over) {
      this.#carrier.over(false, NGHTTP2_NO_ERROR);
      return;
    }
    const { method, path, headers, body } = this.#request;
    const { session, scheme } = this.#carrier;
    let stream: ClientHttp2Stream;
    try {
      stream = session.request(h2RequestFields(headers, method, path, scheme), { endStream: body === null });
    } catch (error) {
      this.#over = true;
      this.#carrier.over(false, NGHTTP2_NO_ERROR);
      this.#handler.onResponseError(this, error as Error);
      return;
    }
    this.#stream = stream;
    (stream as CarryingStream)[EXCHANGE] = this;
    stream.push = watchedPush;
    stream.on('headers', onInterim);
    stream.on('response', onResponse);
    stream.on('trailers', onTrailers);
    stream.on('end', onEnd);
    stream.on('frameError', onFrameError);
    stream.on('error', ignore);
    stream.on('close', onClose);
    body?.pipe(stream);
  }

  pause(): void {
    this.#stream?.pause();
  }

  resume(): void {
    this.#stream?.resume();
  }

  abort(reason: Error): void {
    if (this.#over) return;
    this.#over = true;
    this.#leave(codeOf(reason));
  }

  /** Ends the stream on our side; its `close` gives the place back. */
  #leave(code: number): void {
    const stream = this.#stream;
    if (stream === undefined) return;
    this.#request.body?.unpipe(stream);
    resetStream(stream, code);
    // What came already is read to its end, else node keeps the stream.
    stream.resume();
  }

  interim(status: number, raw: readonly string[]): void {
    this.#carrier.heard();
    if (this.#over || this.#answered) return;
    this.rawHeaders = plainFields(raw);
    this.#handler.onResponseStart(this, status);
  }

  /** @param length what `content-length` says, -1 without one */
  response(status: number, raw: readonly string[], endsHere: boolean, length: number): void {
    this.#carrier.heard();
    if (this.#over || this.#answered) return;
    this.#answered = true;
    this.#length = length;
    this.rawHeaders = plainFields(raw);
    this.#handler.onResponseStart(this, status);
    if (this.#isOver()) return;
    if (endsHere || this.#request.method === 'HEAD' || status === 204 || status === 304) {
      // Told together: an answer without a body is one piece, and gRPC's is an answer of trailers only.
      this.#complete(endsHere);
      return;
    }
    this.#stream?.on('data', onData);
  }

  data(chunk: Buffer): void {
    this.#carrier.heard();
    this.receivedBytes += chunk.length;
    if (!this.#over) this.#handler.onResponseData(this, chunk, undefined);
  }

  trailers(raw: readonly string[]): void {
    this.#carrier.heard();
    this.rawTrailers = plainFields(raw);
  }

  endPushed(cut: boolean): void {
    if (this.#end === 'none') this.#end = cut ? 'cut' : 'whole';
  }

  ended(): void {
    if (this.#over || this.#end !== 'whole' || !this.#answered) return;
    this.#complete(true);
  }

  /** The end of a request's stream never waits for the rest of the request: nobody reads it any more. */
  #complete(whole: boolean): void {
    this.#over = true;
    this.#handler.onResponseEnd(this);
    const stream = this.#stream;
    if (stream !== undefined && (!whole || !stream.writableEnded)) this.#leave(NGHTTP2_CANCEL);
    else stream?.resume();
  }

  unsendable(): void {
    this.#unsent = true;
  }

  closed(stream: ClientHttp2Stream): void {
    this.#carrier.over(this.#over && !this.#answered, this.#over ? NGHTTP2_NO_ERROR : stream.rstCode);
    if (this.#over) return;
    if (this.#answered && this.receivedBytes === this.#length) {
      // All of a known length came; how the stream ended behind it changes nothing.
      this.#complete(true);
      return;
    }
    this.#over = true;
    this.#request.body?.unpipe(stream);
    this.#handler.onResponseError(this, this.#fault(stream));
  }

  #fault(stream: ClientHttp2Stream): Error {
    const { lastStreamId, broken } = this.#carrier;
    const { rstCode } = stream;
    if (!this.#answered) {
      if (this.#unsent || (stream.id ?? Infinity) > lastStreamId) return new H2Error('H2_GOAWAY', rstCode);
      if (rstCode === NGHTTP2_REFUSED_STREAM) return new H2Error('H2_UNPROCESSED', rstCode);
    }
    return broken ?? new H2Error('H2_RESET', rstCode);
  }

  /** Asked anew after each call of the handler. */
  #isOver(): boolean {
    return this.#over;
  }
}

/** The code that an abort carries to the instance: the caller's own where it reset its stream, else CANCEL. */
function codeOf(reason: Error): number {
  const { http2Code } = reason as Partial<H2Error>;
  return typeof http2Code === 'number' && http2Code > 0 ? http2Code : NGHTTP2_CANCEL;
}

/** None any more once the stream has closed. */
function exchangeOf(stream: ClientHttp2Stream): H2Exchange | undefined {
  return (stream as CarryingStream)[EXCHANGE];
}

/**
 * node ends the readable side with a null: behind END_STREAM while the stream is open, behind a reset when it is closed. One
 * reset is an end all the same: a Node server that was held up by our window resets with NO_ERROR when it has sent all, and
 * forgets its empty frame with END_STREAM. An answer smaller than the window was never held up.
 */
function watchedPush(this: ClientHttp2Stream, chunk: unknown, encoding?: BufferEncoding): boolean {
  if (chunk === null) {
    const exchange = exchangeOf(this);
    const small = (exchange?.receivedBytes ?? 0) + this.readableLength < STREAM_WINDOW_BYTES;
    exchange?.endPushed(this.closed && (this.destroyed || this.rstCode !== NGHTTP2_NO_ERROR || small));
  }
  return Duplex.prototype.push.call(this, chunk, encoding);
}

function onInterim(
  this: ClientHttp2Stream,
  headers: { readonly ':status'?: number },
  _flags: number,
  raw: readonly string[],
): void {
  exchangeOf(this)?.interim(headers[':status'] ?? 0, raw);
}

function onResponse(
  this: ClientHttp2Stream,
  headers: { readonly ':status'?: number; readonly 'content-length'?: string },
  flags: number,
  raw: readonly string[],
): void {
  const length = Number(headers['content-length'] ?? -1);
  exchangeOf(this)?.response(headers[':status'] ?? 0, raw, (flags & NGHTTP2_FLAG_END_STREAM) !== 0, length);
}

function onTrailers(
  this: ClientHttp2Stream,
  _trailers: object,
  _flags: number,
  raw: readonly string[],
): void {
  exchangeOf(this)?.trailers(raw);
}

function onData(this: ClientHttp2Stream, chunk: Buffer): void {
  exchangeOf(this)?.data(chunk);
}

function onEnd(this: ClientHttp2Stream): void {
  exchangeOf(this)?.ended();
}

function onFrameError(this: ClientHttp2Stream, type: number): void {
  if (type === HEADERS_FRAME) exchangeOf(this)?.unsendable();
}

function onClose(this: ClientHttp2Stream): void {
  exchangeOf(this)?.closed(this);
  // Node's session holds its streams in a `Map`, hence for long (see `kernel/seats.ts`): the request is not to hang on it.
  (this as CarryingStream)[EXCHANGE] = undefined;
  this.removeAllListeners();
}

/** What went wrong is told at `close`, where the code of the reset is known. */
function ignore(): void {
  // Without a listener the error would end the process.
}
