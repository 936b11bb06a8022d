import type { ErrorCode } from '../kernel/errors.ts';

/**
 * Requests that end here whatever the routes say (RFC 9110 §7.6.2, §9.3.6–8).
 *
 * `OPTIONS *` asks the server itself, OPTIONS with `Max-Forwards: 0` whoever holds it then. TRACE would echo credentials to
 * whoever can make a browser ask; CONNECT would make an open proxy of us, and what follows it may be anything.
 */

export type LocalAnswer =
  | { readonly kind: 'forward' }
  /** 204 with `Allow`. */
  | { readonly kind: 'options'; readonly status: 204; readonly allow: string }
  | { readonly kind: 'refuse'; readonly code: ErrorCode; readonly allow: string; readonly closes: boolean };

const ALLOW = 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS';

const FORWARD: LocalAnswer = Object.freeze({ kind: 'forward' });
const OPTIONS: LocalAnswer = Object.freeze({ kind: 'options', status: 204, allow: ALLOW });
const TRACE: LocalAnswer = refused(false);
const CONNECT: LocalAnswer = refused(true);

function refused(closes: boolean): LocalAnswer {
  return Object.freeze({ kind: 'refuse', code: 'SPW_METHOD_NOT_ALLOWED', allow: ALLOW, closes });
}

/** @param maxForwards -1 when the request has none. */
export function localAnswer(method: string, asterisk: boolean, maxForwards: number): LocalAnswer {
  switch (method) {
    case 'OPTIONS':
      return asterisk || maxForwards === 0 ? OPTIONS : FORWARD;
    case 'TRACE':
      return TRACE;
    case 'CONNECT':
      return CONNECT;
    default:
      return FORWARD;
  }
}
