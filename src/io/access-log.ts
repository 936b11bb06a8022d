/**
 * The access log: one JSON line a request, through pino's asynchronous destination.
 *
 * Decision: lines are concatenated by hand, since a serializer would cost more than the rest of the outcome step, and are
 * valid JSON whatever a caller sent: controls (C0, DEL, C1), U+2028/9 and lone surrogates never get out raw, a string
 * takes at most 1 KiB and a line at most 4 KiB. No query, no header, no key is ever part of a line.
 *
 * Overload: a flood of refusals must not become a flood of writes, so at most `REFUSALS_PER_SECOND` of them get a line;
 * when the reader of the log is too slow, 8 MiB wait and later lines are dropped. Both are counted in `dropped`.
 *
 * Several workers may share one pipe. The kernel writes up to PIPE_BUF (4096 B on Linux) in one piece and may mix larger
 * writes, so a pipe gets writes of at most that, cut between lines; a file gets 64 KiB at a time.
 * Limits: `flush` is the caller's, once a second and before the end; a crash loses what was not flushed.
 */
import { fstatSync, statSync, type Stats } from 'node:fs';
import { destination as pinoDestination } from 'pino';

export interface AccessPolicy {
  /** `errors`: answers from 500 up and all that the gateway answered itself; `sampled`: these, and a share of the rest. */
  readonly mode: 'all' | 'errors' | 'off' | 'sampled';
  /** 0..1, `sampled` only. */
  readonly ratio: number;
}

/** One finished request. Strings may hold anything; empty means "none". */
export interface AccessRecord {
  /** Epoch ms of the end of the request. */
  readonly wallMs: number;
  readonly requestId: string;
  /** The client's name or the hash of its address, never its key. */
  readonly client: string;
  readonly tier: string;
  readonly route: string;
  readonly service: string;
  readonly instance: string;
  readonly method: string;
  /** Without the query; what stands behind a `?` is cut off here once more. */
  readonly path: string;
  readonly status: number;
  /** The gateway's own code, empty for an answer of the service. */
  readonly code: string;
  readonly durationMs: number;
  readonly queueMs: number;
  readonly upstreamMs: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Attempts at instances; 0 means that the gateway refused. */
  readonly attempts: number;
  readonly priority: string;
}

export interface AccessLogOptions {
  readonly access: AccessPolicy;
  /** A file descriptor (1 is standard output) or a path. */
  readonly destination: number | string;
  /** Decides `sampled`; uniform in [0, 1). */
  readonly random?: () => number;
}

/** A refusal costs 5 µs, its line 5 more and a disk write: at 100/s a flood stays readable and free; half hides small incidents. */
export const REFUSALS_PER_SECOND = 100;
/** Bytes of one string as written; longer ones end with an ellipsis. Half cuts honest paths, double fills lines with junk. */
export const MAX_STRING_BYTES = 1024;
/** Bytes of one line with its newline, and PIPE_BUF: twice as much and lines of two workers may mix in a pipe. */
export const MAX_LINE_BYTES = 4096;
/** 8 MiB are some 25 000 lines: seconds of a stalled reader. Double is memory that a swamped worker needs itself. */
const MAX_WAITING_BYTES = 8 * 1024 * 1024;
/** Bytes that gather before a file is written. */
const FILE_BATCH_BYTES = 64 * 1024;

/** Bytes that the keys, numbers and brackets of a line may take; the strings share what is left of `MAX_LINE_BYTES`. */
const FRAME_BYTES = 640;
const ELLIPSIS = '\u2026';
const ELLIPSIS_BYTES = 3;
/** pino's numbers for info, warn and error. */
const INFO = 30;
const WARN = 40;
const ERROR = 50;

export class AccessLog {
  readonly #stream: ReturnType<typeof pinoDestination>;
  readonly #random: () => number;
  #access: AccessPolicy;
  #second = -1;
  #refusals = 0;
  #broken = false;
  readonly #batchLimit: number;
  #batch = '';
  #batchBytes = 0;
  #batchLines = 0;
  /** Lines of the piece that the stream is being given. */
  #passing = 0;
  /** Lines not written: refusals over the rate, and what a slow or broken reader did not take. */
  dropped = 0;

