/**
 * A signed token (JWT, RFC 7519) before anybody has checked its signature: where it stands, whether it can be one at all,
 * and what its header claims about itself.
 *
 * Everything read here is the caller's own word and decides nothing but how much work a token is worth: what has not the
 * shape of one, asks for another algorithm than those configured, or is longer than any honest one costs a scan and no
 * signature check. Never throws, whatever was sent.
 *
 * Limits: of two entries with one header the unsigned `iss` picks the one that checks it; a wrong word there is a bad token.
 * Source: RFC 7515 (compact serialisation), RFC 6750 §2.1 (`Bearer`), RFC 8725 (algorithms are pinned by the verifier).
 */
import { hash } from 'node:crypto';

/** Half: tokens with many groups or roles stop working; double: twice the bytes hashed and decoded for each forged one. */
const MOST_TOKEN_BYTES = 8192;
/** Of the first part, base64url. Half: a long `kid` beside a `jku` does not fit; double: more is parsed for nothing. */
const MOST_HEADER_CHARS = 1024;
/** Half: URLs as `kid` are cut off; double: nothing honest needs it. */
const MOST_KID_CHARS = 256;
const BEARER = 'bearer';

/** Stands where a token is expected and cannot be anybody's: too long, or nothing behind `Bearer`. */
export const NO_TOKEN = '';

/** What the header of a token says about its signature. */
export interface TokenHeader {
  readonly alg: string;
  /** Empty when it names no key. */
  readonly kid: string;
}

/**
 * The token in a header's value, with or without `Bearer`.
 * @returns undefined when something else than a token stands there: another scheme, such as `Basic`
 */
export function tokenIn(value: string): string | undefined {
  const text = value.trim();
  const space = text.indexOf(' ');
  if (space < 0) return text.length > MOST_TOKEN_BYTES || text.toLowerCase() === BEARER ? NO_TOKEN : text;
  if (space !== BEARER.length || text.slice(0, space).toLowerCase() !== BEARER) return undefined;
  const token = text.slice(space + 1).trimStart();
  return token.length > MOST_TOKEN_BYTES ? NO_TOKEN : token;
}

/** The name under which a token is remembered: its SHA-256, so that no memory holds one that could be used. */
export function tokenDigest(token: string): string {
  return hash('sha256', token, 'base64url');
}

/** Three parts of base64url, none empty. */
export function isTokenShaped(token: string): boolean {
  let dots = 0;
  let length = 0;
  for (let at = 0; at < token.length; at++) {
    const code = token.charCodeAt(at);
    if (code === 0x2e) {
      if (length === 0) return false;
      dots++;
      length = 0;
    } else if (isBase64url(code)) length++;
    else return false;
  }
  return dots === 2 && length > 0;
}

/** What the first part says; undefined when it cannot be read or names no algorithm. */
export function tokenHeader(token: string): TokenHeader | undefined {
  const end = token.indexOf('.');
  if (end < 0 || end > MOST_HEADER_CHARS) return undefined;
  const { alg, kid } = decoded(token.slice(0, end));
  if (typeof alg !== 'string') return undefined;
  if (kid === undefined) return { alg, kid: '' };
  return typeof kid === 'string' && kid.length <= MOST_KID_CHARS ? { alg, kid } : undefined;
}

/** Who the token says has issued it; empty when it does not say. */
export function tokenIssuer(token: string): string {
  const { iss } = decoded(token.slice(token.indexOf('.') + 1, token.lastIndexOf('.')));
  return typeof iss === 'string' ? iss : '';
}

/** A part as the object that it must be; without members when it is none. */
function decoded(part: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));
    return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
  } catch {
    return {};
  }
}

function isBase64url(code: number): boolean {
  return (
    (code >= 0x61 && code <= 0x7a) ||
    (code >= 0x41 && code <= 0x5a) ||
    (code >= 0x30 && code <= 0x39) ||
    code === 0x2d ||
    code === 0x5f
  );
}
