/**
 * One line of the access log: valid JSON of bounded length, whatever a caller sent.
 *
 * Decision: lines are concatenated by hand, since a serializer would cost more than the rest of the outcome step.
 * Controls (C0, DEL, C1), U+2028/9 and lone surrogates never get out raw, a string takes at most 1 KiB and a line at
 * most 4 KiB. No query, no header, no key is ever part of a line.
 *
 * The middle of a line, from `code` to `method`, is the same for most requests of a client on a route: the last few are
 * kept as text: a line costs 0.50 µs instead of 1.15. Many clients at once make it useless and cost four comparisons.
 */

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

/** Bytes of one string as written; longer ones end with an ellipsis. Half cuts honest paths, double fills lines with junk. */
export const MAX_STRING_BYTES = 1024;
/** Bytes of one line with its newline, and PIPE_BUF: twice as much and lines of two workers may mix in a pipe. */
export const MAX_LINE_BYTES = 4096;

/** Bytes that the keys, numbers and brackets of a line may take; the strings share what is left of `MAX_LINE_BYTES`. */
const FRAME_BYTES = 640;
const ELLIPSIS = '\u2026';
const ELLIPSIS_BYTES = 3;
/** pino's numbers for info, warn and error. */
const INFO = 30;
const WARN = 40;
const ERROR = 50;

function levelOf(record: AccessRecord): number {
  if (record.code !== '' && (record.attempts === 0 || record.status === 499)) return WARN;
  return record.status >= 500 ? ERROR : INFO;
}

/** A middle that was written before, and what it was written from. */
interface Middle {
  readonly of: Pick<AccessRecord, (typeof MIDDLE)[number]>;
  readonly text: string;
  /** Bytes of the strings alone. */
  readonly stringBytes: number;
}

const MIDDLE = ['code', 'route', 'service', 'instance', 'tier', 'priority', 'client', 'method'] as const;
/** Several instances and outcomes of one client. Half misses with three instances; double costs what it saves. */
const KEPT_MIDDLES = 4;

/** Writes the lines of one log. */
export class LineWriter {
  readonly #middles: Middle[] = [];
  #oldest = 0;

  /** The line of a record with its newline: at most `MAX_LINE_BYTES` of UTF-8. */
  write(record: AccessRecord): Line {
    const line = new Line(record.wallMs, levelOf(record));
    line.text('requestId', record.requestId);
    const known = this.#known(record);
    if (known === undefined) this.#middle(line, record);
    else line.again(known.text, known.stringBytes);
    line.text('path', withoutQuery(record.path));
    line.numbers(record);
    return line;
  }

  #known(record: AccessRecord): Middle | undefined {
    for (const middle of this.#middles) {
      const { of } = middle;
      if (
        of.client === record.client &&
        of.instance === record.instance &&
        of.route === record.route &&
        of.code === record.code &&
        of.method === record.method &&
        of.tier === record.tier &&
        of.priority === record.priority &&
        of.service === record.service
      )
        return middle;
    }
    return undefined;
  }

  #middle(line: Line, record: AccessRecord): void {
    const { length } = line;
    const wasWide = line.wide;
    line.wide = false;
    let stringBytes = 0;
    for (const key of MIDDLE) {
      line.text(key, record[key]);
      stringBytes += record[key].length;
    }
    // What had to be escaped or cut depends on what stood before it, and is rare.
    if (!line.wide && stringBytes <= MAX_STRING_BYTES) this.#keep(record, line.since(length), stringBytes);
    line.wide ||= wasWide;
  }

  #keep(record: AccessRecord, text: string, stringBytes: number): void {
    const { code, route, service, instance, tier, priority, client, method } = record;
    const of = { code, route, service, instance, tier, priority, client, method };
    this.#middles[this.#oldest] = { of, text, stringBytes };
    this.#oldest = (this.#oldest + 1) % KEPT_MIDDLES;
  }
}

function withoutQuery(path: string): string {
  const at = path.indexOf('?');
  return at === -1 ? path : path.slice(0, at);
}

/** A line in the making, with the bytes that its strings may still take. */
export class Line {
  /** It may hold characters of more than one byte. */
  wide = false;
  #out: string;
  #left = MAX_LINE_BYTES - FRAME_BYTES;

  constructor(wallMs: number, level: number) {
    this.#out = `{"level":${level},"time":${Number.isFinite(wallMs) ? Math.round(wallMs) : 0}`;
  }

  get length(): number {
    return this.#out.length;
  }

  since(length: number): string {
    return this.#out.slice(length);
  }

  /** Appends what was written in another line. */
  again(text: string, stringBytes: number): void {
    this.#left -= stringBytes;
    this.#out += text;
  }

  numbers(record: AccessRecord): void {
    this.#out +=
      `,"status":${shown(record.status)},"durationMs":${shown(record.durationMs)}` +
      `,"queueMs":${shown(record.queueMs)},"upstreamMs":${shown(record.upstreamMs)}` +
      `,"bytesIn":${shown(record.bytesIn)},"bytesOut":${shown(record.bytesOut)},"attempts":${shown(record.attempts)}`;
  }

  text(key: string, value: string): void {
    const room = this.#left < MAX_STRING_BYTES ? this.#left : MAX_STRING_BYTES;
    const plain = value.length <= room && isPlain(value);
    if (!plain) this.wide = true;
    const written = plain ? value : escaped(value, room);
    this.#left -= plain ? value.length : Buffer.byteLength(written);
    this.#out += `,"${key}":"${written}"`;
  }

  end(): string {
    return `${this.#out}}\n`;
  }
}

/** To a thousandth; what is no finite number is null. */
function shown(value: number): number | string | null {
  if (Number.isInteger(value)) return value;
  if (!(value >= 0 && value < MOST_SHOWN))
    return Number.isFinite(value) ? Math.round(value * 1000) / 1000 : null;
  // Two whole numbers are written in a third of the time of a fraction.
  const thousandths = Math.round(value * 1000);
  const whole = Math.floor(thousandths / 1000);
  const rest = thousandths - whole * 1000;
  return rest === 0 ? whole : `${whole}${FRACTIONS[rest] ?? ''}`;
}

const MOST_SHOWN = 1_000_000_000;
/** `.001` to `.999` without zeros at the end. */
const FRACTIONS: readonly string[] = Array.from({ length: 1000 }, (_, rest) => String(rest / 1000).slice(1));

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
