import type { ErrorCode } from '../kernel/errors.ts';
import { sameName } from './field-names.ts';

/** The version a stream of HTTP/2 shows: a pair that no parser of text lets by, unlike 2.0. */
export const STREAM_MAJOR = 2;
export const STREAM_MINOR = 1;

/**
 * What one pass over a request's header section found out (`request-head.ts` fills it): one object of fixed shape a
 * request. Fields that a request did not send are empty strings, never undefined.
 */
export class RequestFacts {
  /** Flat list of names and values, as node:http parsed it. */
  readonly rawHeaders: readonly string[];
  readonly method: string;
  readonly versionMinor: number;
  /** A stream of HTTP/2, told as the request of HTTP/1.1 that says the same (`http2-head.ts`). */
  http2 = false;
  /** Class of the n-th field (`field-names.ts`), so that the header builder need not look again. */
  readonly classes: number[] = [];

  /** Empty when nothing is wrong. */
  code: ErrorCode | '' = '';
  /** Why it was refused, for the log; never holds a value of the request. */
  reason = '';

  /** As received. */
  host = '';
  /** Lower case, without port. */
  hostName = '';
  hostPort = -1;

  /** -1 when the request names none. */
  contentLength = -1;
  chunked = false;
  /** A body follows, perhaps an empty chunked one. */
  hasBody = false;
  /** A GET or HEAD with a body; only possible when asked for, the route must have opted in. */
  unusualBody = false;
  /** The caller waits for `100 Continue` before it sends its body. */
  expectContinue = false;

  /** Field names (lower case) that `Connection` declared hop-by-hop. */
  nominated: readonly string[] = NONE;
  /** A WebSocket handshake: GET, 1.1, `Upgrade: websocket`, `Connection: upgrade`. */
  websocket = false;
  /**
   * An upgrade was asked for that is not granted. Node's parser throws away what is pipelined behind such a request, so
   * the connection has to close after its answer.
   */
  upgradeIgnored = false;
  /** The caller takes trailers (`TE: trailers`), and its version of HTTP has a place for them. */
  trailers = false;
  /** -1 when absent or no number. */
  maxForwards = -1;

  /** All `Cookie` fields, joined by `; `. */
  cookie = '';
  accept = '';
  contentType = '';
  /** A browser that wants to show a page. */
  navigation = false;
  grpc = false;
  xPriority = '';
  xRequestId = '';
  requestDeadline = '';
  traceparent = '';
  via = '';
  forwarded = '';
  xForwardedFor = '';
  xForwardedProto = '';
  xForwardedHost = '';
  /** Fields dropped because their name, with `_` or another sign for `-`, imitates a protected one. */
  forgedFields = 0;

  constructor(rawHeaders: readonly string[], method: string, versionMinor: number) {
    this.rawHeaders = rawHeaders;
    this.method = method;
    this.versionMinor = versionMinor;
  }

  /** The first value of a field; the name is given in lower case. */
  lookup(name: string): string | undefined {
    const { rawHeaders } = this;
    for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
      if (sameName(rawHeaders[index] ?? '', name)) return rawHeaders[index + 1];
    }
    return undefined;
  }

  /** Whether a field came more than once: two keys name nobody. */
  isRepeated(name: string): boolean {
    const { rawHeaders } = this;
    let count = 0;
    for (let index = 0; index < rawHeaders.length; index += 2) {
      if (sameName(rawHeaders[index] ?? '', name)) count++;
    }
    return count > 1;
  }
}

const NONE: readonly string[] = Object.freeze([]);
