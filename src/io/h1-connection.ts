import { Buffer } from 'node:buffer';
import net, { isIP, type Socket } from 'node:net';
import tls from 'node:tls';
import { ResponseReader, type ResponseSink } from '../forwarding/response-reader.ts';
import type { Seated } from '../kernel/seats.ts';
import { H1Upload } from './h1-upload.ts';
import type { KnownAddresses } from './known-addresses.ts';
import type { ReadMemory, SpareMemory } from './read-memory.ts';
import type {
  TlsConnectOptions,
  UpstreamController,
  UpstreamHandler,
  UpstreamRequest,
} from './upstream-pool.ts';

/**
 * One HTTP/1.1 connection to an instance: a request at a time, its answer told to the handler.
 *
 * The socket reads into one buffer that all connections of a pool share, so that reading a small answer allocates nothing;
 * what the handler may keep is copied out of it. While a large body comes, the connection reads into buffers of its own
 * that are passed on as they are (`read-memory.ts`). It never repeats a request and keeps no deadline: whoever asked decides both. After an
 * answer it is free again only if both sides' messages are whole, the server keeps the connection and nothing came behind
 * the answer; a byte or an end that comes while nobody asked closes it, so nothing unasked is ever taken for an answer.
 */

/** What a connection tells its pool. */
export interface ConnectionKeeper {
  /** It is connected and free. */
  freed(connection: H1Connection): void;
  /** It is closed. @param stale it broke under a request, before a byte of an answer, though it had served before */
  closed(connection: H1Connection, stale: boolean): void;
}

export interface ConnectionTarget {
  readonly host: string;
  readonly port: number;
  /** Answers for `host` without asking for it anew. */
  readonly lookup: KnownAddresses['lookup'];
  readonly secure: boolean;
  readonly tls: TlsConnectOptions;
  /** A connect that nobody waits for any more ends after this. */
  readonly connectTimeoutMs: number;
  /** Shared by all connections of the pool. */
  readonly buffer: Buffer;
  /** Where large bodies are read to. */
  readonly spares: SpareMemory;
}

/** What comes in larger pieces than this is not copied: it is read into a buffer that may be kept. */
const COPY_BYTES = 8 * 1024;
/** A dead peer is found after a minute, as with undici. */
const KEEP_ALIVE_PROBE_MS = 60_000;

export class H1Connection implements UpstreamController, ResponseSink, Seated {
  seat = -1;
  readonly #keeper: ConnectionKeeper;
  readonly #target: ConnectionTarget;
  readonly #reader: ResponseReader;
  readonly #socket: Socket;
  #request: UpstreamRequest | undefined;
  #handler: UpstreamHandler | undefined;
  #upload: H1Upload | undefined = undefined;
  #connected = false;
  /** Its handler is being told that it is written next. */
  #starting = false;
  #paused = false;
  #error: Error | undefined = undefined;
  /** Reads go to a buffer of its own, since what comes is large. */
  #large = false;
  /** Where large pieces are read to. */
  #memory: ReadMemory | undefined = undefined;
  #reading: Buffer;
  rawHeaders: readonly string[] = NONE;
  rawTrailers: readonly string[] = NONE;
  /** A byte came since the last request was written. */
  #heard = false;
  /** Requests it was given. */
  served = 0;
  /** Moment at which it is closed if nobody uses it, while it is free. */
  expiresMs = 0;

  /** Opens a connection for a request. */
  constructor(
    target: ConnectionTarget,
    keeper: ConnectionKeeper,
    request: UpstreamRequest,
    handler: UpstreamHandler,
  ) {
    this.#target = target;
    this.#keeper = keeper;
    this.#request = request;
    this.#handler = handler;
    this.#reading = target.buffer;
    this.#reader = new ResponseReader(this);
    this.#socket = this.#connect();
  }

  get persistent(): boolean {
    return this.#reader.persistent;
  }

  /** It broke or was ended; its keeper hears of that only when the socket has closed, in a later turn of the loop. */
  get ended(): boolean {
    return this.#socket.destroyed;
  }

  /** Seconds for which the server keeps it, -1 when it does not say. */
  get keepAliveS(): number {
    return this.#reader.keepAliveS;
  }

  /** Sends a request on a free connection. */
  send(request: UpstreamRequest, handler: UpstreamHandler): void {
    this.#request = request;
    this.#handler = handler;
    this.#start();
  }

  /** Closes it whatever it does. */
  destroy(error: Error): void {
    this.#error ??= error;
    this.#end();
  }

  // What the handler may do -------------------------------------------------------------------------------------------

  pause(): void {
    this.#paused = true;
    this.#socket.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#socket.resume();
  }

