import type { ErrorCode } from '../kernel/errors.ts';
import { checkHost } from './host.ts';

/**
 * One path: the router, the limiter, the log and the instance see the same string.
 *
 * A path that needs no change, nearly every one, is found so by one scan and is its own normal form; nothing is copied. Any
 * other is brought into normal form once: unreserved octets decoded, other `%XX` in capitals, `//` and `.` segments gone.
 * What different readers resolve differently (`..`, `..;x`, `\`, `%5C`, `%2F`, `%00`, bytes that are no UTF-8) is refused
 * instead. `%252e` stays as it is: decoding happens once. The query is checked for bytes that could end the line and is
 * otherwise never parsed or touched. Normalising twice changes nothing. RFC 9112 §3.2, RFC 3986 §6.2.2.
 */

export interface Target {
  code: ErrorCode | '';
  /** Why it was refused, for the log. */
  reason: string;
  /** Normal form; empty for CONNECT, `*` for the asterisk form. */
  path: string;
  /** With its `?`, as received; empty when there is none. */
  query: string;
  /** Of the absolute form, as received; it has to be the Host's (`sameAuthority`). */
  authority: string;
  scheme: 'http' | 'https' | '';
  /** `OPTIONS *`, or OPTIONS with an absolute form without a path. */
  asterisk: boolean;
  /** The path holds `%2F`. Only possible when asked for; the route must have opted in. */
  encodedSlash: boolean;
}

/** 8 KiB, as other gateways; half breaks long search forms, double fills most of the header budget. */
const LONGEST_TARGET = 8192;

const SLASH = 47;
const DOT = 46;
const PERCENT = 37;
const QUESTION = 63;
const HASH = 35;

const PLAIN = 0;
const LOOK = 1;
const BAD = 2;

/** One entry an octet: 0 stays, 1 needs a look, 2 must not occur in a path. */
const PATH_TABLE: Readonly<Uint8Array> = Uint8Array.from({ length: 256 }, (_, code) => {
  if (code <= 0x20 || code >= 0x7f || code === HASH || code === 92) return BAD;
  return code === SLASH || code === PERCENT || code === QUESTION ? LOOK : PLAIN;
});

/**
 * @param rawTarget the request target as it stood in the request line (one character an octet).
 * @param passEncodedSlash keeps `%2F` and says so in `encodedSlash`, instead of refusing it.
 */
export function normalizeTarget(method: string, rawTarget: string, passEncodedSlash = false): Target {
  const target: Target = {
    code: '',
    reason: '',
    path: '',
    query: '',
    authority: '',
    scheme: '',
    asterisk: false,
    encodedSlash: false,
  };
  if (rawTarget.length > LONGEST_TARGET) {
    target.code = 'SPW_URI_TOO_LONG';
    target.reason = 'target over 8 KiB';
  } else if (rawTarget.charCodeAt(0) === SLASH && method !== 'CONNECT') {
    readPath(target, rawTarget, passEncodedSlash);
  } else {
    readOtherForm(target, method, rawTarget, passEncodedSlash);
  }
  return target;
}

function refuse(target: Target, reason: string): void {
  target.code = 'SPW_BAD_REQUEST';
  target.reason = reason;
  target.path = '';
  target.query = '';
}

function readPath(target: Target, text: string, passEncodedSlash: boolean): void {
  const { length } = text;
  let end = length;
  let slow = false;
  for (let index = 0; index < length; index++) {
    const code = text.charCodeAt(index);
    const kind = code > 255 ? BAD : (PATH_TABLE[code] ?? BAD);
    if (kind === PLAIN) continue;
    if (kind === BAD) {
      refuse(target, 'byte not allowed in a path');
      return;
    }
    if (code === QUESTION) {
      end = index;
      break;
    }
    if (code === PERCENT) slow = true;
    else {
      const next = text.charCodeAt(index + 1);
      if (next === SLASH || next === DOT) slow = true;
    }
  }
  for (let index = end; index < length; index++) {
    const code = text.charCodeAt(index);
    if (code <= 0x20 || code >= 0x7f || code === HASH) {
      refuse(target, 'byte not allowed in a query');
      return;
    }
  }
  const path = end === length ? text : text.slice(0, end);
  target.path = path;
  if (end !== length) target.query = text.slice(end);
  if (slow) normalizePath(target, path, passEncodedSlash);
}

function readOtherForm(target: Target, method: string, text: string, passEncodedSlash: boolean): void {
  if (method === 'CONNECT') {
    // Answered here, never forwarded; the authority is only for the log.
    target.authority = text;
    return;
  }
  if (text === '*') {
    if (method !== 'OPTIONS') {
      refuse(target, 'asterisk form without OPTIONS');
      return;
    }
    target.path = '*';
    target.asterisk = true;
    return;
  }
  const scheme = schemeOf(text);
  if (scheme === '') {
    refuse(target, 'target is neither a path nor an http(s) URI');
    return;
  }
  const start = scheme.length + 3;
  let end = start;
  while (end < text.length && text.charCodeAt(end) !== SLASH && text.charCodeAt(end) !== QUESTION) end++;
  const authority = text.slice(start, end);
  if (!checkHost(authority).ok) {
    refuse(target, 'authority of the target');
    return;
  }
  target.scheme = scheme;
  target.authority = authority;
  if (end === text.length) {
    target.asterisk = method === 'OPTIONS';
    target.path = target.asterisk ? '*' : '/';
    return;
  }
  const rest = text.slice(end);
  readPath(target, rest.charCodeAt(0) === QUESTION ? `/${rest}` : rest, passEncodedSlash);
}

