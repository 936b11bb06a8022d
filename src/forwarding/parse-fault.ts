import type { ErrorCode } from '../kernel/errors.ts';

/**
 * What the HTTP parser of the listener refused, as a code of ours.
 *
 * llhttp tells an unknown version and a broken line end by the same error code; only its reason tells them apart. A
 * connection that simply ends is nobody's bad request: there is no one left to answer. Checked against llhttp 9.4.3,
 * the same in Node 24.21 and 26.10.
 */

interface ParseError {
  readonly code?: unknown;
  readonly reason?: unknown;
}

/** @param error the first argument of node:http's `clientError`. `SPW_CLIENT_CLOSED`: say nothing. */
export function clientErrorCode(error: unknown): ErrorCode {
  if (typeof error !== 'object' || error === null) return 'SPW_BAD_REQUEST';
  const { code, reason } = error as ParseError;
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return 'SPW_HEADERS_TOO_LARGE';
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return 'SPW_BODY_TOO_LARGE';
    case 'HPE_INVALID_VERSION':
      return reason === 'Invalid HTTP version' ? 'SPW_HTTP_VERSION' : 'SPW_BAD_REQUEST';
    case 'HPE_PAUSED_H2_UPGRADE':
      return 'SPW_HTTP_VERSION';
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return 'SPW_REQUEST_TIMEOUT';
    case 'ECONNRESET':
    case 'EPIPE':
    case 'ECONNABORTED':
    case 'ETIMEDOUT':
      return 'SPW_CLIENT_CLOSED';
    default:
      return 'SPW_BAD_REQUEST';
  }
}
