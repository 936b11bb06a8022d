import { fieldFault } from './field-syntax.ts';
import { bareLineFeed, isOws, partialFault, readFields, statusOf } from './head-text.ts';
import { framingOf } from './response-framing.ts';

/**
 * A strict reader of HTTP/1 answers: bytes of one connection in, one reading of them out (RFC 9112).
 *
 * Why our own: this is on the path of every request, and a general parser costs as much as the rest of our client; and
 * what an intermediary reads it hands on, so where lenient parsers guess (bare LF, folded lines, two lengths, a coding
 * beside a length) this one refuses. One reader lives as long as its connection; `begin` makes it ready for one answer.
 * It holds no more than one header section. Bytes behind an answer are never read: `surplus` tells that they were there.
 *
 * Limits: a section over 16 KiB, a chunk line over 4 KiB or more than 16 hex digits of size are refused; so is `100`, since
 * nobody here sends `Expect`. Chunk extensions are dropped. What becomes of a status or a field is decided elsewhere.
 */

/** What an answer makes happen. Each call may stop the reader; nothing follows then. */
export interface ResponseSink {
  interim(status: number, rawHeaders: readonly string[]): void;
  head(status: number, rawHeaders: readonly string[]): void;
  /** The whole body of known length, one character an octet, when it came with its head and is small. */
  text(body: string): void;
  /** A piece of the body; a view into what was given to `read`. */
  bytes(chunk: Buffer): void;
  /** @param trailers names and values, empty as a rule */
  end(trailers: readonly string[]): void;
}

/** Half, and large cookies make an answer unreadable; double, and an instance can make us hold twice as much for each connection. */
const MOST_HEAD_BYTES = 16 * 1024;
/** A chunk's line: its size and extensions that nobody reads. */
const MOST_CHUNK_LINE_BYTES = 4 * 1024;
/** Below this a body leaves with its head in one write, for which it is needed as text. */
const TEXT_BYTES = 8 * 1024;

type Stage = 'idle' | 'head' | 'length' | 'size' | 'chunk' | 'chunk-end' | 'trailers' | 'close' | 'stopped';

export class ResponseReader {
  readonly #sink: ResponseSink;
  #stage: Stage = 'idle';
  #toHead = false;
  /** Characters of a section or line that is not whole yet. */
  #held = '';
  /** Bytes of the body, or of the chunk, that are still to come. */
  #left = 0;
  #raw: readonly string[] = NONE;
  /** Names of the last head's fields. */
  readonly #names: string[] = [];
  /** The connection may serve another request after this answer. */
  persistent = false;
  /** Seconds that the server says it keeps an idle connection, -1 when it does not say. */
  keepAliveS = -1;
  /** Bytes came that belong to no answer. */
  surplus = false;

  constructor(sink: ResponseSink) {
    this.#sink = sink;
  }

  /** Makes ready for the answer to a request. */
  begin(method: string): void {
    this.#stage = 'head';
    this.#toHead = method === 'HEAD';
    this.#held = '';
    this.persistent = false;
    this.keepAliveS = -1;
  }

  /** No more of this answer is wanted. */
  stop(): void {
    this.#stage = 'stopped';
  }

  /** The answer has no other end than that of its connection. */
  get untilClose(): boolean {
    return this.#stage === 'close';
  }

  /**
   * Takes what came.
   * @param length of it, from the beginning of `bytes`
   * @returns what is wrong with it, or ''
   */
  read(bytes: Buffer, length: number): string {
    let at = 0;
    while (at < length) {
      switch (this.#stage) {
        case 'idle':
          this.surplus = true;
          return '';
        case 'stopped':
          return '';
        case 'head':
          at = this.#readHead(bytes, at, length);
          break;
        case 'length':
          at = this.#readLength(bytes, at, length);
          break;
        case 'size':
          at = this.#readSize(bytes, at, length);
          break;
        case 'chunk':
          at = this.#readChunk(bytes, at, length);
          break;
        case 'chunk-end':
          at = this.#readChunkEnd(bytes, at, length);
          break;
        case 'trailers':
          at = this.#readTrailers(bytes, at, length);
          break;
        case 'close':
          this.#sink.bytes(bytes.subarray(at, length));
          return '';
        default:
          return this.#stage satisfies never;
      }
      if (at < 0) return this.#fault;
    }
    return '';
  }

