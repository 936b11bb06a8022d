/**
 * A client of raw bytes, for what no well-behaved client would send, and a strict reader of what comes back.
 *
 * The reader follows RFC 9112 without tolerance: a byte that belongs to no answer is reported as `rest`, never skipped.
 */
import { connect } from 'node:net';
import type { Socket } from 'node:net';

export interface RawAnswer {
  readonly version: string;
  readonly status: number;
  readonly reason: string;
  /** In order, names as they came. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Body bytes as latin-1, chunks joined. */
  readonly body: string;
  /** False when the connection ended (or nothing more came) inside it. */
  readonly complete: boolean;
  readonly chunked: boolean;
}

export interface ReadAnswers {
  /** Final answers and 1xx alike, in order. */
  readonly answers: readonly RawAnswer[];
  /** Bytes behind the last answer that are none. */
  readonly rest: string;
}

/** The value of a header of an answer, joined with `, ` when it came more than once; undefined when absent. */
export function headerOf(answer: RawAnswer, name: string): string | undefined {
  const values = answer.headers.filter(([each]) => each.toLowerCase() === name).map(([, value]) => value);
  return values.length === 0 ? undefined : values.join(', ');
}

/** Reads the answers out of `text`. `methods[i]` is the method of the i-th request (HEAD has no body). */
export function readAnswers(text: string, closed: boolean, methods: readonly string[] = []): ReadAnswers {
  const answers: RawAnswer[] = [];
  let at = 0;
  let finals = 0;
  while (at < text.length) {
    const end = text.indexOf('\r\n\r\n', at);
    const line = /^(HTTP\/\d\.\d) (\d{3})(?: ([^\r\n]*))?\r\n/.exec(text.slice(at, at + 2048));
    if (end < 0 || line === null) break;
    const status = Number(line[2]);
    const headers = readHeaders(text.slice(at + line[0].length, end + 2));
    if (headers === undefined) break;
    const interim = status >= 100 && status < 200 && status !== 101;
    const bodyless =
      interim || status === 101 || status === 204 || status === 304 || methods[finals] === 'HEAD';
    const body = bodyless ? NO_BODY : readBody(text, end + 4, headers, closed);
    if (!interim) finals += 1;
    const base = { version: line[1] ?? '', status, reason: line[3] ?? '', headers };
    answers.push({ ...base, body: body.text, complete: body.complete, chunked: body.chunked });
    at = bodyless ? end + 4 : body.end;
    if (!body.complete || status === 101) break;
  }
  return { answers, rest: text.slice(at) };
}

interface Body {
  readonly text: string;
  readonly end: number;
  readonly complete: boolean;
  readonly chunked: boolean;
}

const NO_BODY: Body = { text: '', end: 0, complete: true, chunked: false };

function readHeaders(block: string): [string, string][] | undefined {
  const headers: [string, string][] = [];
  for (const line of block.split('\r\n')) {
    if (line === '') continue;
    const match = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n]*?)[ \t]*$/.exec(line);
    if (match === null) return undefined;
    headers.push([match[1] ?? '', match[2] ?? '']);
  }
  return headers;
}

function readBody(
  text: string,
  from: number,
  headers: readonly (readonly [string, string])[],
  closed: boolean,
): Body {
  const find = (name: string): string | undefined =>
    headers.find(([each]) => each.toLowerCase() === name)?.[1];
  if (find('transfer-encoding')?.toLowerCase() === 'chunked') return readChunks(text, from);
  const length = find('content-length');
  if (length === undefined)
    return { text: text.slice(from), end: text.length, complete: closed, chunked: false };
  const end = from + Number(length);
  const complete = end <= text.length;
  return { text: text.slice(from, end), end: Math.min(end, text.length), complete, chunked: false };
}

