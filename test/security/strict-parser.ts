/**
 * A reader of HTTP/1.1 requests without any tolerance (RFC 9112): the second opinion on what a gateway sent upstream.
 *
 * Whatever two implementations could read differently is a fault here: a bare LF, two lengths, a length beside a coding, a
 * chunk extension, a second Host. Texts are latin-1, one character an octet.
 */

export interface StrictRequest {
  readonly method: string;
  readonly target: string;
  /** In order, names in lower case. */
  readonly fields: readonly (readonly [name: string, value: string])[];
  readonly body: string;
  readonly chunked: boolean;
}

export interface StrictReading {
  /** Complete requests, in order. */
  readonly requests: readonly StrictRequest[];
  /** Bytes of a request that is not complete yet; empty when none has begun. */
  readonly rest: string;
  /** The first thing that is not HTTP, or ''. */
  readonly fault: string;
}

/** The value of a field that must come at most once; undefined when it is absent. */
export function fieldOf(request: StrictRequest, name: string): string | undefined {
  return request.fields.find(([each]) => each === name)?.[1];
}

export function readRequests(text: string): StrictReading {
  const requests: StrictRequest[] = [];
  let at = 0;
  for (;;) {
    if (at === text.length) return { requests, rest: '', fault: '' };
    const next = readOne(text, at);
    if (typeof next === 'string') return { requests, rest: text.slice(at), fault: next };
    if (next.end < 0) return { requests, rest: text.slice(at), fault: '' };
    requests.push(next.request);
    at = next.end;
  }
}

interface One {
  readonly request: StrictRequest;
  /** -1: more bytes are needed. */
  readonly end: number;
}

const INCOMPLETE: One = {
  request: { method: '', target: '', fields: [], body: '', chunked: false },
  end: -1,
};

function readOne(text: string, from: number): One | string {
  const headEnd = text.indexOf('\r\n\r\n', from);
  if (headEnd < 0) return INCOMPLETE;
  const [line = '', ...lines] = text.slice(from, headEnd).split('\r\n');
  const start = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\u0021-\u007e]+) HTTP\/1\.1$/.exec(line);
  if (start === null) return `request line ${JSON.stringify(line.slice(0, 80))}`;
  const fields: [string, string][] = [];
  for (const each of lines) {
    const field = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([\t\u0020-\u007e\u0080-\u00ff]*)$/.exec(each);
    if (field === null) return `field line ${JSON.stringify(each.slice(0, 80))}`;
    fields.push([(field[1] ?? '').toLowerCase(), field[2] ?? '']);
  }
  const values = (name: string): string[] =>
    fields.filter(([each]) => each === name).map(([, value]) => value);
  if (values('host').length !== 1) return `${values('host').length} Hosts`;
  const lengths = values('content-length');
  const codings = values('transfer-encoding');
  if (lengths.length + codings.length > 1) return 'two framings';
  const base = { method: start[1] ?? '', target: start[2] ?? '', fields };
  if (codings.length === 1) {
    if (codings[0] !== 'chunked') return `coding ${codings[0]}`;
    const chunks = readChunks(text, headEnd + 4);
    if (typeof chunks === 'string') return chunks;
    return { request: { ...base, body: chunks.body, chunked: true }, end: chunks.end };
  }
  const length = lengths[0] ?? '0';
  if (!/^(0|[1-9]\d{0,15})$/.test(length)) return `length ${JSON.stringify(length)}`;
  const end = headEnd + 4 + Number(length);
  if (end > text.length) return INCOMPLETE;
  return { request: { ...base, body: text.slice(headEnd + 4, end), chunked: false }, end };
}

function readChunks(text: string, from: number): { body: string; end: number } | string {
  let body = '';
  let at = from;
  for (;;) {
    const lineEnd = text.indexOf('\r\n', at);
    if (lineEnd < 0) return { body, end: -1 };
    const size = text.slice(at, lineEnd);
    if (!/^[0-9a-fA-F]{1,8}$/.test(size)) return `chunk size ${JSON.stringify(size.slice(0, 40))}`;
    const bytes = Number.parseInt(size, 16);
    const start = lineEnd + 2;
    if (bytes === 0) {
      if (text.length < start + 2) return { body, end: -1 };
      // Trailers would have to be asked for; this gateway sends none.
      return text.startsWith('\r\n', start) ? { body, end: start + 2 } : 'bytes behind the last chunk';
    }
    if (text.length < start + bytes + 2) return { body, end: -1 };
    if (!text.startsWith('\r\n', start + bytes)) return 'chunk without its end';
    body += text.slice(start, start + bytes);
    at = start + bytes + 2;
  }
}
