/**
 * One keep-alive HTTP/1.1 connection of the open-loop sender, as cheap as Node allows: prebuilt request bytes out, and
 * of the answer only what is counted, the status, an `SPW_` code and where it ends. Some 15 µs of CPU an answer against
 * 60 to 80 with `node:http`, so that the sender does not take the CPU from what it measures.
 *
 * Limits: one request at a time, no pipelining, no HEAD; heads up to 64 KiB; a chunked body is followed chunk by chunk, its
 * trailers up to the empty line. Not a validator: tests about framing use raw.ts.
 */
import { connect } from 'node:net';
import type { Socket } from 'node:net';

/** How a request ended that got no complete answer. */
export type Failure = 'connect' | 'reset' | 'timeout' | 'truncated' | 'garbage';

export interface ConnectionEvents {
  /** A complete answer. `reusable` says whether another request may follow on this connection. */
  readonly answered: (connection: LoadConnection, status: number, code: string, reusable: boolean) => void;
  /** No complete answer to the request in flight. `untouched`: a reused connection that ended before any byte. */
  readonly failed: (connection: LoadConnection, failure: Failure, untouched: boolean) => void;
  /** An idle connection was closed by the other side. */
  readonly gone: (connection: LoadConnection) => void;
  /** The head of an answer, before `answered`: for callers who keep cookies. */
  readonly head?: (connection: LoadConnection, head: string) => void;
}

const HEAD_BYTES_MAX = 65_536;
/** A problem+json of the gateway is some 300 bytes; more is not searched for a code. */
const CODE_SEARCH_BYTES = 4096;

const CONTENT_LENGTH = /\r\ncontent-length:[ \t]*(\d+)/i;
const CHUNKED = /\r\ntransfer-encoding:[ \t]*chunked/i;
const CLOSES = /\r\nconnection:[ \t]*close/i;
const CODE = /SPW_[A-Z_]+/;
const RETRY_AFTER = /\r\nretry-after:[ \t]*(\d+)/i;
/** How long a request waited in the gateway, where it says so (`log.serverTiming`). */
const QUEUED = /\r\nserver-timing:[^\r]*queue;dur=([\d.]+)/i;
/** A request id begins with the name of the worker that gave it. */
const REQUEST_ID = /\r\nx-request-id:[ \t]*([^\r]+)-[^\r-]*/i;

type Phase = 'head' | 'length' | 'chunkSize' | 'chunk' | 'trailers' | 'untilClose';

export class LoadConnection {
  /** Of the last refusal: whole seconds after which to come back, NaN without. */
  retryAfterSeconds = Number.NaN;
  /** Of the last refusal: how long it had waited, NaN when the answer does not say. */
  queuedMs = Number.NaN;
  /** Who answers here: the first answer's request id tells, empty before or without one. */
  worker = '';
  readonly #events: ConnectionEvents;
  readonly #socket: Socket;
  #busy = false;
  #ended = false;
  #connected = false;
  #requests = 0;
  #bytes = 0;
  #phase: Phase = 'head';
  #rest: Buffer | undefined;
  #left = 0;
  #status = 0;
  #reusable = true;
  #body = '';