function readChunks(text: string, from: number): Body {
  let body = '';
  let at = from;
  for (;;) {
    const line = text.indexOf('\r\n', at);
    if (line < 0) return { text: body, end: text.length, complete: false, chunked: true };
    const size = Number.parseInt(text.slice(at, line), 16);
    if (Number.isNaN(size)) return { text: body, end: at, complete: false, chunked: true };
    if (size === 0) {
      const end = text.startsWith('\r\n', line + 2) ? line + 2 : text.indexOf('\r\n\r\n', line);
      if (end < 0) return { text: body, end: text.length, complete: false, chunked: true };
      return { text: body, end: end + (end === line + 2 ? 2 : 4), complete: true, chunked: true };
    }
    body += text.slice(line + 2, line + 2 + size);
    at = line + 2 + size + 2;
    if (at > text.length) return { text: body, end: text.length, complete: false, chunked: true };
  }
}

export interface RawConnection extends AsyncDisposable {
  readonly socket: Socket;
  /** All bytes received, latin-1. */
  readonly received: () => string;
  readonly isClosed: () => boolean;
  /** How the other side ended: undefined while it did not. */
  readonly ending: () => 'fin' | 'reset' | undefined;
  readonly write: (bytes: string | Buffer) => void;
  readonly halfClose: () => void;
  /** Waits until `condition` holds on what was received; an error with the bytes when it does not in time. */
  readonly until: (
    condition: (text: string, closed: boolean) => boolean,
    timeoutMs?: number,
  ) => Promise<string>;
  readonly untilClosed: (timeoutMs?: number) => Promise<string>;
  /** Waits for `count` final answers. */
  readonly untilAnswers: (
    count: number,
    timeoutMs?: number,
    methods?: readonly string[],
  ) => Promise<ReadAnswers>;
}

function finals(read: ReadAnswers): number {
  return read.answers.filter((each) => each.complete && (each.status >= 200 || each.status === 101)).length;
}

/** Connects to 127.0.0.1:`port`. */
export async function openRaw(port: number): Promise<RawConnection> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
  const connected = Promise.withResolvers<void>();
  let text = '';
  let closed = false;
  let ending: 'fin' | 'reset' | undefined;
  const listeners = new Set<() => void>();
  const changed = (): void => {
    for (const listener of listeners) listener();
  };
  socket.once('connect', () => connected.resolve());
  socket.on('error', (error) => {
    connected.reject(error);
    ending = 'reset';
  });
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
    changed();
  });
  socket.on('end', () => {
    ending ??= 'fin';
    closed = true;
    changed();
  });
  socket.on('close', () => {
    closed = true;
    changed();
  });
  await connected.promise;

  const until: RawConnection['until'] = async (condition, timeoutMs = 20_000) => {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const check = (): void => {
      if (condition(text, closed)) resolve(text);
    };
    listeners.add(check);
    const timer = setTimeout(() => {
      reject(new Error(`not within ${timeoutMs} ms, closed: ${closed}, received: ${JSON.stringify(text)}`));
    }, timeoutMs);
    check();
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      listeners.delete(check);
    }
  };
  return {
    socket,
    received: () => text,
    isClosed: () => closed,
    ending: () => ending,
    write: (bytes) => {
      socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
    },
    halfClose: () => {
      socket.end();
    },
    until,
    untilClosed: (timeoutMs) => until((_, isClosed) => isClosed, timeoutMs),
    untilAnswers: async (count, timeoutMs, methods) => {
      await until(
        (now, isClosed) => isClosed || finals(readAnswers(now, isClosed, methods)) >= count,
        timeoutMs,
      );
      return readAnswers(text, closed, methods);
    },
    [Symbol.asyncDispose]: async () => {
      socket.destroy();
      if (!socket.closed) await new Promise<void>((resolve) => void socket.once('close', () => resolve()));
    },
  };
}

/** Sends `bytes` on a connection of its own and waits for `count` final answers, or the other side's end. */
export async function rawExchange(
  port: number,
  bytes: string | Buffer,
  options: {
    readonly count?: number;
    readonly timeoutMs?: number;
    readonly methods?: readonly string[];
  } = {},
): Promise<ReadAnswers & { readonly closed: boolean; readonly text: string }> {
  await using connection = await openRaw(port);
  connection.write(bytes);
  const read = await connection.untilAnswers(options.count ?? 1, options.timeoutMs, options.methods);
  return { ...read, closed: connection.isClosed(), text: connection.received() };
}
