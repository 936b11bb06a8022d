import { constants, type Http2Session } from 'node:http2';

/**
 * Breaks the protocol one stream, or the session?
 *
 * Where a caller, or an instance, sends more than its content-length, nghttp2 resets that stream with PROTOCOL_ERROR and goes
 * on, as RFC 9113 §8.1.1 wants it. Node is told of it with the same NGHTTP2_ERR_PROTO as of what ends a session, and ends the
 * session either way, with the streams of all others on it; there is no option (26.10). It does so by the session's own
 * `destroy`, which is asked here first. Decision: a breach beside which nghttp2 has closed a stream with PROTOCOL_ERROR is
 * that stream's, if nghttp2 still sends; every other one ends the session, as before. The other side can close a stream with that
 * code too, and break the session beside it: a session that nghttp2 has given up sends nothing any more, so a ping stays
 * in its queue. Should Node end sessions in another way one day, they end as they did.
 */

/** nghttp2's number of it. */
const NGHTTP2_ERR_PROTO = -505;
/** Time for a ping to leave. Half: a busy connection counts as given up; double: one that is lingers on as long. */
const PING_MS = 50;

type Destroy = (error?: Error | number, code?: number) => void;

export class BreachJudge {
  readonly #session: Http2Session;
  readonly #destroy: Destroy;
  /** Streams that were closed with PROTOCOL_ERROR, and not by us, since the last breach was judged. */
  #streams = 0;
  #breaches = 0;

  constructor(session: Http2Session) {
    this.#session = session;
    this.#destroy = session.destroy.bind(session) as Destroy;
    session.destroy = this.#asked;
  }

  /** A stream was closed. @param code of its reset */
  streamClosed(code: number): void {
    if (code === constants.NGHTTP2_PROTOCOL_ERROR) this.#streams += 1;
  }

  readonly #asked = (error?: Error | number, code?: number): void => {
    if (!isBreach(error)) {
      this.#destroy(error, code);
      return;
    }
    this.#breaches += 1;
    // The reset is sent, and the close of its stream told, before this turn of the loop is over.
    if (this.#breaches === 1) setImmediate(this.#judge, error);
  };

  readonly #judge = (error: Error): void => {
    const session = this.#session;
    const ofStreams = this.#breaches <= this.#streams;
    this.#breaches = 0;
    this.#streams = 0;
    if (session.destroyed) return;
    if (!ofStreams || !session.ping(ignore)) this.#end(error);
    else setTimeout(this.#checkPing, PING_MS, error).unref();
  };

  readonly #checkPing = (error: Error): void => {
    const session = this.#session;
    if (!session.destroyed && (session.state.outboundQueueSize ?? 0) > 0) this.#end(error);
  };

  /** nghttp2 has said why, if it ended the session itself. */
  #end(error: Error): void {
    this.#destroy(error, constants.NGHTTP2_PROTOCOL_ERROR);
  }
}

function isBreach(error: Error | number | undefined): error is Error {
  return error instanceof Error && (error as { readonly errno?: unknown }).errno === NGHTTP2_ERR_PROTO;
}

function ignore(): void {
  // Whether and when the other side answers it says nothing that is asked here.
}