  constructor(port: number, host: string, events: ConnectionEvents) {
    this.#events = events;
    this.#socket = connect({ port, host, noDelay: true });
    this.#socket.on('connect', () => {
      this.#connected = true;
    });
    this.#socket.on('data', (chunk: Buffer) => this.#take(chunk));
    this.#socket.on('error', () => this.#lost(this.#connected ? 'reset' : 'connect'));
    this.#socket.on('end', () => this.#eof());
    this.#socket.on('close', () => this.#lost(this.#connected ? 'reset' : 'connect'));
  }

  /** Sends a whole request; the connection must be new or just have answered with `reusable`. */
  send(request: Buffer): void {
    this.#busy = true;
    this.#requests += 1;
    this.#bytes = 0;
    this.#phase = 'head';
    this.#reusable = true;
    this.#body = '';
    this.#socket.write(request);
  }

  /** Gives the request in flight up, silently. */
  destroy(): void {
    this.#ended = true;
    this.#socket.destroy();
  }

  #eof(): void {
    if (this.#busy && this.#phase === 'untilClose') {
      this.#reusable = false;
      this.#complete();
      return;
    }
    this.#lost('reset');
  }

  #lost(failure: Failure): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#socket.destroy();
    if (!this.#busy) {
      this.#events.gone(this);
      return;
    }
    this.#busy = false;
    const kind = failure === 'reset' && this.#bytes > 0 ? 'truncated' : failure;
    this.#events.failed(this, kind, this.#bytes === 0 && this.#requests > 1);
  }

  #take(chunk: Buffer): void {
    if (this.#ended) return;
    if (!this.#busy) {
      // Bytes that nobody asked for: this connection is of no more use.
      this.#ended = true;
      this.#socket.destroy();
      this.#events.gone(this);
      return;
    }
    this.#bytes += chunk.length;
    let input = chunk;
    if (this.#rest !== undefined) {
      input = Buffer.concat([this.#rest, chunk]);
      this.#rest = undefined;
    }
    let at = 0;
    while (this.#busy && at < input.length) {
      const next = this.#step(input, at);
      if (next < 0) {
        this.#rest = input.subarray(at);
        if (this.#rest.length > HEAD_BYTES_MAX) this.#lost('garbage');
        return;
      }
      at = next;
    }
  }

  /** Consumes from `at`; the new position, or -1 when more bytes are needed first. */
  #step(input: Buffer, at: number): number {
    switch (this.#phase) {
      case 'head':
        return this.#head(input, at);
      case 'length':
      case 'chunk': {
        const end = Math.min(input.length, at + this.#left);
        this.#note(input, at, end);
        this.#left -= end - at;
        if (this.#left === 0) {
          if (this.#phase === 'length') this.#complete();
          else this.#phase = 'chunkSize';
        }
        return end;
      }
      case 'chunkSize':
        return this.#chunkSize(input, at);
      case 'trailers': {
        const end = input.indexOf('\r\n', at, 'latin1');
        if (end < 0) return -1;
        if (end === at) this.#complete();
        return end + 2;
      }
      case 'untilClose':
        break;
    }
    this.#note(input, at, input.length);
    return input.length;
  }

  #head(input: Buffer, at: number): number {
    const end = input.indexOf('\r\n\r\n', at, 'latin1');
    if (end < 0) return -1;
    const head = input.toString('latin1', at, end);
    const status = Number(head.slice(9, 12));
    if (!head.startsWith('HTTP/1.') || !(status >= 100 && status <= 999)) {
      this.#lost('garbage');
      return input.length;
    }
    if (status < 200) return end + 4;
    this.#status = status;
    this.#readFields(head);
    this.#events.head?.(this, head);
    if (CLOSES.test(head)) this.#reusable = false;
    const length = CONTENT_LENGTH.exec(head);
    if (status === 204 || status === 304) this.#complete();
    else if (length !== null) {
      this.#left = Number(length[1]);
      if (this.#left === 0) this.#complete();
      else this.#phase = 'length';
    } else if (CHUNKED.test(head)) this.#phase = 'chunkSize';
    else this.#phase = 'untilClose';
    return end + 4;
  }

  /** What only some need is looked for where it is rare: at refusals, and once a connection. */
  #readFields(head: string): void {
    if (this.#requests === 1) this.worker = REQUEST_ID.exec(head)?.[1] ?? '';
    if (this.#status < 400) return;
    this.retryAfterSeconds = Number(RETRY_AFTER.exec(head)?.[1] ?? Number.NaN);
    this.queuedMs = Number(QUEUED.exec(head)?.[1] ?? Number.NaN);
  }

  /** At a size line; the CRLF that ends the chunk before it is skipped here. */
  #chunkSize(input: Buffer, at: number): number {
    const from = input[at] === 13 ? at + 2 : at;
    const end = input.indexOf('\r\n', from, 'latin1');
    if (end < 0) return -1;
    const size = Number.parseInt(input.toString('latin1', from, end), 16);
    if (!(size >= 0)) {
      this.#lost('garbage');
      return input.length;
    }
    this.#left = size;
    this.#phase = size === 0 ? 'trailers' : 'chunk';
    return end + 2;
  }

  #note(input: Buffer, from: number, to: number): void {
    if (this.#status < 400 || this.#body.length >= CODE_SEARCH_BYTES) return;
    this.#body += input.toString('latin1', from, Math.min(to, from + CODE_SEARCH_BYTES));
  }

  #complete(): void {
    this.#busy = false;
    const code = this.#status < 400 ? '' : (CODE.exec(this.#body)?.[0] ?? '');
    if (!this.#reusable) this.destroy();
    this.#events.answered(this, this.#status, code, this.#reusable);
  }
}
