import { openSink, type LogSink } from './log-sink.ts';

/**
 * What a process says of itself (a worker died, a reload, Redis is down), as a stream for pino.
 *
 * It shares standard output with the access log, whose lines fill the pipe to the brim when its reader stands still. A
 * line that waited for room there would stop the supervisor: probes, limits, admin address and signals. So it waits in
 * memory instead, and is lost in the end.
 */
export class ProcessLog {
  readonly #sink: LogSink;

  constructor(destination: number | string) {
    this.#sink = openSink(destination, { onLost: () => undefined, prompt: true });
  }

  /** @param text one line with its newline */
  write(text: string): void {
    if (!this.#sink.broken) this.#sink.write(text, Buffer.byteLength(text), 1);
  }

  /** Resolves when all is written, or within about a second. To be awaited before the process ends. */
  async end(): Promise<void> {
    await this.#sink.end();
  }
}
