/**
 * What the gateway's own answers are called in gRPC.
 *
 * A gRPC caller reads `grpc-status`; an HTTP status with a JSON body is to it a broken server. Our refusals are therefore
 * *trailers-only*: HTTP 200 with the status in the head, and nothing behind it. The numbers follow the gRPC project's
 * mapping of HTTP statuses, except that a quota is RESOURCE_EXHAUSTED, a timeout of ours DEADLINE_EXCEEDED and an unknown
 * route UNIMPLEMENTED, as a gRPC server would say. forwarding.md §6, gRPC PROTOCOL-HTTP2, proposal A6 (pushback).
 */

const DEADLINE_EXCEEDED = 4;
const RESOURCE_EXHAUSTED = 8;
const UNIMPLEMENTED = 12;
const INTERNAL = 13;
const UNAVAILABLE = 14;
const UNAUTHENTICATED = 16;

/** @param httpStatus what any other caller would be answered. */
export function grpcStatusOf(httpStatus: number): number {
  switch (httpStatus) {
    case 429:
      return RESOURCE_EXHAUSTED;
    case 502:
    case 503:
      return UNAVAILABLE;
    case 504:
      return DEADLINE_EXCEEDED;
    case 401:
      return UNAUTHENTICATED;
    case 404:
    case 405:
      return UNIMPLEMENTED;
    default:
      return INTERNAL;
  }
}

/** Names of media types have few letters; a longer one is answered with the plain type. */
const LONGEST_TYPE = 48;
const PLAIN_TYPE = 'application/grpc';

/** The caller's own kind of gRPC (`application/grpc-web+proto`), without parameters; it must be one to be asked here. */
export function grpcContentType(asked: string): string {
  let end = 0;
  while (end < asked.length && isTypeCharacter(asked.charCodeAt(end))) end++;
  return end < PLAIN_TYPE.length || end > LONGEST_TYPE ? PLAIN_TYPE : asked.slice(0, end);
}

function isTypeCharacter(code: number): boolean {
  return (
    (code >= 97 && code <= 122) || (code >= 48 && code <= 57) || (code >= 43 && code <= 47 && code !== 44)
  );
}

/** `grpc-message`: printable ASCII passes, everything else and `%` is written as `%XX` of its UTF-8. */
export function grpcMessage(text: string): string {
  let message = '';
  for (const character of text.toWellFormed()) {
    const code = character.codePointAt(0) ?? 0;
    message += code >= 0x20 && code <= 0x7e && code !== 0x25 ? character : encodeURIComponent(character);
  }
  return message;
}

export interface GrpcRefusal {
  readonly contentType: string;
  readonly httpStatus: number;
  readonly message: string;
  readonly requestId: string;
  /** Seconds; 0: the caller is not asked to wait. */
  readonly retryAfterS: number;
}

/** The whole head of a trailers-only answer, for status 200. */
export function grpcRefusalFields(refusal: GrpcRefusal): string[] {
  const fields = [
    'content-type',
    grpcContentType(refusal.contentType),
    'grpc-status',
    String(grpcStatusOf(refusal.httpStatus)),
    'grpc-message',
    grpcMessage(refusal.message),
    'cache-control',
    'no-store',
    'x-request-id',
    refusal.requestId,
  ];
  if (refusal.retryAfterS > 0)
    fields.push('grpc-retry-pushback-ms', String(Math.ceil(refusal.retryAfterS * 1000)));
  return fields;
}