  /** A path that cannot be opened throws nothing here: it shows as dropped lines. */
  constructor(options: AccessLogOptions) {
    this.#access = options.access;
    this.#random = options.random ?? Math.random;
    const file = isFile(options.destination);
    this.#stream = pinoDestination({
      dest: options.destination,
      sync: false,
      minLength: file ? FILE_BATCH_BYTES : MAX_LINE_BYTES - 1,
      maxWrite: file ? 2 * FILE_BATCH_BYTES : MAX_LINE_BYTES,
      maxLength: MAX_WAITING_BYTES,
    });
    this.#batchLimit = file ? FILE_BATCH_BYTES : MAX_LINE_BYTES;
    this.#stream.on('drop', () => {
      this.dropped += this.#passing;
    });
    // A full disk shows as waiting and then dropped lines; a reader that left (EPIPE) ends this log. Neither ends the worker.
    this.#stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE' || !this.#isOpen()) this.#broken = true;
    });
  }

  /** Takes the policy of a new configuration. */
  configure(access: AccessPolicy): void {
    this.#access = access;
  }

  write(record: AccessRecord): void {
    if (!this.#wants(record)) return;
    if (record.code !== '' && record.attempts === 0 && !this.#mayLogRefusal(record.wallMs)) {
      this.dropped += 1;
      return;
    }
    if (this.#broken) {
      this.dropped += 1;
      return;
    }
    const line = lineOf(record);
    const text = line.end();
    this.#gather(text, line.wide ? Buffer.byteLength(text) : text.length);
  }

  /** Lines are handed to the stream by the batch, since it measures every piece it is given. */
  #gather(text: string, bytes: number): void {
    if (this.#batchBytes + bytes > this.#batchLimit) this.#pass();
    this.#batch += text;
    this.#batchBytes += bytes;
    this.#batchLines += 1;
  }

  #pass(): void {
    if (this.#batchBytes === 0) return;
    const lines = this.#batchLines;
    const text = this.#batch;
    this.#batch = '';
    this.#batchBytes = 0;
    this.#batchLines = 0;
    this.#passing = lines;
    this.#stream.write(text);
  }

  /** Hands what has gathered to the operating system; to be called about once a second. */
  flush(): void {
    if (this.#broken) return;
    this.#pass();
    this.#stream.flush();
  }

  /** Writes what is left and closes; resolves when it is written, or cannot be. */
  async end(): Promise<void> {
    if (this.#broken) return;
    this.#pass();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#stream.once('close', resolve);
    this.#stream.once('error', () => {
      resolve();
    });
    this.#stream.end();
    await promise;
  }

  #isOpen(): boolean {
    return (this.#stream as unknown as { fd: number }).fd >= 0;
  }

  #wants(record: AccessRecord): boolean {
    const { mode, ratio } = this.#access;
    if (mode === 'all') return true;
    if (mode === 'off') return false;
    return isError(record) || (mode === 'sampled' && this.#random() < ratio);
  }

  #mayLogRefusal(wallMs: number): boolean {
    const second = Math.floor(wallMs / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#refusals = 0;
    }
    this.#refusals += 1;
    return this.#refusals <= REFUSALS_PER_SECOND;
  }
}

function isError(record: AccessRecord): boolean {
  return record.status >= 500 || record.code !== '';
}

function isFile(destination: number | string): boolean {
  let stats: Stats | undefined;
  if (typeof destination === 'number') stats = fstatSync(destination);
  else stats = statSync(destination, { throwIfNoEntry: false });
  return stats === undefined || stats.isFile();
}

function levelOf(record: AccessRecord): number {
  if (record.code !== '' && (record.attempts === 0 || record.status === 499)) return WARN;
  return record.status >= 500 ? ERROR : INFO;
}

/** The line of a record with its newline: valid JSON, at most `MAX_LINE_BYTES` of UTF-8. */
export function formatLine(record: AccessRecord): string {
  return lineOf(record).end();
}

