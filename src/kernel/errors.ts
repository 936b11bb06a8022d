/**
 * The one table of answers that the gateway gives by itself.
 *
 * Each row says which status goes on the wire, whose fault it was, whether `Retry-After` belongs to the answer and
 * whether the connection must close after it. Everything else that speaks of these codes (README, metrics, runbooks,
 * `explain`) is generated from or compared with this table by a test.
 */

/** Who has to change something for the next try to succeed. */
export type Fault = 'client' | 'gateway' | 'upstream';

export interface ErrorRow {
  /** HTTP status; 499 never goes on the wire. */
  readonly status: number;
  readonly title: string;
  /** A sentence for the caller: no address, no upstream text. */
  readonly detail: string;
  readonly fault: Fault;
  /** `Retry-After` is part of the answer (every 429 and 503). */
  readonly retryAfter: boolean;
  /** RFC 9457 `type`. */
  readonly type: string;
  /** The connection closes after the answer, because its framing can no longer be trusted. */
  readonly closes: boolean;
}

const BLANK = 'about:blank';
const QUOTA = 'https://iana.org/assignments/http-problem-types#quota-exceeded';
const CAPACITY = 'https://iana.org/assignments/http-problem-types#temporary-reduced-capacity';

function row(
  status: number,
  title: string,
  detail: string,
  fault: Fault,
  more: Partial<Pick<ErrorRow, 'type' | 'closes'>> = {},
): ErrorRow {
  return {
    status,
    title,
    detail,
    fault,
    retryAfter: status === 429 || status === 503,
    type: more.type ?? BLANK,
    closes: more.closes ?? false,
  };
}