function schemeOf(text: string): 'http' | 'https' | '' {
  const head = text.slice(0, 8).toLowerCase();
  if (head.startsWith('http://')) return 'http';
  return head === 'https://' ? 'https' : '';
}

/** What still has to come of a UTF-8 sequence, and the range its next octet must be in. */
interface Utf8 {
  need: number;
  low: number;
  high: number;
}

function normalizePath(target: Target, path: string, passEncodedSlash: boolean): void {
  const utf8: Utf8 = { need: 0, low: 0x80, high: 0xbf };
  let decoded = '';
  let from = 0;
  for (let index = 0; index < path.length; index++) {
    const code = path.charCodeAt(index);
    if (code !== PERCENT) {
      if (utf8.need > 0) {
        refuse(target, 'path is no UTF-8');
        return;
      }
      continue;
    }
    const octet = octetAt(path, index);
    if (octet <= 0 || octet === 0x5c || (octet === 0x2f && !passEncodedSlash)) {
      refuse(target, octet < 0 ? '% without two hex digits' : 'encoded slash, backslash or NUL');
      return;
    }
    if (!takeOctet(utf8, octet)) {
      refuse(target, 'path is no UTF-8');
      return;
    }
    if (octet === 0x2f) target.encodedSlash = true;
    decoded += path.slice(from, index);
    decoded += isUnreserved(octet) ? String.fromCharCode(octet) : path.slice(index, index + 3).toUpperCase();
    index += 2;
    from = index + 1;
  }
  if (utf8.need > 0) {
    refuse(target, 'path is no UTF-8');
    return;
  }
  if (from > 0) decoded += path.slice(from);
  joinSegments(target, from > 0 ? decoded : path);
}

function joinSegments(target: Target, path: string): void {
  const segments = path.split('/');
  let joined = '';
  for (let index = 1; index < segments.length; index++) {
    const segment = segments[index] ?? '';
    if (segment.charCodeAt(0) === DOT && climbs(segment)) {
      refuse(target, 'dot segment');
      return;
    }
    if (target.encodedSlash && hidesDots(segment)) {
      refuse(target, 'dot segment behind an encoded slash');
      return;
    }
    if (segment === '' || segment === '.') {
      if (index === segments.length - 1) joined += '/';
    } else joined += `/${segment}`;
  }
  target.path = joined;
}

/** `..`, and dots with a parameter behind them: servlet containers cut `;x` off before they resolve. */
function climbs(segment: string): boolean {
  const dots = segment.charCodeAt(1) === DOT ? 2 : 1;
  if (segment.length === dots) return dots === 2;
  return segment.charCodeAt(dots) === 59 || segment.startsWith('%3B', dots);
}

/** Whether an instance that decodes `%2F` first would see a dot segment in here. */
function hidesDots(segment: string): boolean {
  if (!segment.includes('%2F')) return false;
  for (const part of segment.split('%2F')) {
    if (part === '.' || (part.charCodeAt(0) === DOT && climbs(part))) return true;
  }
  return false;
}

/** The octet behind a `%`, -1 when there are no two hex digits. */
function octetAt(path: string, percent: number): number {
  const high = hexDigit(path.charCodeAt(percent + 1));
  const low = hexDigit(path.charCodeAt(percent + 2));
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

function hexDigit(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  const small = code | 32;
  return small >= 97 && small <= 102 ? small - 87 : -1;
}

function isUnreserved(octet: number): boolean {
  const small = octet | 32;
  if (small >= 97 && small <= 122) return true;
  return (octet >= 48 && octet <= 57) || octet === 45 || octet === DOT || octet === 95 || octet === 126;
}

/** RFC 3629: no overlong form, no surrogate, nothing above U+10FFFF. */
function takeOctet(utf8: Utf8, octet: number): boolean {
  if (utf8.need > 0) {
    if (octet < utf8.low || octet > utf8.high) return false;
    utf8.need--;
    utf8.low = 0x80;
    utf8.high = 0xbf;
    return true;
  }
  if (octet < 0x80) return true;
  if (octet < 0xc2 || octet > 0xf4) return false;
  utf8.need = octet < 0xe0 ? 1 : octet < 0xf0 ? 2 : 3;
  if (octet === 0xe0) utf8.low = 0xa0;
  else if (octet === 0xed) utf8.high = 0x9f;
  else if (octet === 0xf0) utf8.low = 0x90;
  else if (octet === 0xf4) utf8.high = 0x8f;
  return true;
}
