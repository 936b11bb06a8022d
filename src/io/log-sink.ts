/**
 * Where the lines of a log go: of the access log, and of what a process says of itself.
 *
 * A pipe or a device is written by the worker itself, without waiting: its own opening of the same pipe is set to
 * O_NONBLOCK (the one that was inherited is shared with other processes and stays as it is), and what does not fit
 * waits here. A write through libuv's threads costs two wake-ups of other threads for every 4 KiB. Files can block whatever their flags say, and sockets cannot be
 * opened again: both go through pino's asynchronous destination.
 *
 * Several workers may share one pipe. The kernel writes up to PIPE_BUF (4096 B on Linux) in one piece and may mix larger
 * writes, so a pipe gets pieces of at most that, cut between lines.
 * Limits: 8 MiB wait, later lines are lost and counted; a reader that left (EPIPE) ends the log, never the process, and
 * one that stands still delays its end by a second at most.
 */
import { closeSync, constants, fstatSync, openSync, statSync, writeSync, type Stats } from 'node:fs';
import { destination as pinoDestination } from 'pino';
import { MAX_LINE_BYTES } from './access-line.ts';

/** Takes whole lines, from whoever has seen that it is not broken. */
export interface LogSink {
  /** Bytes that should gather before a call of `write`. */
  readonly batchBytes: number;
  /** It takes nothing any more. */
  readonly broken: boolean;
  /** @param bytes of `text` in UTF-8 @param lines that are lost if the sink cannot take it */
  write(text: string, bytes: number, lines: number): void;
  /** Hands over what waits; to be called about once a second. */
  flush(): void;
  /** Writes what is left and closes; resolves when it is written, cannot be, or a second has passed. */
  end(): Promise<void>;
}

export interface SinkOptions {
  /** Told of every batch that could not be taken. */
  readonly onLost: (lines: number) => void;
  /** Each write leaves at once: for few lines that matter, not for one a request. */
  readonly prompt?: boolean;
}

/** 8 MiB are some 25 000 lines: seconds of a stalled reader. Double is memory that a swamped worker needs itself. */
const MAX_WAITING_BYTES = 8 * 1024 * 1024;
/** Bytes that gather before a file is written. */
const FILE_BATCH_BYTES = 64 * 1024;
/** A full pipe is tried again this often: 64 KiB a time drain 8 MiB in under two seconds. */
const AGAIN_MS = 10;
/** At the end the process has nothing else to do, and 8 MiB must leave within `END_MS`. */
const AGAIN_AT_END_MS = 2;
/** Half: a reader that is merely busy loses the last lines; double: a stalled one makes the end of a drain late. */
const END_MS = 1000;

/** Throws nothing: what cannot be opened loses its lines. */
export function openSink(destination: number | string, options: SinkOptions): LogSink {
  const stats = statsOf(destination);
  if (typeof destination === 'number' && (stats?.isFIFO() === true || stats?.isCharacterDevice() === true)) {
    const fd = reopened(destination);
    if (fd !== undefined) return new DirectSink(fd, options);
  }
  return new ThreadedSink(destination, stats === undefined || stats.isFile(), options);
}

function statsOf(destination: number | string): Stats | undefined {
  try {
    return typeof destination === 'number' ? fstatSync(destination) : statSync(destination);
  } catch {
    return undefined;
  }
}

