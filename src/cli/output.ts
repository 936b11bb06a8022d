/**
 * What every command prints with: data on stdout, messages on stderr, so that `spillway … --json | jq` and `2>/dev/null`
 * do what people expect. Colour is for terminals only, and only where NO_COLOR (no-color.org: set and not empty) and
 * `TERM=dumb` do not forbid it.
 */

/** The part of a stream that printing needs; `process.stdout` is one. */
export interface TextStream {
  write(text: string): unknown;
  readonly isTTY?: boolean | undefined;
}

export type Colour = 'red' | 'yellow' | 'green' | 'cyan' | 'bold' | 'dim';

export interface Output {
  /** A line of the answer. */
  readonly data: (line: string) => void;
  /** The answer as JSON. */
  readonly json: (value: unknown) => void;
  /** A line about the answer. */
  readonly message: (line: string) => void;
  /** `text` in colour, for `data`. */
  readonly onData: (colour: Colour, text: string) => string;
  /** `text` in colour, for `message`. */
  readonly onMessage: (colour: Colour, text: string) => string;
}

/** SGR codes: begin and end. */
const CODES: Readonly<Record<Colour, readonly [number, number]>> = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
  cyan: [36, 39],
};

/** The only place that decides on colour; commands take an `Output` and never look at a stream. */
export function openOutput(
  stdout: TextStream,
  stderr: TextStream,
  environment: Readonly<Record<string, string | undefined>>,
): Output {
  const allowed = (environment.NO_COLOR ?? '') === '' && environment.TERM !== 'dumb';
  const painter =
    (stream: TextStream) =>
    (colour: Colour, text: string): string => {
      if (!allowed || stream.isTTY !== true) return text;
      const [begin, end] = CODES[colour];
      return `\u001b[${begin}m${text}\u001b[${end}m`;
    };
  return {
    data: (line) => void stdout.write(`${line}\n`),
    json: (value) => void stdout.write(`${JSON.stringify(value, null, 2)}\n`),
    message: (line) => void stderr.write(`${line}\n`),
    onData: painter(stdout),
    onMessage: painter(stderr),
  };
}
