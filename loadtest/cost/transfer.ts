/**
 * One big body up or down over a connection of its own, as cheap as Node allows: every read lands in the same buffer, and
 * of what comes only the head, the amount and the end are looked at.
 */
import { connect } from 'node:net';

export type Direction = 'up' | 'down';
export type Framing = 'length' | 'chunked';

const PIECE_BYTES = 256 * 1024;
const READ_BYTES = 256 * 1024;
const LAST_CHUNK = '0\r\n\r\n';
const PATIENCE_MS = 60_000;

interface Answer {
  /** Bytes behind the head, framing included. */
  readonly bytes: number;
  readonly start: string;
}

function headOf(direction: Direction, framing: Framing, bytes: number, headers: string): string {
  if (direction === 'down')
    return `GET /down?bytes=${bytes}&framing=${framing} HTTP/1.1\r\nhost: shop\r\n${headers}\r\n`;
  const frame = framing === 'length' ? `content-length: ${bytes}` : 'transfer-encoding: chunked';
  return `POST /up HTTP/1.1\r\nhost: shop\r\ncontent-type: application/octet-stream\r\n${headers}${frame}\r\n\r\n`;
}

/** Whether an answer has ended: by its length, or by the last chunk. */
class AnswerReader {
  #head = '';
  #lengthBytes = -1;
  #tail = '';
  bytes = 0;
  start = '';

  /** True when it is complete. @throws when it is not a 200 */
  take(piece: Buffer): boolean {
    let body = piece;
    if (this.#tail === '' && this.bytes === 0) {
      const before = this.#head.length;
      this.#head += piece.toString('latin1', 0, 16_384);
      const end = this.#head.indexOf('\r\n\r\n');
      if (end < 0) return false;
      if (!this.#head.startsWith('HTTP/1.1 200')) throw new Error(`answered ${this.#head.slice(0, 400)}`);
      const length = /\r\ncontent-length:[ \t]*(\d+)/i.exec(this.#head.slice(0, end + 2));
      this.#lengthBytes = length === null ? -1 : Number(length[1]);
      body = piece.subarray(end + 4 - before);
    }
    if (this.bytes < 64) this.start += body.toString('latin1', 0, 64);
    this.bytes += body.length;
    if (this.#lengthBytes >= 0) return this.bytes >= this.#lengthBytes;
    this.#tail = (this.#tail + body.toString('latin1', Math.max(0, body.length - 5))).slice(-5);
    return this.#tail === LAST_CHUNK;
  }
}

/**
 * Sends or fetches `bytes`; what it took in seconds.
 * @throws when less arrived than was sent
 */
export async function transfer(
  port: number,
  direction: Direction,
  framing: Framing,
  bytes: number,
  headers: string,
): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const reader = new AnswerReader();
  const startedMs = performance.now();
  const socket = connect({
    port,
    host: '127.0.0.1',
    onread: {
      buffer: Buffer.alloc(READ_BYTES),
      callback: (length, buffer) => {
        try {
          if (reader.take(Buffer.from(buffer.buffer, buffer.byteOffset, length))) resolve(reader);
        } catch (error) {
          reject(error);
        }
        return true;
      },
    },
  });
  socket.setTimeout(PATIENCE_MS, () => reject(new Error('silence for a minute')));
  socket.on('error', reject);
  socket.on('close', () => reject(new Error(`closed after ${reader.bytes} bytes of the answer`)));
  socket.write(headOf(direction, framing, bytes, headers));
  if (direction === 'up') pour(socket, framing, bytes);
  try {
    const answer = await promise;
    const seconds = (performance.now() - startedMs) / 1000;
    const arrived = direction === 'down' ? answer.bytes : Number(/\d{3,}/.exec(answer.start)?.[0] ?? 0);
    if (arrived < bytes) throw new Error(`${arrived} of ${bytes} bytes arrived`);
    return seconds;
  } finally {
    socket.removeAllListeners('close');
    socket.destroy();
  }
}

function pour(socket: NodeJS.WritableStream, framing: Framing, bytes: number): void {
  const filler = Buffer.alloc(PIECE_BYTES, 'x');
  const framed = Buffer.concat([Buffer.from(`${PIECE_BYTES.toString(16)}\r\n`), filler, Buffer.from('\r\n')]);
  const piece = framing === 'length' ? filler : framed;
  let left = bytes;
  const more = (): void => {
    while (left > 0) {
      left -= PIECE_BYTES;
      if (!socket.write(piece) && left > 0) {
        socket.once('drain', more);
        return;
      }
    }
    if (framing === 'chunked') socket.write(LAST_CHUNK);
  };
  more();
}
