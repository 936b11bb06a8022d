/**
 * A caller of HTTP/2 made of raw frames, for what no library would send, and a reader of what comes back.
 *
 * Header blocks are written as literals without index or Huffman; of those that come back only the status is read, which
 * nghttp2 writes first. Nothing is acknowledged and no window is opened unless a test says so. RFC 9113 §4–6, RFC 7541.
 */
import { once } from 'node:events';
import { connect } from 'node:tls';
import type { TLSSocket } from 'node:tls';

export const FRAME = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH_PROMISE: 5,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const;
export const FLAG = { END_STREAM: 1, ACK: 1, END_HEADERS: 4 } as const;
export const CODE = {
  NO_ERROR: 0,
  PROTOCOL_ERROR: 1,
  INTERNAL_ERROR: 2,
  REFUSED_STREAM: 7,
  CANCEL: 8,
  ENHANCE_YOUR_CALM: 11,
} as const;

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

export type Field = readonly [name: string, value: string];

const FRAME_BYTES = 16_384;
const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';

export function frame(
  type: number,
  flags: number,
  stream: number,
  payload: Buffer = Buffer.alloc(0),
): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export function resetFrame(stream: number, code: number): Buffer {
  return frame(FRAME.RST_STREAM, 0, stream, uint32(code));
}

/** Stream 0 is the connection's window. */
export function windowUpdate(stream: number, bytes: number): Buffer {
  return frame(FRAME.WINDOW_UPDATE, 0, stream, uint32(bytes));
}

/** An integer with a prefix of seven bits (RFC 7541 §5.1), the eighth bit zero. */
function length7(value: number): Buffer {
  if (value < 127) return Buffer.from([value]);
  const bytes = [127];
  let rest = value - 127;
  while (rest >= 128) {
    bytes.push((rest % 128) + 128);
    rest = Math.floor(rest / 128);
  }
  return Buffer.from([...bytes, rest]);
}

export function headerBlock(fields: readonly Field[]): Buffer {
  return Buffer.concat(
    fields.flatMap(([name, value]) => {
      const [first, second] = [Buffer.from(name, 'latin1'), Buffer.from(value, 'latin1')];
      return [Buffer.from([0]), length7(first.length), first, length7(second.length), second];
    }),
  );
}

/** A header section in frames of the size that everybody takes. */
export function section(stream: number, fields: readonly Field[], endStream: boolean): Buffer[] {
  const block = headerBlock(fields);
  const frames: Buffer[] = [];
  for (let at = 0; at === 0 || at < block.length; at += FRAME_BYTES) {
    const last = at + FRAME_BYTES >= block.length;
    const flags = (at === 0 && endStream ? FLAG.END_STREAM : 0) | (last ? FLAG.END_HEADERS : 0);
    const type = at === 0 ? FRAME.HEADERS : FRAME.CONTINUATION;
    frames.push(frame(type, flags, stream, block.subarray(at, at + FRAME_BYTES)));
  }
  return frames;
}

/** The usual pseudo-fields of a request, with changes; an undefined one is left out. */
export function pseudo(changes: Readonly<Record<string, string | undefined>> = {}): Field[] {
  const all = { ':method': 'GET', ':scheme': 'https', ':authority': 'localhost', ':path': '/', ...changes };
  return Object.entries(all).flatMap(([name, value]): Field[] =>
    value === undefined ? [] : [[name, value]],
  );
}

const STATUS_BY_INDEX: readonly string[] = ['200', '204', '206', '304', '400', '404', '500'];

/** The status that a header block begins with; -1 when it does not begin with one. */
function statusOf(block: Buffer): number {
  let at = 0;
  // A change of the table's size may stand before everything.
  while (((block[at] ?? 0) & 0xe0) === 0x20) at += 1;
  const first = block[at] ?? 0;
  if (first >= 0x88 && first <= 0x8e) return Number(STATUS_BY_INDEX[first - 0x88]);
  const index = (first & 0xc0) === 0x40 ? first & 0x3f : first & 0x0f;
  if (index < 8 || index > 14) return -1;
  const size = (block[at + 1] ?? 0) & 0x7f;
  const text = block.subarray(at + 2, at + 2 + size);
  return Number(((block[at + 1] ?? 0) & 0x80) === 0 ? text.toString('latin1') : huffmanDigits(text));
}

/** Digits alone: `0` to `2` take five bits (0 to 2), the others six (25 to 31), RFC 7541 appendix B. */
function huffmanDigits(bytes: Buffer): string {
  const bits = [...bytes].map((byte) => byte.toString(2).padStart(8, '0')).join('');
  let digits = '';
  for (let at = 0; at + 5 <= bits.length;) {
    const five = Number.parseInt(bits.slice(at, at + 5), 2);
    if (five <= 2) {
      digits += String(five);
      at += 5;
      continue;
    }
    const six = Number.parseInt(bits.slice(at, at + 6), 2);
    if (bits.length - at < 6 || six < 25 || six > 31) break;
    digits += String(six - 22);
    at += 6;
  }
  return digits;
}

export interface FrameOptions {
  readonly servername?: string;
  /** Sends nothing by itself, not even the preface. */
  readonly silent?: boolean;
  /** Reads nothing: what the other side sends stays in the kernel. */
  readonly deaf?: boolean;
}

