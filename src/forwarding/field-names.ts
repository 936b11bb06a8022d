/**
 * What a header name means to an intermediary, found without allocating.
 *
 * Names come from the wire in any spelling. The table holds each known name as it is usually written (all small, and
 * With-Capitals), so nearly every field costs one map lookup; only an unknown spelling is lowered and tried again. A name
 * with `_` is its `-` twin to every CGI-like application behind us (`X_Forwarded_For` becomes HTTP_X_FORWARDED_FOR), so
 * a twin of a protected name is treated as forged. So is one with any other sign that is neither letter nor digit: PHP makes
 * `_` of a `.` in a variable's name, lighttpd of all of them in a header's. Source: RFC 9110 §7.6.1, RFC 3875 §4.1.18,
 * CVE-2026-33805, forwarding.md §3.
 */

/** Classes of request fields. Everything up to `MAX_FORWARDS` passes on unless a rule says otherwise. */
const PLAIN = 0;
export const ACCEPT = 1;
export const AUTHORIZATION = 2;
export const CONTENT_TYPE = 3;
export const X_PRIORITY = 4;
export const SEC_FETCH_MODE = 5;
export const MAX_FORWARDS = 6;
export const COOKIE = 7;
export const HOST = 8;
/** Belongs to one connection or is ours to speak: never passes. */
export const DROP = 9;
export const CONTENT_LENGTH = 10;
export const TRANSFER_ENCODING = 11;
export const CONNECTION = 12;
export const UPGRADE = 13;
export const TE = 14;
export const EXPECT = 15;
export const X_REQUEST_ID = 16;
export const X_REQUEST_DEADLINE = 17;
export const TRACEPARENT = 18;
export const TRACESTATE = 19;
export const FORWARDED = 20;
export const X_FORWARDED_FOR = 21;
export const X_FORWARDED_PROTO = 22;
export const X_FORWARDED_HOST = 23;
/** `x-forwarded-port` and the like: nobody's word but a trusted peer's. */
export const X_FORWARDED_OTHER = 24;
const X_REAL_IP = 25;
export const VIA = 26;
/** A twin of a protected name, with `_` or another sign for `-`. */
export const FORGED = 27;

const KNOWN: readonly (readonly [name: string, fieldClass: number])[] = [
  ['host', HOST],
  ['accept', ACCEPT],
  ['authorization', AUTHORIZATION],
  ['content-type', CONTENT_TYPE],
  ['content-length', CONTENT_LENGTH],
  ['transfer-encoding', TRANSFER_ENCODING],
  ['connection', CONNECTION],
  ['upgrade', UPGRADE],
  ['te', TE],
  ['expect', EXPECT],
  ['cookie', COOKIE],
  ['x-priority', X_PRIORITY],
  ['x-request-id', X_REQUEST_ID],
  ['x-request-deadline-ms', X_REQUEST_DEADLINE],
  ['traceparent', TRACEPARENT],
  ['tracestate', TRACESTATE],
  ['sec-fetch-mode', SEC_FETCH_MODE],
  ['forwarded', FORWARDED],
  ['x-forwarded-for', X_FORWARDED_FOR],
  ['x-forwarded-proto', X_FORWARDED_PROTO],
  ['x-forwarded-host', X_FORWARDED_HOST],
  ['x-real-ip', X_REAL_IP],
  ['via', VIA],
  ['max-forwards', MAX_FORWARDS],
  ['keep-alive', DROP],
  ['proxy-connection', DROP],
  ['proxy-authorization', DROP],
  ['proxy-authenticate', DROP],
  ['proxy', DROP],
  ['http2-settings', DROP],
  ['trailer', DROP],
  // What nearly every caller sends, so that it is found at the first lookup.
  ['user-agent', PLAIN],
  ['accept-encoding', PLAIN],
  ['accept-language', PLAIN],
  ['cache-control', PLAIN],
  ['pragma', PLAIN],
  ['origin', PLAIN],
  ['referer', PLAIN],
  ['range', PLAIN],
  ['if-none-match', PLAIN],
  ['if-modified-since', PLAIN],
  ['content-encoding', PLAIN],
  ['x-api-key', PLAIN],
  ['upgrade-insecure-requests', PLAIN],
  ['sec-fetch-site', PLAIN],
  ['sec-fetch-dest', PLAIN],
  ['sec-fetch-user', PLAIN],
  ['sec-websocket-key', PLAIN],
  ['sec-websocket-version', PLAIN],
  ['sec-websocket-extensions', PLAIN],
  ['sec-websocket-protocol', PLAIN],
];