export const ERRORS = {
  SPW_RATE_CLIENT: row(429, 'Quota exceeded', 'This client has used up its rate limit.', 'client', {
    type: QUOTA,
  }),
  SPW_RATE_ROUTE: row(
    429,
    'Quota exceeded',
    'This client has used up the rate limit of this route.',
    'client',
    {
      type: QUOTA,
    },
  ),
  SPW_CONCURRENCY_CLIENT: row(
    429,
    'Too many concurrent requests',
    'This client has too many requests in flight.',
    'client',
    {
      type: QUOTA,
    },
  ),
  SPW_RATE_GLOBAL: row(503, 'Capacity used up', 'A limit shared by many callers is used up.', 'gateway', {
    type: CAPACITY,
  }),
  SPW_TOKEN_KEYS_DOWN: row(
    503,
    'Tokens unverifiable',
    'The keys to verify tokens with could not be loaded yet.',
    'gateway',
  ),
  SPW_RATE_STORE_DOWN: row(503, 'Limits unavailable', 'The rate limit store cannot be reached.', 'gateway'),
  SPW_SHED_CONCURRENCY: row(
    503,
    'Overloaded',
    'The service works at its limit and nothing may wait.',
    'gateway',
    {
      type: CAPACITY,
    },
  ),
  SPW_SHED_QUEUE_FULL: row(503, 'Overloaded', 'The waiting line of the service is full.', 'gateway', {
    type: CAPACITY,
  }),
  SPW_SHED_QUEUE_TIMEOUT: row(503, 'Overloaded', 'The request waited too long for the service.', 'gateway', {
    type: CAPACITY,
  }),
  SPW_SHED_DEADLINE: row(503, 'Overloaded', 'The request could not have been answered in time.', 'gateway', {
    type: CAPACITY,
  }),
  SPW_SHED_OVERLOAD: row(503, 'Overloaded', 'The gateway itself is overloaded.', 'gateway', {
    type: CAPACITY,
  }),
  SPW_NO_READY_INSTANCE: row(503, 'No ready instance', 'No instance of the service is ready.', 'upstream'),
  SPW_DEPENDENCY_DOWN: row(
    503,
    'Dependency down',
    'Something that the service cannot work without is down.',
    'upstream',
  ),
  SPW_CIRCUIT_OPEN: row(
    503,
    'Circuit open',
    'The service failed too often and is given a pause.',
    'upstream',
  ),
  SPW_DRAINING: row(503, 'Draining', 'This gateway is shutting down.', 'gateway', { closes: true }),
  SPW_CONNECT_FAILED: row(
    502,
    'Connection failed',
    'No connection to the service could be made.',
    'upstream',
  ),
  SPW_UPSTREAM_RESET: row(
    502,
    'Connection lost',
    'The service closed the connection before it answered.',
    'upstream',
  ),
  SPW_UPSTREAM_PROTOCOL: row(
    502,
    'Invalid answer',
    'The service did not answer with valid HTTP.',
    'upstream',
  ),
  SPW_UPSTREAM_TIMEOUT: row(504, 'No answer in time', 'The service did not answer in time.', 'upstream'),
  SPW_DEADLINE_EXCEEDED: row(504, 'Deadline exceeded', 'The time for this request was used up.', 'gateway'),
  SPW_CLIENT_CLOSED: row(499, 'Client closed request', 'The caller left before the answer.', 'client', {
    closes: true,
  }),
  SPW_NO_ROUTE: row(404, 'Not found', 'No route leads here.', 'client'),
  SPW_METHOD_NOT_ALLOWED: row(405, 'Method not allowed', 'This route does not take that method.', 'client'),
  SPW_BAD_REQUEST: row(
    400,
    'Bad request',
    'The request is not valid HTTP or can be read in two ways.',
    'client',
    {
      closes: true,
    },
  ),
  SPW_UNKNOWN_KEY: row(
    401,
    'Unknown key',
    'The key or token of this request is not accepted here.',
    'client',
  ),
  SPW_FORBIDDEN: row(403, 'Forbidden', 'This address is not served.', 'client'),
  SPW_BODY_TOO_LARGE: row(413, 'Body too large', 'The body is larger than this listener accepts.', 'client', {
    closes: true,
  }),
  SPW_URI_TOO_LONG: row(414, 'URI too long', 'The request target is longer than 8 KiB.', 'client', {
    closes: true,
  }),
  SPW_HEADERS_TOO_LARGE: row(
    431,
    'Headers too large',
    'The header section is too large or has too many fields.',
    'client',
    {
      closes: true,
    },
  ),
  SPW_REQUEST_TIMEOUT: row(408, 'Request timeout', 'The request did not arrive in time.', 'client', {
    closes: true,
  }),
  SPW_EXPECTATION_FAILED: row(
    417,
    'Expectation failed',
    'The only expectation met here is 100-continue.',
    'client',
    {
      closes: true,
    },
  ),
  SPW_MISDIRECTED: row(421, 'Misdirected request', 'This connection is not good for that host.', 'client'),
  SPW_INTERNAL: row(500, 'Internal error', 'The gateway failed to handle this request.', 'gateway'),
  SPW_NOT_IMPLEMENTED: row(
    501,
    'Not implemented',
    'The gateway has no way for this here: a transfer coding besides chunked, or a WebSocket to a service of HTTP/2.',
    'client',
    {
      closes: true,
    },
  ),
  SPW_HTTP_VERSION: row(
    505,
    'HTTP version not supported',
    'HTTP/1.0 and HTTP/1.1 are spoken here.',
    'client',
    {
      closes: true,
    },
  ),
  SPW_LOOP: row(508, 'Loop detected', 'The request already went through this gateway.', 'client'),
} as const satisfies Readonly<Record<string, ErrorRow>>;

export type ErrorCode = keyof typeof ERRORS;

/** The codes with which admission sheds: our overload, never the caller's quota. */
export type ShedCode = Extract<ErrorCode, `SPW_SHED_${string}`>;

/** The row of a code; total, since `ErrorCode` is the table's own key. */
export function errorRow(code: ErrorCode): ErrorRow {
  return ERRORS[code];
}