/** The same pipe or device, opened once more for ourselves; undefined where the system does not offer that. */
function reopened(fd: number): number | undefined {
  try {
    return openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch {
    return undefined;
  }
}

interface Piece {
  readonly bytes: Buffer;
  readonly lines: number;
}

class DirectSink implements LogSink {
  readonly batchBytes = MAX_LINE_BYTES;
  readonly #onLost: (lines: number) => void;
  #fd: number;
  readonly #waiting: Piece[] = [];
  #waitingBytes = 0;
  #timer: NodeJS.Timeout | undefined = undefined;
  #ended: (() => void) | undefined = undefined;

  constructor(fd: number, { onLost }: SinkOptions) {
    this.#fd = fd;
    this.#onLost = onLost;
  }

  get broken(): boolean {
    return this.#fd < 0;
  }

  write(text: string, bytes: number, lines: number): void {
    const written = this.#waiting.length > 0 ? 0 : this.#put(text, bytes === text.length ? 'latin1' : 'utf8');
    if (written === bytes) return;
    // It ended with this piece, or takes no more.
    if (written < 0 || this.#waitingBytes + bytes > MAX_WAITING_BYTES) {
      this.#onLost(lines);
      return;
    }
    this.#wait({ bytes: Buffer.from(text).subarray(written), lines });
    this.#timer ??= setTimeout(this.#again, AGAIN_MS);
  }

  flush(): void {
    while (this.#fd >= 0) {
      const piece = this.#waiting[0];
      if (piece === undefined) break;
      const written = this.#put(piece.bytes, 'buffer');
      if (written < 0) {
        if (this.#fd < 0) break;
        this.#waiting.shift();
        this.#waitingBytes -= piece.bytes.length;
        this.#onLost(piece.lines);
        continue;
      }
      if (written < piece.bytes.length) {
        this.#waiting[0] = { bytes: piece.bytes.subarray(written), lines: piece.lines };
        this.#waitingBytes -= written;
        return;
      }
      this.#waiting.shift();
      this.#waitingBytes -= piece.bytes.length;
    }
    this.#ended?.();
  }

  async end(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#ended = resolve;
    const patience = setTimeout(resolve, END_MS);
    this.flush();
    await promise;
    clearTimeout(patience);
    clearTimeout(this.#timer);
    this.#close();
  }

  #wait(piece: Piece): void {
    this.#waiting.push(piece);
    this.#waitingBytes += piece.bytes.length;
  }

  readonly #again = (): void => {
    this.#timer = undefined;
    this.flush();
    if (this.#waiting.length === 0) return;
    this.#timer = setTimeout(this.#again, this.#ended === undefined ? AGAIN_MS : AGAIN_AT_END_MS);
  };

  /** @returns bytes written: none when it is full, -1 when it is lost. */
  #put(piece: string | Buffer, encoding: 'latin1' | 'utf8' | 'buffer'): number {
    try {
      if (typeof piece === 'string') return writeSync(this.#fd, piece, null, encoding as 'utf8');
      return writeSync(this.#fd, piece);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EAGAIN' || code === 'EINTR') return 0;
      // Whatever else is wrong may pass, as a full disk does.
      if (code === 'EPIPE' || code === 'EBADF') this.#close();
      return -1;
    }
  }

  #close(): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
    for (const { lines } of this.#waiting) this.#onLost(lines);
    this.#waiting.length = 0;
    this.#waitingBytes = 0;
  }
}

class ThreadedSink implements LogSink {
  readonly batchBytes: number;
  readonly #stream: ReturnType<typeof pinoDestination>;
  readonly #onLost: (lines: number) => void;
  broken = false;
  /** Lines of the piece that the stream is being given. */
  #passing = 0;

  constructor(destination: number | string, file: boolean, { onLost, prompt = false }: SinkOptions) {
    this.batchBytes = file ? FILE_BATCH_BYTES : MAX_LINE_BYTES;
    this.#onLost = onLost;
    const gathered = file ? FILE_BATCH_BYTES : MAX_LINE_BYTES - 1;
    this.#stream = pinoDestination({
      dest: destination,
      sync: false,
      minLength: prompt ? 0 : gathered,
      maxWrite: file ? 2 * FILE_BATCH_BYTES : MAX_LINE_BYTES,
      maxLength: MAX_WAITING_BYTES,
    });
    this.#stream.on('drop', () => {
      this.#onLost(this.#passing);
    });
    // A full disk shows as waiting and then dropped lines; a reader that left (EPIPE) ends this log.
    this.#stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE' || !this.#isOpen()) this.broken = true;
    });
  }

  write(text: string, _bytes: number, lines: number): void {
    this.#passing = lines;
    this.#stream.write(text);
  }

  flush(): void {
    if (!this.broken) this.#stream.flush();
  }

  async end(): Promise<void> {
    if (this.broken) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#stream.once('close', resolve);
    this.#stream.once('error', () => {
      resolve();
    });
    const patience = setTimeout(resolve, END_MS);
    this.#stream.end();
    await promise;
    clearTimeout(patience);
  }

  #isOpen(): boolean {
    return (this.#stream as unknown as { fd: number }).fd >= 0;
  }
}
