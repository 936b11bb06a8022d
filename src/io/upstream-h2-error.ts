/**
 * What ends an exchange over HTTP/2 without an answer, in words that the fault table (`forwarding/fault.ts`) knows.
 *
 * `H2_UNPROCESSED`: the instance says, or the order of frames shows, that it has not begun the request (RFC 9113 §8.7), so
 * any method may be tried again. `H2_UNSPOKEN`: what answered does not speak HTTP/2. `H2_RESET`: it ended the stream.
 */
export type H2ErrorCode = 'H2_UNPROCESSED' | 'H2_GOAWAY' | 'H2_UNSPOKEN' | 'H2_RESET' | 'H2_CLOSED';

export class H2Error extends Error {
  readonly code: H2ErrorCode;
  /** Of RST_STREAM or GOAWAY; 0 when there was none. */
  readonly http2Code: number;

  constructor(code: H2ErrorCode, http2Code = 0) {
    super(code);
    this.code = code;
    this.http2Code = http2Code;
  }
}