  /**
   * The server has ended its side.
   * @returns true when that was the end of the answer
   */
  close(): boolean {
    if (this.#stage !== 'close') return false;
    this.#end(NONE);
    return true;
  }

  #fault = '';

  /** Notes a fault; the negative position ends the reading. */
  #refuse(fault: string): number {
    this.#fault = fault;
    this.#stage = 'stopped';
    return -1;
  }

  /** The answer is over, unless it was stopped while its last piece was told. */
  #end(trailers: readonly string[]): void {
    if (this.#isStopped()) return;
    this.#stage = 'idle';
    this.#sink.end(trailers);
  }

  #isStopped(): boolean {
    return this.#stage === 'stopped';
  }

  // Head --------------------------------------------------------------------------------------------------------------

  #readHead(bytes: Buffer, at: number, length: number): number {
    const before = this.#held.length;
    const text =
      this.#held + bytes.toString('latin1', at, Math.min(length, at + MOST_HEAD_BYTES + 4 - before));
    const end = text.indexOf('\r\n\r\n', Math.max(0, before - 3));
    if (end < 0) {
      const fault = partialFault(text, before);
      if (fault !== '') return this.#refuse(fault);
      if (text.length > MOST_HEAD_BYTES) return this.#refuse('header section too large');
      this.#held = text;
      return length;
    }
    this.#held = '';
    const next = at + end + 4 - before;
    const status = statusOf(text);
    if (status < 0) return this.#refuse('status line');
    const raw: string[] = [];
    const fault = readFields(text, text.indexOf('\r\n') + 2, end + 2, raw, this.#names);
    if (fault !== '') return this.#refuse(fault);
    if (status < 200) return this.#interim(status, raw, next);
    return this.#final(status, raw, text.charCodeAt(7) === ONE, bytes, next, length);
  }

  #interim(status: number, raw: readonly string[], next: number): number {
    if (status === 100 || status === 101) return this.#refuse('unasked interim answer');
    this.#sink.interim(status, raw);
    return next;
  }

  #final(
    status: number,
    raw: readonly string[],
    oneOne: boolean,
    bytes: Buffer,
    at: number,
    length: number,
  ): number {
    const framing = framingOf(raw, oneOne);
    if (framing.fault !== '') return this.#refuse(framing.fault);
    this.persistent = framing.persistent;
    this.keepAliveS = framing.keepAliveS;
    this.#raw = raw;
    if (this.#toHead || status === 204 || status === 304) {
      // A body that may not be there would be read as the next answer by whoever is less strict.
      if (status === 204 && (framing.chunked || framing.length > 0)) this.persistent = false;
      return this.#bodyless(status, at);
    }
    if (framing.chunked) this.#stage = 'size';
    else if (framing.length < 0) {
      this.#stage = 'close';
      this.persistent = false;
    } else if (framing.length === 0) return this.#bodyless(status, at);
    else {
      this.#stage = 'length';
      this.#left = framing.length;
    }
    this.#sink.head(status, raw);
    // A small body that is here already: as text it can join its head in one write.
    if (this.#stage !== 'length' || this.#left > TEXT_BYTES || length - at < this.#left) return at;
    const body = bytes.toString('latin1', at, at + this.#left);
    this.#sink.text(body);
    this.#end(NONE);
    return at + body.length;
  }

  #bodyless(status: number, at: number): number {
    this.#sink.head(status, this.#raw);
    this.#end(NONE);
    return at;
  }

  // Body --------------------------------------------------------------------------------------------------------------

  #readLength(bytes: Buffer, at: number, length: number): number {
    const next = Math.min(length, at + this.#left);
    this.#left -= next - at;
    this.#sink.bytes(bytes.subarray(at, next));
    if (this.#left === 0) this.#end(NONE);
    return next;
  }

  #readSize(bytes: Buffer, at: number, length: number): number {
    const end = this.#readLine(bytes, at, length, MOST_CHUNK_LINE_BYTES);
    if (end < 0) return this.#refuse('chunk line');
    if (this.#line === undefined) return end;
    const size = chunkSize(this.#line);
    if (size < 0) return this.#refuse('chunk size');
    this.#left = size;
    this.#stage = size === 0 ? 'trailers' : 'chunk';
    return end;
  }

  #readChunk(bytes: Buffer, at: number, length: number): number {
    const next = Math.min(length, at + this.#left);
    this.#left -= next - at;
    if (this.#left === 0) this.#stage = 'chunk-end';
    this.#sink.bytes(bytes.subarray(at, next));
    return next;
  }

  #readChunkEnd(bytes: Buffer, at: number, length: number): number {
    const end = this.#readLine(bytes, at, length, 0);
    if (end < 0 || (this.#line !== undefined && this.#line !== '')) return this.#refuse('chunk end');
    if (this.#line !== undefined) this.#stage = 'size';
    return end;
  }

  #readTrailers(bytes: Buffer, at: number, length: number): number {
    const before = this.#held.length;
    const text =
      this.#held + bytes.toString('latin1', at, Math.min(length, at + MOST_HEAD_BYTES + 4 - before));
    const bare = text.startsWith('\r\n');
    const end = bare ? 0 : text.indexOf('\r\n\r\n', Math.max(0, before - 3));
    if (end < 0) {
      if (bareLineFeed(text, before) || text.length > MOST_HEAD_BYTES) return this.#refuse('trailer section');
      this.#held = text;
      return length;
    }
    this.#held = '';
    const trailers: string[] = [];
    const fault = bare ? '' : readFields(text, 0, end + 2, trailers, []);
    if (fault !== '') return this.#refuse(fault);
    this.#end(trailers);
    return at + end + (bare ? 2 : 4) - before;
  }

  /** The line that `#readLine` found, without its end; undefined while it is not whole. */
  #line: string | undefined = undefined;

  /** @returns where to read on; negative when the line is too long or ends in a bare LF */
  #readLine(bytes: Buffer, at: number, length: number, mostBytes: number): number {
    const found = bytes.indexOf(LF, at);
    const feed = found < length ? found : -1;
    const end = feed < 0 ? length : feed + 1;
    this.#line = undefined;
    if (this.#held.length + end - at > mostBytes + 2) return -1;
    const text = this.#held + bytes.toString('latin1', at, end);
    if (feed < 0) {
      // A CR may only be the last but one of a line.
      const cr = text.indexOf('\r');
      if (cr >= 0 && cr < text.length - 1) return -1;
      this.#held = text;
      return end;
    }
    this.#held = '';
    if (text.length < 2 || text.indexOf('\r') !== text.length - 2) return -1;
    this.#line = text.slice(0, -2);
    return end;
  }
}

const NONE: readonly string[] = Object.freeze([]);
const LF = 10;
const ONE = 49;

/** At most 16 hexadecimal digits, then nothing or an extension; -1 for anything else. */
function chunkSize(line: string): number {
  let size = 0;
  let at = 0;
  for (; at < line.length; at++) {
    const digit = hexDigit(line.charCodeAt(at));
    if (digit < 0) break;
    if (at === 16) return -1;
    size = size * 16 + digit;
  }
  if (at === 0 || size > Number.MAX_SAFE_INTEGER) return -1;
  const digits = at;
  while (at < line.length && isOws(line.charCodeAt(at))) at++;
  // White space is allowed before an extension only.
  if (at === line.length ? at > digits : line[at] !== ';') return -1;
  return fieldFault(line, at, line.length) ? -1 : size;
}

function hexDigit(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  const lowered = code | 0x20;
  return lowered >= 97 && lowered <= 102 ? lowered - 87 : -1;
}