function capitalised(name: string): string {
  return name
    .split('-')
    .map((word) => word.slice(0, 1).toUpperCase() + word.slice(1))
    .join('-');
}

const CLASS_OF: ReadonlyMap<string, number> = new Map([
  ...KNOWN,
  ...KNOWN.map(([name, fieldClass]): [string, number] => [capitalised(name), fieldClass]),
  ['TE', TE],
]);

/** The class of a request field's name in any spelling. */
export function requestFieldClass(name: string): number {
  return CLASS_OF.get(name) ?? unusualClass(name.toLowerCase());
}

function unusualClass(lowered: string): number {
  const known = CLASS_OF.get(lowered);
  if (known !== undefined) return known;
  if (lowered.startsWith('x-spillway-') || lowered.startsWith('proxy-')) return DROP;
  if (lowered.startsWith('x-forwarded-')) return X_FORWARDED_OTHER;
  return hasOddSign(lowered) && isProtected(lowered.slice(0, FOLDED_LENGTH).replaceAll(ODD_SIGN, '-'))
    ? FORGED
    : PLAIN;
}

const ODD_SIGN = /[^a-z0-9-]/g;
/** Longer than every protected name and every beginning of one. Half: `x_request_deadline_ms` passes; double: work for nothing. */
const FOLDED_LENGTH = 32;

/** Whether a name (all small) holds more than letters, digits and `-` where that matters; hardly any does. */
function hasOddSign(lowered: string): boolean {
  const end = Math.min(lowered.length, FOLDED_LENGTH);
  for (let index = 0; index < end; index++) {
    const code = lowered.charCodeAt(index);
    const plain = (code >= 97 && code <= 122) || code === 45 || (code >= 48 && code <= 57);
    if (!plain) return true;
  }
  return false;
}

const PROTECTED: ReadonlySet<string> = new Set([
  'host',
  'authorization',
  'cookie',
  'transfer-encoding',
  'via',
  'forwarded',
  'x-real-ip',
  'x-request-id',
  'x-request-deadline-ms',
  'traceparent',
]);

/** Names (all small) that mean something to us or to whom we forward, so that a caller may not play with them. */
export function isProtected(lowered: string): boolean {
  return (
    PROTECTED.has(lowered) ||
    lowered.startsWith('content-') ||
    lowered.startsWith('x-forwarded-') ||
    lowered.startsWith('x-spillway-')
  );
}

/** Protected names (all small) that a `Connection` field may name: ours replace them after the removal. */
export function isReplacedAnyway(lowered: string): boolean {
  return lowered === 'forwarded' || lowered === 'x-real-ip' || lowered.startsWith('x-forwarded-');
}

/** Whether `name`, in any spelling, is `lowered`. */
export function sameName(name: string, lowered: string): boolean {
  if (name.length !== lowered.length) return false;
  for (let index = 0; index < name.length; index++) {
    const code = name.charCodeAt(index);
    const small = code >= 65 && code <= 90 ? code + 32 : code;
    if (small !== lowered.charCodeAt(index)) return false;
  }
  return true;
}

/** Names (all small) that belong to one connection; `Connection` itself is read before. For answers. */
export function isHopByHop(lowered: string): boolean {
  switch (lowered) {
    case 'connection':
    case 'keep-alive':
    case 'te':
    case 'trailer':
    case 'transfer-encoding':
    case 'upgrade':
    case 'http2-settings':
    case 'proxy':
      return true;
    default:
      return lowered.startsWith('proxy-');
  }
}