function lineOf(record: AccessRecord): Line {
  const line = new Line(record.wallMs, levelOf(record));
  line.text('requestId', record.requestId);
  line.text('code', record.code);
  line.text('route', record.route);
  line.text('service', record.service);
  line.text('instance', record.instance);
  line.text('tier', record.tier);
  line.text('priority', record.priority);
  line.text('client', record.client);
  line.text('method', record.method);
  line.text('path', withoutQuery(record.path));
  line.number('status', record.status);
  line.number('durationMs', record.durationMs);
  line.number('queueMs', record.queueMs);
  line.number('upstreamMs', record.upstreamMs);
  line.number('bytesIn', record.bytesIn);
  line.number('bytesOut', record.bytesOut);
  line.number('attempts', record.attempts);
  return line;
}

function withoutQuery(path: string): string {
  const at = path.indexOf('?');
  return at === -1 ? path : path.slice(0, at);
}

/** A line in the making, with the bytes that its strings may still take. */
class Line {
  /** It may hold characters of more than one byte. */
  wide = false;
  #out: string;
  #left = MAX_LINE_BYTES - FRAME_BYTES;

  constructor(wallMs: number, level: number) {
    this.#out = `{"level":${level},"time":${Number.isFinite(wallMs) ? Math.round(wallMs) : 0}`;
  }

  /** Milliseconds to a thousandth; what is no finite number is null. */
  number(key: string, value: number): void {
    const shown = Number.isInteger(value) ? value : Math.round(value * 1000) / 1000;
    this.#out += `,"${key}":${Number.isFinite(shown) ? shown : 'null'}`;
  }

  text(key: string, value: string): void {
    const room = this.#left < MAX_STRING_BYTES ? this.#left : MAX_STRING_BYTES;
    const plain = value.length <= room && isPlain(value);
    if (!plain) this.wide = true;
    const shown = plain ? value : escaped(value, room);
    this.#left -= plain ? value.length : Buffer.byteLength(shown);
    this.#out += `,"${key}":"${shown}"`;
  }

  end(): string {
    return `${this.#out}}\n`;
  }
}

/** Printable ASCII without `"` and `\`: nearly every string of nearly every request, written as it is. */
function isPlain(value: string): boolean {
  for (let at = 0; at < value.length; at += 1) {
    const code = value.charCodeAt(at);
    if (code < 0x20 || code > 0x7e || code === 0x22 || code === 0x5c) return false;
  }
  return true;
}

/** The inside of a JSON string of at most `room` bytes of UTF-8; never reads more of `value` than fits. */
function escaped(value: string, room: number): string {
  let out = '';
  let bytes = 0;
  /** The longest beginning that leaves room for the ellipsis. */
  let cutAt = 0;
  for (let at = 0; at < value.length; at += 1) {
    const code = value.charCodeAt(at);
    let piece: string;
    let size: number;
    const low = value.charCodeAt(at + 1);
    if (code >= 0xd800 && code <= 0xdbff && low >= 0xdc00 && low <= 0xdfff) {
      piece = value.slice(at, at + 2);
      size = 4;
      at += 1;
    } else {
      piece = escapedUnit(code);
      size = piece.length === 1 ? utf8Size(piece.charCodeAt(0)) : piece.length;
    }
    if (bytes + size > room) return room < ELLIPSIS_BYTES ? '' : out.slice(0, cutAt) + ELLIPSIS;
    out += piece;
    bytes += size;
    if (bytes + ELLIPSIS_BYTES <= room) cutAt = out.length;
  }
  return out;
}

function utf8Size(code: number): number {
  if (code < 0x80) return 1;
  return code < 0x800 ? 2 : 3;
}

/** One UTF-16 unit that is no pair. */
function escapedUnit(code: number): string {
  if (code === 0x22) return '\\"';
  if (code === 0x5c) return '\\\\';
  const control = code < 0x20 || (code >= 0x7f && code <= 0x9f) || code === 0x2028 || code === 0x2029;
  if (control) return `\\u${code.toString(16).padStart(4, '0')}`;
  if (code >= 0xd800 && code <= 0xdfff) return '\ufffd';
  return String.fromCharCode(code);
}