  abort(_reason: Error): void {
    if (this.#handler === undefined) return;
    this.#handler = undefined;
    if (!this.#starting) this.#end();
  }

  // The socket --------------------------------------------------------------------------------------------------------

  #connect(): Socket {
    const { host, port, lookup, secure, connectTimeoutMs } = this.#target;
    const options = {
      host,
      port,
      lookup,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_PROBE_MS,
      onread: { buffer: () => this.#nextBuffer(), callback: (length: number) => this.#onBytes(length) },
    };
    const socket = secure
      ? tls.connect({
          ...options,
          ALPNProtocols: ['http/1.1'],
          ...(isIP(host) === 0 ? { servername: host } : {}),
          ...this.#target.tls,
        } as tls.ConnectionOptions)
      : net.connect(options as unknown as net.NetConnectOpts);
    socket.setTimeout(connectTimeoutMs * 2, () => {
      this.#socket.destroy(CONNECT_TIMEOUT);
    });
    socket.once(secure ? 'secureConnect' : 'connect', () => {
      this.#onConnect();
    });
    socket.on('error', (error) => {
      this.#error ??= error;
    });
    socket.on('drain', () => {
      this.#upload?.drained();
    });
    socket.on('end', () => {
      this.#onEnd();
    });
    socket.on('close', () => {
      this.#onClose();
    });
    return socket;
  }

  #onConnect(): void {
    this.#socket.setTimeout(0);
    this.#connected = true;
    this.#start();
  }

  #start(): void {
    const request = this.#request;
    const handler = this.#handler;
    if (request === undefined || handler === undefined) return;
    this.#request = undefined;
    this.#starting = true;
    handler.onRequestStart(this);
    this.#starting = false;
    if (this.#handler === undefined) {
      // Given up before anything was written: the connection is as good as before.
      this.#keeper.freed(this);
      return;
    }
    this.served++;
    this.#heard = false;
    this.rawTrailers = NONE;
    this.#reader.begin(request.method);
    const { body, bodyBytes, headers } = request;
    let head = `${request.method} ${request.path} HTTP/1.1\r\n`;
    for (let index = 0; index + 1 < headers.length; index += 2)
      head += `${headers[index] ?? ''}: ${headers[index + 1] ?? ''}\r\n`;
    if (body === null) this.#socket.write(`${head}connection: keep-alive\r\n\r\n`, 'latin1');
    else this.#upload = new H1Upload(this.#socket, head, body, bodyBytes);
  }

  /** @returns false when node must read no more into this buffer */
  #onBytes(length: number): boolean {
    if (this.#handler === undefined) {
      this.#end();
      return true;
    }
    this.#heard = true;
    this.#large = length > COPY_BYTES;
    const fault = this.#reader.read(this.#reading, length);
    if (fault !== '') this.#fail(new AnswerFault(fault));
    else if (this.#handler === undefined) this.#settle();
    return true;
  }

  /** An answer is over: the connection is free, or has to end. */
  #settle(): void {
    const upload = this.#upload;
    this.#upload = undefined;
    this.#large = false;
    // An instance that answered before it read may never read on: what still waits here would wait before the next request.
    const whole = upload === undefined || (upload.done && this.#socket.writableLength === 0);
    if (!whole || !this.#reader.persistent || this.#reader.surplus || this.#socket.destroyed) {
      upload?.stop();
      this.#end();
      return;
    }
    if (this.#paused) this.resume();
    this.#keeper.freed(this);
  }

  #onEnd(): void {
    if (this.#handler !== undefined && !this.#reader.close()) this.#error ??= CLOSED;
    this.#end();
  }

  #onClose(): void {
    const handler = this.#handler;
    this.#handler = undefined;
    this.#upload?.stop();
    this.#upload = undefined;
    const stale = handler !== undefined && this.served > 1 && !this.#heard;
    this.#keeper.closed(this, stale);
    handler?.onResponseError(this.#connected ? this : undefined, this.#error ?? CLOSED);
  }

  #fail(error: Error): void {
    const handler = this.#handler;
    this.#handler = undefined;
    this.#end();
    handler?.onResponseError(this, error);
  }

  #end(): void {
    this.#large = false;
    this.#leaveMemory();
    this.#reader.stop();
    this.#upload?.stop();
    this.#socket.destroy();
  }

  // What the reader finds ---------------------------------------------------------------------------------------------

  interim(status: number, rawHeaders: readonly string[]): void {
    this.rawHeaders = rawHeaders;
    this.#handler?.onResponseStart(this, status);
  }

  head(status: number, rawHeaders: readonly string[]): void {
    this.rawHeaders = rawHeaders;
    this.#handler?.onResponseStart(this, status);
  }

  text(body: string): void {
    this.#handler?.onResponseText(this, body);
  }

  bytes(chunk: Buffer): void {
    const memory = this.#memory;
    if (memory === undefined || chunk.length <= COPY_BYTES)
      this.#handler?.onResponseData(this, Buffer.from(chunk), undefined);
    else this.#handler?.onResponseData(this, chunk, memory.hold());
  }

  end(trailers: readonly string[]): void {
    const handler = this.#handler;
    this.#handler = undefined;
    this.rawTrailers = trailers;
    handler?.onResponseEnd(this);
  }

  #nextBuffer(): Buffer {
    if (!this.#large) {
      this.#leaveMemory();
      this.#reading = this.#target.buffer;
      return this.#reading;
    }
    if (this.#memory === undefined || this.#memory.held) {
      this.#leaveMemory();
      this.#memory = this.#target.spares.take();
    }
    this.#reading = this.#memory.buffer;
    return this.#reading;
  }

  #leaveMemory(): void {
    this.#memory?.leave();
    this.#memory = undefined;
  }
}

const NONE: readonly string[] = Object.freeze([]);
const CONNECT_TIMEOUT = Object.assign(new Error('connect timeout'), { code: 'ETIMEDOUT' });
const CLOSED = Object.assign(new Error('the instance closed the connection'), { code: 'CLOSED' });

/** An answer that is none; named as parsers of HTTP name their faults. */
class AnswerFault extends Error {
  readonly code: string;

  constructor(fault: string) {
    super(fault);
    this.code = `HPE_${fault.replaceAll(' ', '_').toUpperCase()}`;
  }
}
