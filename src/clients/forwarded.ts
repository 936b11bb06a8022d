/**
 * The two ways in which proxies name the address before them, read one entry at a time from the right.
 *
 * Why from the right: the right end was written by the proxy next to us, the left end by anybody. A caller who plants an
 * open quote in `Forwarded` would swallow the honest entry behind it for a reader that starts on the left; read from the
 * right, its text is not even looked at before the honest entries have been used up.
 *
 * Limits: `unknown` and `_hidden` names (RFC 7239 §6) name nobody. Ports are checked and dropped.
 * Source: RFC 7239 §4 and §6; X-Forwarded-For has no standard: a comma list of addresses, some proxies add ports.
 */
import { parseAddress, type Address } from './ip.ts';

export type ForwardingHeader = 'x-forwarded-for' | 'forwarded';

const QUOTE = 34;
const BACKSLASH = 92;
const COMMA = 44;
const SEMICOLON = 59;
const UNDERSCORE = 95;
const SPACE = 32;
const TAB = 9;

/**
 * Where the last entry of `text[0, end)` begins.
 * @returns the index behind the comma before it, 0 for the first entry, −1 when its quotes do not close.
 */
export function lastEntryStart(text: string, end: number, header: ForwardingHeader): number {
  if (header === 'x-forwarded-for') return text.lastIndexOf(',', end - 1) + 1;
  let quoted = false;
  for (let at = end - 1; at >= 0; at--) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      const slashes = slashesBefore(text, at);
      // Behind an odd number of backslashes a quote is a character of the string that we are in.
      if (quoted && slashes % 2 === 1) at -= slashes;
      else quoted = !quoted;
    } else if (code === COMMA && !quoted) return at + 1;
  }
  return quoted ? -1 : 0;
}

/** The address that one entry names; undefined when it is malformed or names nobody. */
export function entryAddress(text: string, header: ForwardingHeader): Address | undefined {
  const entry = trimmed(text, 0, text.length);
  if (header === 'x-forwarded-for') return hostAddress(entry, header);
  const node = forNode(entry);
  return node === undefined ? undefined : hostAddress(node, header);
}

function slashesBefore(text: string, at: number): number {
  let count = 0;
  while (at - count > 0 && text.charCodeAt(at - count - 1) === BACKSLASH) count++;
  return count;
}

/** The value of the one `for` of a Forwarded element; undefined when there is none, two, or anything malformed. */
function forNode(element: string): string | undefined {
  let node: string | undefined;
  let at = 0;
  while (at <= element.length) {
    const end = pairEnd(element, at);
    if (end < 0) return undefined;
    const pair = trimmed(element, at, end);
    const equals = pair.indexOf('=');
    if (equals < 1 || !isToken(pair, 0, equals)) return undefined;
    const value = pairValue(pair, equals + 1);
    if (value === undefined) return undefined;
    if (pair.slice(0, equals).toLowerCase() === 'for') {
      if (node !== undefined) return undefined;
      node = value;
    }
    at = end + 1;
  }
  return node;
}

/** The index of the next semicolon outside quotes, or the end; −1 when a quote stays open. */
function pairEnd(text: string, from: number): number {
  let quoted = false;
  for (let at = from; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) quoted = !quoted;
    else if (quoted && code === BACKSLASH) at++;
    else if (code === SEMICOLON && !quoted) return at;
  }
  return quoted ? -1 : text.length;
}

/** A token or the inside of a quoted string, its pairs resolved. */
function pairValue(pair: string, from: number): string | undefined {
  if (pair.charCodeAt(from) !== QUOTE) {
    return from < pair.length && isToken(pair, from, pair.length) ? pair.slice(from) : undefined;
  }
  let value = '';
  for (let at = from + 1; at < pair.length; at++) {
    const code = pair.charCodeAt(at);
    if (code === QUOTE) return at === pair.length - 1 ? value : undefined;
    if (code === BACKSLASH) at++;
    if (at < pair.length) value += pair[at] ?? '';
  }
  return undefined;
}

/** An address with or without brackets and port. IPv6 without brackets is an address in X-Forwarded-For only. */
function hostAddress(text: string, header: ForwardingHeader): Address | undefined {
  if (text.startsWith('[')) {
    const close = text.indexOf(']');
    if (close < 0 || !isPortPart(text, close + 1, header)) return undefined;
    const inside = text.slice(1, close);
    return inside.includes(':') ? parseAddress(inside) : undefined;
  }
  const colon = text.indexOf(':');
  if (colon < 0) return parseAddress(text);
  if (text.includes(':', colon + 1)) return header === 'x-forwarded-for' ? parseAddress(text) : undefined;
  return isPortPart(text, colon, header) ? parseAddress(text.slice(0, colon)) : undefined;
}

/** Nothing, or `:` and a port: digits up to 65535, in Forwarded also a hidden one (`_name`). */
function isPortPart(text: string, from: number, header: ForwardingHeader): boolean {
  if (from === text.length) return true;
  const first = from + 1;
  if (text[from] !== ':' || first === text.length) return false;
  if (text.charCodeAt(first) === UNDERSCORE)
    return header === 'forwarded' && isToken(text, first, text.length);
  if (text.length - first > 5) return false;
  for (let at = first; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code < 48 || code > 57) return false;
  }
  return Number(text.slice(first)) <= 65_535;
}

function isToken(text: string, from: number, to: number): boolean {
  for (let at = from; at < to; at++) {
    if (!isTokenChar(text.charCodeAt(at))) return false;
  }
  return true;
}

/** RFC 9110 §5.6.2. */
function isTokenChar(code: number): boolean {
  if (code >= 48 && code <= 57) return true;
  const lower = code | 32;
  if (lower >= 97 && lower <= 122 && code < 128) return true;
  return code < 128 && "!#$%&'*+-.^_`|~".includes(String.fromCharCode(code));
}

function trimmed(text: string, from: number, to: number): string {
  let start = from;
  let end = to;
  while (start < end && isSpace(text.charCodeAt(start))) start++;
  while (end > start && isSpace(text.charCodeAt(end - 1))) end--;
  return text.slice(start, end);
}

function isSpace(code: number): boolean {
  return code === SPACE || code === TAB;
}
