/**
 * The access log: one JSON line a request (`access-line.ts`), gathered into pieces and given to a sink (`log-sink.ts`)
 * that never makes the worker wait.
 *
 * Overload: a flood of refusals must not become a flood of writes, so at most `REFUSALS_PER_SECOND` of them get a line;
 * when the reader of the log is too slow, some lines wait and later ones are dropped. Both are counted in `dropped`.
 * Limits: `flush` is the caller's, once a second and before the end; a crash loses what was not flushed.
 */
import type { Configuration } from '../../config/schema.ts';
import { LineWriter, type AccessRecord } from './access-line.ts';
import { openSink, type LogSink } from './log-sink.ts';

export interface AccessPolicy {
  /** `errors`: answers from 500 up and all that the gateway answered itself; `sampled`: these, and a share of the rest. */
  readonly mode: 'all' | 'errors' | 'off' | 'sampled';
  /** 0..1, `sampled` only. */
  readonly ratio: number;
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

export class AccessLog {
  readonly #sink: LogSink;
  readonly #lines = new LineWriter();
  readonly #random: () => number;
  #access: AccessPolicy;
  #second = -1;
  #refusals = 0;
  #batch = '';
  #batchBytes = 0;
  #batchLines = 0;
  /** Lines not written: refusals over the rate, and what a slow or broken reader did not take. */
  dropped = 0;

  /** A path that cannot be opened throws nothing here: it shows as dropped lines. */
  constructor(options: AccessLogOptions) {
    this.#access = options.access;
    this.#random = options.random ?? Math.random;
    this.#sink = openSink(options.destination, {
      onLost: (lines) => {
        this.dropped += lines;
      },
    });
  }

  /** Takes the policy of a new configuration. */
  configure(access: AccessPolicy): void {
    this.#access = access;
  }

  write(record: AccessRecord): void {
    const refused = record.code !== '' && record.attempts === 0;
    if (refused) {
      this.#age(record.wallMs);
      this.#refusals += 1;
    }
    if (!this.#wants(record)) return;
    if (refused && this.#refusals > REFUSALS_PER_SECOND) {
      this.dropped += 1;
      return;
    }
    if (this.#sink.broken) {
      this.dropped += 1;
      return;
    }
    const line = this.#lines.write(record);
    const text = line.end();
    this.#gather(text, line.wide ? Buffer.byteLength(text) : text.length);
  }

  /**
   * A refusal that would get no line now, since there are too many of them: it is counted, and its record need not be made.
   * False: it goes to `write` like any other.
   */
  skipsRefusal(wallMs: number): boolean {
    this.#age(wallMs);
    if (this.#refusals < REFUSALS_PER_SECOND) return false;
    if (this.#access.mode !== 'off') this.dropped += 1;
    return true;
  }

  /** Hands what has gathered to the operating system; to be called about once a second. */
  flush(): void {
    this.#pass();
    this.#sink.flush();
  }

  /** Writes what is left and closes; resolves when it is written, or cannot be. */
  async end(): Promise<void> {
    this.#pass();
    await this.#sink.end();
  }

  #gather(text: string, bytes: number): void {
    if (this.#batchBytes + bytes > this.#sink.batchBytes) this.#pass();
    this.#batch += text;
    this.#batchBytes += bytes;
    this.#batchLines += 1;
  }

  #pass(): void {
    if (this.#batchBytes === 0) return;
    const text = this.#batch;
    const bytes = this.#batchBytes;
    const lines = this.#batchLines;
    this.#batch = '';
    this.#batchBytes = 0;
    this.#batchLines = 0;
    if (this.#sink.broken) this.dropped += lines;
    else this.#sink.write(text, bytes, lines);
  }

  #wants(record: AccessRecord): boolean {
    const { mode, ratio } = this.#access;
    if (mode === 'all') return true;
    if (mode === 'off') return false;
    return isError(record) || (mode === 'sampled' && this.#random() < ratio);
  }

  #age(wallMs: number): void {
    const second = Math.floor(wallMs / 1000);
    if (second === this.#second) return;
    this.#second = second;
    this.#refusals = 0;
  }
}

function isError(record: AccessRecord): boolean {
  return record.status >= 500 || record.code !== '';
}

/** What of the requests a configuration wants to have logged. */
export function accessPolicy({ log }: Configuration): AccessPolicy {
  const { access } = log;
  return typeof access === 'string'
    ? { mode: access, ratio: 1 }
    : { mode: 'sampled', ratio: access.sampledRatio };
}
