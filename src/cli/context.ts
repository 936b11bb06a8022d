/** What every command is given: where to print, what it may read, and where its exit code goes. */
import type { Output, TextStream } from './output.ts';

/** A stream that may be a terminal. */
interface TerminalStream extends TextStream {
  readonly columns?: number | undefined;
  readonly rows?: number | undefined;
}

export type Environment = Readonly<Record<string, string | undefined>>;

export interface RunOptions {
  /** Path of the configuration; undefined starts the demo. */
  readonly config: string | undefined;
  readonly output: Output;
  readonly environment: Environment;
}

/** What the command line is put together from; tests give their own streams. */
export interface CliDeps {
  /** Runs the gateway in the foreground; resolves with the exit code when it has stopped. */
  readonly run: (options: RunOptions) => Promise<number>;
  readonly stdout?: TerminalStream | undefined;
  readonly stderr?: TextStream | undefined;
  readonly environment?: Environment | undefined;
}

export interface CliContext {
  readonly deps: CliDeps;
  readonly stdout: TerminalStream;
  readonly output: Output;
  readonly environment: Environment;
  /** Set by the command that ran. */
  exitCode: number;
}
