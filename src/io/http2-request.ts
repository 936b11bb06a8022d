import { constants, type ServerHttp2Stream } from 'node:http2';
import { Readable } from 'node:stream';
import type { StreamHead } from '../forwarding/http2-head.ts';
import { STREAM_MAJOR, STREAM_MINOR } from '../forwarding/request-facts.ts';
import type { StreamSocket } from './http2-socket.ts';

/** Who keeps count of what was read. */
export interface BodyReader {
  received(bytes: number): void;
}

/**
 * The request of one HTTP/2 stream, with the members of node:http's that the steps use.
 *
 * Its bytes are pulled from the stream only when somebody reads, so that the caller's window closes when an instance is
 * slow. The trap is the end: Node also ends the readable side of a stream that its caller gave up, and half an upload
 * would look whole to the instance. Only an end on a stream that is still open is the body's.
 */
export class Http2Request extends Readable {
  readonly httpVersionMajor = STREAM_MAJOR;
  readonly httpVersionMinor = STREAM_MINOR;
  rawHeaders: readonly string[];
  readonly method: string;
  url: string;
  /** Of its body, read so far. */
  bytes = 0;
  readonly socket: StreamSocket;
  readonly #stream: ServerHttp2Stream;
  readonly #reader: BodyReader;
  #headers: Record<string, string> | undefined = undefined;
  #attached = false;
  #bodyless: boolean;
  #whole: boolean;

  constructor(stream: ServerHttp2Stream, head: StreamHead, socket: StreamSocket, reader: BodyReader) {
    super({ autoDestroy: false });
    this.#stream = stream;
    this.rawHeaders = head.fields;
    this.method = head.method;
    this.url = head.target;
    this.socket = socket;
    this.#reader = reader;
    this.#bodyless = stream.endAfterHeaders;
    this.#whole = stream.endAfterHeaders;
  }

  /** What followed its head was the end alone. @param fields the head of a request without a body */
  endsBare(fields: readonly string[]): void {
    this.rawHeaders = fields;
    this.#bodyless = true;
    this.#whole = true;
  }

  /** Nothing follows its head. */
  get bodyless(): boolean {
    return this.#bodyless;
  }

  /** Its end came behind its head, and was seen. */
  get endSeen(): boolean {
    return this.#whole && !this.#stream.endAfterHeaders;
  }

  /** Looks for its end while the stream can still tell. */
  noteEnd(): void {
    this.#whole = this.complete;
  }

  /** The caller has sent everything, whether or not it was read. */
  get complete(): boolean {
    if (this.#whole) return true;
    const stream = this.#stream;
    if (stream.closed || stream.destroyed) return false;
    this.#whole = stream.state.state === constants.NGHTTP2_STREAM_STATE_HALF_CLOSED_REMOTE;
    return this.#whole;
  }

  /** For whoever looks fields up by name, which the usual path does not; the last of a name counts. */
  get headers(): Record<string, string> {
    if (this.#headers === undefined) {
      const headers = Object.create(null) as Record<string, string>;
      const { rawHeaders } = this;
      for (let index = 0; index + 1 < rawHeaders.length; index += 2)
        headers[rawHeaders[index] ?? ''] = rawHeaders[index + 1] ?? '';
      this.#headers = headers;
    }
    return this.#headers;
  }

  override _read(): void {
    const stream = this.#stream;
    if (this.#attached) {
      stream.resume();
      return;
    }
    this.#attached = true;
    if (this.#bodyless) {
      this.push(null);
      return;
    }
    if (stream.readableEnded) {
      // Node tells the end of an empty body to whoever listens when it comes, and the request may have waited since.
      this.#onEnd();
      return;
    }
    stream.on('data', this.#onData);
    stream.once('end', this.#onEnd);
  }

  /** Nobody reads on: what still comes is dropped, or the stream could not close. */
  discard(): void {
    const stream = this.#stream;
    stream.off('data', this.#onData);
    stream.off('end', this.#onEnd);
    stream.on('data', this.#onDropped);
    if (!stream.destroyed) stream.resume();
  }

  readonly #onDropped = (chunk: Buffer): void => {
    this.#reader.received(chunk.length);
  };

  readonly #onData = (chunk: Buffer): void => {
    this.bytes += chunk.length;
    this.#reader.received(chunk.length);
    if (!this.push(chunk)) this.#stream.pause();
  };

  readonly #onEnd = (): void => {
    if (this.#stream.closed || this.#stream.destroyed) return;
    this.#whole = true;
    this.push(null);
  };
}