export class FrameConnection implements AsyncDisposable {
  readonly socket: TLSSocket;
  readonly frames: Frame[] = [];
  #rest: Buffer = Buffer.alloc(0);
  #ended = false;
  #wake: (() => void)[] = [];

  private constructor(socket: TLSSocket, options: FrameOptions) {
    this.socket = socket;
    socket.on('error', () => undefined);
    if (options.deaf !== true) socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('end', () => socket.end());
    socket.on('drain', () => this.#told());
    socket.on('close', () => {
      this.#ended = true;
      this.#told();
    });
  }

  static async open(port: number, options: FrameOptions = {}): Promise<FrameConnection> {
    const socket = connect({
      host: '127.0.0.1',
      port,
      servername: options.servername ?? 'localhost',
      ALPNProtocols: ['h2'],
      rejectUnauthorized: false,
    });
    await once(socket, 'secureConnect');
    const made = new FrameConnection(socket, options);
    if (options.silent !== true) {
      made.write(Buffer.from(PREFACE, 'latin1'), frame(FRAME.SETTINGS, 0, 0));
    }
    return made;
  }

  get closed(): boolean {
    return this.#ended;
  }

  write(...parts: readonly Buffer[]): boolean {
    return this.socket.writable ? this.socket.write(Buffer.concat(parts)) : false;
  }

  /** A request's head. */
  ask(stream: number, fields: readonly Field[], endStream = true): void {
    this.write(...section(stream, fields, endStream));
  }

  data(stream: number, bytes: Buffer | string, endStream = false): void {
    this.write(frame(FRAME.DATA, endStream ? FLAG.END_STREAM : 0, stream, Buffer.from(bytes)));
  }

  /** Writes as fast as the other side takes it, until all is written or the connection is gone. */
  async pour(parts: Iterable<Buffer>): Promise<void> {
    for (const part of parts) {
      if (this.#ended || !this.socket.writable) return;
      if (!this.socket.write(part)) await this.#event(60_000);
    }
  }

  /** The first frame that fits, now or later. */
  async next(what: string, fits: (each: Frame) => boolean, timeoutMs = 20_000): Promise<Frame> {
    const until = performance.now() + timeoutMs;
    for (;;) {
      const found = this.frames.find(fits);
      if (found !== undefined) return found;
      if (this.#ended) throw new Error(`closed without ${what}: ${this.words()}`);
      const left = until - performance.now();
      if (left <= 0) throw new Error(`no ${what} within ${timeoutMs} ms: ${this.words()}`);
      await this.#event(left);
    }
  }

  /** The status of the answer on a stream. */
  async status(stream: number): Promise<number> {
    const head = await this.next(
      `answer on ${stream}`,
      (each) => each.type === FRAME.HEADERS && each.stream === stream && !isInterim(each),
    );
    return statusOf(head.payload);
  }

  /** The code with which a stream was reset. */
  async resetOf(stream: number): Promise<number> {
    const reset = await this.next(
      `reset of ${stream}`,
      (each) => each.type === FRAME.RST_STREAM && each.stream === stream,
    );
    return reset.payload.readUInt32BE(0);
  }

  async goAway(): Promise<{ code: number; lastStream: number }> {
    const { payload } = await this.next('GOAWAY', ({ type }) => type === FRAME.GOAWAY);
    return { lastStream: payload.readUInt32BE(0), code: payload.readUInt32BE(4) };
  }

  /** Waits for the other side to close; @returns after how many ms. */
  async untilClosed(timeoutMs = 20_000): Promise<number> {
    const from = performance.now();
    while (!this.#ended) {
      const left = from + timeoutMs - performance.now();
      if (left <= 0) throw new Error(`still open after ${timeoutMs} ms: ${this.words()}`);
      await this.#event(left);
    }
    return performance.now() - from;
  }

  /** Bytes of DATA on a stream so far. */
  bytesOf(stream: number): number {
    return this.frames
      .filter((each) => each.type === FRAME.DATA && each.stream === stream)
      .reduce((sum, { payload }) => sum + payload.length, 0);
  }

  words(): string {
    return this.frames
      .map(({ type, stream, flags }) => `${type}/${flags}@${stream}`)
      .join(' ')
      .slice(-500);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#ended) return;
    this.socket.destroy();
    await this.untilClosed();
  }

  #read(chunk: Buffer): void {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    while (this.#rest.length >= 9) {
      const size = this.#rest.readUIntBE(0, 3);
      if (this.#rest.length < 9 + size) break;
      this.frames.push({
        type: this.#rest[3] ?? 0,
        flags: this.#rest[4] ?? 0,
        stream: this.#rest.readUInt32BE(5) & 0x7fffffff,
        payload: Buffer.from(this.#rest.subarray(9, 9 + size)),
      });
      this.#rest = this.#rest.subarray(9 + size);
    }
    this.#told();
  }

  async #event(timeoutMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, timeoutMs);
    this.#wake.push(resolve);
    await promise;
    clearTimeout(timer);
  }

  #told(): void {
    const waiting = this.#wake;
    this.#wake = [];
    for (const wake of waiting) wake();
  }
}

function isInterim({ payload }: Frame): boolean {
  const status = statusOf(payload);
  return status >= 100 && status < 200;
}
