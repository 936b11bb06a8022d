import type { Socket } from 'node:net';

import { sameName } from '../forwarding/field-names.ts';
import { IncomingMessage, ServerResponse, STATUS_CODES } from './node-http.ts';

/**
 * The request and response objects of our HTTP/1 servers: node's own, without what is paid for twice.
 *
 * A request's header section is read once, by `scanRequest`; node would build its object of all fields as well, since it
 * looks for three of them itself. Here that object holds only what node (and the router in front of a rewriting mount) asks
 * for. A response's fields have been judged field by field (`response-reader.ts`, `response-headers.ts`, the schema for
 * what a configuration sets); node would judge each once more with regular expressions. An ordinary head, HTTP/1.1 with a
 * length, is therefore joined here and handed over ready; every other one goes node's way. Both give the same bytes, which
 * a test compares. Measured together: 3 µs of 40 a request.
 *
 * What is relied on of node's outgoing message, and asserted by that test: `_header` is the head that `end` and `write`
 * send first, `_headerSent` says whether it was sent, `_last` that the connection ends behind it.
 */

/** Names that node's own server looks for, and the router before a body; by length, which tells nearly every other field. */
const ASKED_FOR: readonly (string | undefined)[] = byLength([
  'content-length',
  'transfer-encoding',
  'content-type',
  'expect',
  'upgrade',
]);

function byLength(names: readonly string[]): readonly (string | undefined)[] {
  return Array.from({ length: 18 }, (_, length) => names.find((name) => name.length === length));
}

/** Node defines `headers` as an accessor; its types tell of a plain property. */
const Request = IncomingMessage as unknown as new (socket: Socket) => Omit<IncomingMessage, 'headers'>;

class LeanRequest extends Request {
  #asked: Record<string, string> | undefined = undefined;

  get headers(): Record<string, string> {
    this.#asked ??= askedFor(this.rawHeaders);
    return this.#asked;
  }

  set headers(_headers: Record<string, string>) {
    // Node's constructor of the base class sets an empty one.
  }
}

function askedFor(rawHeaders: readonly string[]): Record<string, string> {
  const asked: Record<string, string> = {};
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] ?? '';
    const wanted = ASKED_FOR[name.length];
    if (wanted !== undefined && sameName(name, wanted)) asked[wanted] ??= rawHeaders[index + 1] ?? '';
  }
  return asked;
}

/** What a response of node holds besides what its types tell. */
interface Outgoing {
  _header: string | null;
  _headerSent: boolean;
  _last: boolean;
  _keepAliveTimeout: number;
  _maxRequestsPerSocket: number;
  _expect_continue: boolean;
  _sent100: boolean;
  _send(text: string, encoding: 'latin1'): boolean;
}

/** The classes for the options of a server that does not ask for `Host` itself. @param wallMs ms since 1970 */
export function httpMessages(wallMs: () => number): {
  readonly IncomingMessage: typeof IncomingMessage;
  readonly ServerResponse: typeof ServerResponse;
} {
  const date = new DateText(wallMs);

  class ReadyResponse<Request extends IncomingMessage = IncomingMessage> extends ServerResponse<Request> {
    /** @param fields names and values alternating */
    override writeHead(status: number, fields?: unknown, more?: unknown): this {
      const outgoing = this as unknown as Outgoing;
      const head =
        more === undefined && Array.isArray(fields) && isOrdinary(this, outgoing, status)
          ? joinedHead(status, fields as readonly string[], outgoing, date)
          : '';
      // Whatever it is, node knows how to write it.
      if (head === '') return super.writeHead(status, fields as string, more as string[]);
      this.statusCode = status;
      outgoing._header = head;
      outgoing._headerSent = false;
      return this;
    }

    /** node's own writes a head alone as UTF-8, and octets beyond ASCII would become two. */
    override flushHeaders(): void {
      const outgoing = this as unknown as Outgoing;
      if (outgoing._header === null) super.flushHeaders();
      else outgoing._send('', 'latin1');
    }
  }
  return {
    IncomingMessage: LeanRequest as unknown as typeof IncomingMessage,
    ServerResponse: ReadyResponse,
  };
}

function isOrdinary(response: ServerResponse, outgoing: Outgoing, status: number): boolean {
  return (
    outgoing._header === null &&
    response.req.httpVersionMinor === 1 &&
    response.shouldKeepAlive &&
    (!outgoing._expect_continue || outgoing._sent100) &&
    status >= 200 &&
    status !== 204 &&
    status !== 304 &&
    outgoing._maxRequestsPerSocket === 0
  );
}

/** The whole head, or '' where a field decides more than its own line. */
function joinedHead(status: number, list: readonly string[], outgoing: Outgoing, date: DateText): string {
  let head = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'unknown'}\r\n`;
  let dated = false;
  let measured = false;
  let closes = false;
  for (let index = 0; index + 1 < list.length; index += 2) {
    const name = list[index] ?? '';
    const value = list[index + 1] ?? '';
    head += `${name}: ${value}\r\n`;
    // By length first: few other names are as long as one of these.
    switch (name.length) {
      case 4:
        dated ||= name.toLowerCase() === 'date';
        break;
      case 10:
        if (name.toLowerCase() === 'connection') {
          if (value !== 'close') return '';
          closes = true;
        }
        break;
      case 14:
        measured ||= name.toLowerCase() === 'content-length';
        break;
      case 7:
      case 17:
        if (DECISIVE.has(name.toLowerCase())) return '';
        break;
      default:
    }
  }
  if (!measured) return '';
  if (!dated) head += `Date: ${date.text()}\r\n`;
  if (closes) outgoing._last = true;
  else {
    const idleS = Math.floor(outgoing._keepAliveTimeout / 1000);
    head +=
      outgoing._keepAliveTimeout > 0
        ? `Connection: keep-alive\r\nKeep-Alive: timeout=${idleS}\r\n`
        : 'Connection: keep-alive\r\n';
  }
  return `${head}\r\n`;
}

const DECISIVE: ReadonlySet<string> = new Set(['trailer', 'transfer-encoding']);

/** The `Date` of now, made once a second. */
class DateText {
  readonly #wallMs: () => number;
  #second = -1;
  #text = '';

  constructor(wallMs: () => number) {
    this.#wallMs = wallMs;
  }

  text(): string {
    const second = Math.floor(this.#wallMs() / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#text = new Date(second * 1000).toUTCString();
    }
    return this.#text;
  }
}
