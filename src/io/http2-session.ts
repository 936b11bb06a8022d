import {
  constants,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { TLSSocket } from 'node:tls';
import type { ListenerConfiguration } from '../../config/schema.ts';
import { FrameBudget } from '../forwarding/http2-budget.ts';
import { translateHead, type StreamHead } from '../forwarding/http2-head.ts';
import { ByteBalance, HeadWatch } from '../forwarding/http2-watch.ts';
import type { ErrorCode } from '../kernel/errors.ts';
import { Seats } from '../kernel/seats.ts';
import type { FrontGate } from './front-gate.ts';
import { ConnectionHosts } from './http2-authority.ts';
import { BreachJudge } from './http2-breach.ts';
import { StreamRun, type StreamOwner } from './http2-stream.ts';
import { METHODS } from './node-http.ts';
import { WheelEntry } from './wheel.ts';

/**
 * One HTTP/2 connection of a caller: limits, floods, idleness and an orderly end. What is asked on it is a matter of its
 * streams, which walk the same steps as any request.
 *
 * *Floods* (RFC 9113 §10.5) end the session with ENHANCE_YOUR_CALM. nghttp2 and Node bound resets, header sections,
 * continuations, empty frames, memory and windows; pings, settings and streams given up have a budget here.
 *
 * *The end* is GOAWAY with the last stream there was, beside an answer where there is one to come, so that who asks one after
 * the other loses nothing; a request that crosses it on the wire was not begun, and its caller knows that. (The notice with
 * no last stream, which would leave nothing to repeat, is beyond Node; a limit of zero streams has nghttp2 reset what
 * crosses it.) A session that began no stream is bounded as a head is, later ones by idleness.
 */

/** Half: a page's requests come in two turns; double: one connection may hold as many permits as a small service has. */
const MOST_STREAMS = 100;
/** The default of the protocol, held a stream at most. Half doubles the round trips of an upload; double holds twice. */
const STREAM_WINDOW = 65_535;
/** For all uploads of a connection: half throttles sixteen at once, double lets one caller fill twice of it. */
const CONNECTION_WINDOW = 1024 * 1024;
/** MiB that a session may use before new streams are refused. Half: a hundred busy streams hit it; double is room for mischief. */
const SESSION_MEMORY = 10;
const MOST_INVALID_FRAMES = 100;
const MOST_REJECTED_STREAMS = 20;
/** As `FrameBudget`; resets are counted by nghttp2, which closes the session. */
const RESET_BURST = 200;
const RESETS_PER_SECOND = 20;
/** Ours to the caller: none is sent, so one that is acknowledged too often is noise. */
const MOST_PINGS = 10;
/** Pseudo-fields beside the fields that are counted: a section with as many as allowed is judged by the front gate. */
const PSEUDO_FIELDS = 4;
/** Half: twice the work for floods that are over sooner; double: floods last two seconds. An idle session costs 0.2 µs. */
const CHECK_MS = 1000;
/**
 * Bytes of heads that wait for whether a body follows. Half: a page's hundred requests with long cookies are sent away when
 * all their heads come first; double: a connection holds as much as half of its uploads may, for nothing.
 */
const MOST_UNTOLD_BYTES = 256 * 1024;
/** Tokens for a header section that nghttp2 dropped: twenty are a flood. */
const LOST_HEAD = 10;
/** As `lingering.ts`: what is still on its way to the caller may arrive. */
const LINGER_MS = 500;

/** What the listener knows of a connection that speaks HTTP/2. */
export interface Http2SessionLike {
  /** No stream is open. */
  readonly idle: boolean;
  /** Says that nothing new is taken; streams under way finish, then it ends. A second call changes nothing. */
  goAway(): void;
  destroy(): void;
}

/** Takes over a TLS connection that has chosen `h2`. */
export function startHttp2Session(
  socket: TLSSocket,
  gate: FrontGate,
  listener: ListenerConfiguration,
): Http2SessionLike {
  return new Http2Connection(socket, gate, listener);
}

class Http2Connection extends WheelEntry implements Http2SessionLike, StreamOwner {
  readonly connection: TLSSocket;
  readonly gate: FrontGate;
  readonly #session: ServerHttp2Session;
  readonly #breaches: BreachJudge;
  readonly #hosts: ConnectionHosts;
  readonly #budget: FrameBudget;
  readonly #balance = new ByteBalance();
  readonly #heads: HeadWatch;
  readonly #idleMs: number;
  readonly #headerBytes: number;
  /** The longest that a head may take, ms. */
  readonly #headMs: number;
  /** Those that are open. */
  readonly #runs = new Seats<StreamRun>();
  #untoldBytes = 0;
  #streams = 0;
  #bodyBytes = 0;
  /** Bytes read at the last look. */
  #bytesRead = 0;
  /** Moment at which it has been idle for too long, if no stream is open then. */
  #idleDueMs: number;
  #leaving = false;
  #ended = false;

  constructor(socket: TLSSocket, gate: FrontGate, listener: ListenerConfiguration) {
    super();
    const { limits } = listener;
    const { worker } = gate;
    const now = worker.now();
    this.connection = socket;
    this.gate = gate;
    this.#hosts = new ConnectionHosts(socket);
    this.#budget = new FrameBudget(now);
    this.#idleMs = limits.idleTimeout;
    this.#headerBytes = limits.headerBytes;
    const headMs = limits.headersTimeout > 0 ? limits.headersTimeout : limits.idleTimeout;
    this.#headMs = headMs;
    this.#heads = new HeadWatch(headMs, now);
    this.#idleDueMs = now + headMs;
    const session = performServerHandshake(socket, {
      maxSessionMemory: SESSION_MEMORY,
      maxHeaderListPairs: limits.headerCount + PSEUDO_FIELDS,
      maxOutstandingPings: MOST_PINGS,
      maxSessionInvalidFrames: MOST_INVALID_FRAMES,
      maxSessionRejectedStreams: MOST_REJECTED_STREAMS,
      streamResetBurst: RESET_BURST,
      streamResetRate: RESETS_PER_SECOND,
      // It checks what *we* send: an instance that names a field twice is passed on in HTTP/1 too.
      strictSingleValueFields: false,
      settings: {
        maxConcurrentStreams: MOST_STREAMS,
        initialWindowSize: STREAM_WINDOW,
        maxHeaderListSize: limits.headerBytes,
        enablePush: false,
        enableConnectProtocol: false,
      },
    });
    this.#session = session;
    this.#breaches = new BreachJudge(session);
    session.setLocalWindowSize(CONNECTION_WINDOW);
    session.on('stream', this.#onStream);
    session.on('ping', this.#onIdleFrame);
    session.on('remoteSettings', this.#onIdleFrame);
    session.on('error', ignore);
    socket.once('close', this.#onClose);
    this.#arm(now);
  }

  get idle(): boolean {
    return this.#runs.size === 0;
  }

  goAway(): void {
    if (this.#leaving || this.#ended || this.#session.destroyed) return;
    this.#leaving = true;
    if (this.idle) this.#end();
    else this.#session.close();
  }

  destroy(): void {
    if (this.#ended || this.#session.destroyed) return;
    // Node would end each with NO_ERROR, which says that half an answer is a whole one.
    this.#runs.each((run) => {
      run.cut();
    });
    this.#end();
  }

  // What its streams tell ---------------------------------------------------------------------------------------------

  answering(): void {
    if (this.gate.worker.draining || this.gate.leaving) this.goAway();
  }

  sent(): void {
    this.#budget.earn();
  }

  received(bytes: number): void {
    this.#bodyBytes += bytes;
  }

  told(headBytes: number): void {
    this.#untoldBytes -= headBytes;
  }

  streamClosed(run: StreamRun, givenUp: boolean, code: number): void {
    this.#runs.delete(run);
    if (givenUp) this.#givenUp(code);
    if (!this.idle || this.#ended) return;
    this.#idleDueMs = this.gate.worker.now() + this.#idleMs;
    if (this.#leaving) this.#end();
  }

  // Time --------------------------------------------------------------------------------------------------------------

  override expired(now: number): void {
    if (this.#ended) {
      this.connection.destroy();
      return;
    }
    if (this.#session.destroyed) {
      // By nghttp2 or by the caller; Node waits for its last bytes to be taken.
      this.#ended = true;
      this.#linger();
      return;
    }
    if (this.idle && now >= this.#idleDueMs) this.goAway();
    if (!this.#ended) this.#look(now);
    if (!this.#ended) this.#arm(now);
  }

  #arm(now: number): void {
    const lookMs = now + CHECK_MS;
    this.gate.worker.wheel.arm(this, this.idle ? Math.min(lookMs, this.#idleDueMs) : lookMs);
  }

  /** What no event tells of. */
  #look(now: number): void {
    const { bytesRead, bytesWritten } = this.connection;
    const moved = bytesRead !== this.#bytesRead;
    this.#bytesRead = bytesRead;
    if (moved && !this.#balance.holds(bytesRead, bytesWritten, this.#bodyBytes, this.#streams)) {
      this.#destroy(constants.NGHTTP2_ENHANCE_YOUR_CALM);
      return;
    }
    if (!moved && !this.#heads.pending) return;
    const { lastProcStreamID = 0 } = this.#session.state;
    if (!this.#heads.lost(lastProcStreamID, bytesRead, now)) return;
    this.#heads.came(lastProcStreamID);
    this.#spend(LOST_HEAD);
    if (!this.#ended) this.goAway();
  }

  // The session -------------------------------------------------------------------------------------------------------

  readonly #onStream = (
    stream: ServerHttp2Stream,
    _headers: unknown,
    _flags: number,
    raw: string[],
  ): void => {
    this.#streams += 1;
    this.#heads.came(stream.id ?? 0);
    if (stream.destroyed) {
      // Given up before it was looked at.
      stream.on('error', ignore);
      this.#givenUp(stream.rstCode ?? 0);
      return;
    }
    const head = translateHead(raw, stream.endAfterHeaders);
    const run = new StreamRun(stream, head, this);
    this.#runs.add(run);
    let bytes = 0;
    for (const text of raw) bytes += text.length;
    const verdict = this.#verdict(head, bytes);
    if (!head.bodyUntold || verdict !== '') run.begin(verdict);
    else if (this.#untoldBytes + bytes <= MOST_UNTOLD_BYTES) {
      this.#untoldBytes += bytes;
      run.beginWhenTold(raw, bytes, this.#headMs);
    } else {
      this.#spend();
      run.reject(constants.NGHTTP2_REFUSED_STREAM);
    }
  };

  /** What the connection itself has against a request. */
  #verdict({ authority, method }: StreamHead, bytes: number): ErrorCode | '' {
    if (authority !== '' && !this.#hosts.allow(authority)) return 'SPW_MISDIRECTED';
    // Any token is a method to nghttp2; those that no parser of HTTP/1 knows have no way to an instance.
    if (!METHODS_KNOWN.has(method)) return 'SPW_BAD_REQUEST';
    // nghttp2 keeps to the limit only once the caller has acknowledged it.
    return bytes > this.#headerBytes ? 'SPW_HEADERS_TOO_LARGE' : '';
  }

  readonly #onIdleFrame = (): void => {
    this.#spend();
  };

  readonly #onClose = (): void => {
    this.#ended = true;
    this.gate.worker.wheel.disarm(this);
  };

  #givenUp(code: number): void {
    this.#breaches.streamClosed(code);
    this.#spend();
  }

  #spend(tokens = 1): void {
    if (this.#ended || this.#budget.spend(this.gate.worker.now(), tokens)) return;
    this.#destroy(constants.NGHTTP2_ENHANCE_YOUR_CALM);
  }

  /** Nothing is open any more, or what is left was told so. */
  #end(): void {
    this.#ended = true;
    this.#session.close();
    this.#linger();
  }

  #destroy(code: number): void {
    this.#ended = true;
    this.#session.destroy(FLOOD, code);
    this.#linger();
  }

  /** Node ends our side and waits for the caller's; that must not last. */
  #linger(): void {
    const { worker } = this.gate;
    if (!this.connection.destroyed) worker.wheel.arm(this, worker.now() + LINGER_MS);
  }
}

function ignore(): void {
  // The session's end is told by its socket's close; without a listener an error would end the process.
}

const METHODS_KNOWN: ReadonlySet<string> = new Set(METHODS);
const FLOOD = new Error('flood');
