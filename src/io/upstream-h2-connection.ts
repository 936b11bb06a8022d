import http2, { type ClientHttp2Session, type Settings } from 'node:http2';
import type { Socket } from 'node:net';
import { BreachJudge } from './http2-breach.ts';
import { H2Error } from './upstream-h2-error.ts';
import { H2Exchange, STREAM_WINDOW_BYTES, type H2Carrier } from './upstream-h2-exchange.ts';
import type { UpstreamHandler, UpstreamRequest } from './upstream-pool.ts';

/**
 * One HTTP/2 connection to an instance.
 *
 * It is ready when the instance's SETTINGS are in: then it certainly speaks HTTP/2, and says how many streams it takes.
 * Nothing is ever queued behind that number. After GOAWAY it takes no more; what runs may end. Many requests share it,
 * so a connection that has silently died would swallow them all until TCP gives up: when a request is given up unanswered
 * and nothing has come for a second, one PING asks, and until its answer the connection gets nothing new.
 */

export interface H2Keeper {
  /** It takes requests from now on. */
  ready(connection: H2Connection): void;
  /** A stream ended, so there may be room. */
  freed(connection: H2Connection): void;
  /** It is over, or takes nothing new. @param error why, when it never was ready */
  leaving(connection: H2Connection, error: Error | undefined): void;
  closed(connection: H2Connection): void;
}

/** Half: twice the connections; double: one that is lost takes 200 requests along, and most servers allow 100 or 128. */
const MOST_STREAMS = 100;
/** node credits the connection at once and streams as they are read, so no slow reader holds up others. */
const CONNECTION_WINDOW_BYTES = 4 * 1024 * 1024;
/** As for answers over HTTP/1.1. */
const MOST_HEADER_BYTES = 16 * 1024;
/** Idle ones are closed after this, below the 75 s of nginx; a request never waits for news of the close. */
const IDLE_MS = 30_000;
/** Half: connects for what a busy loop delays; double: more requests meet a connection that may be dead. */
const SILENCE_MS = 1000;
/** MiB that nghttp2 may hold for a connection before it refuses streams; 100 uploads must fit. */
const SESSION_MIB = 32;

const SETTINGS: Settings = {
  enablePush: false,
  initialWindowSize: STREAM_WINDOW_BYTES,
  maxHeaderListSize: MOST_HEADER_BYTES,
};

const OPTIONS = {
  settings: SETTINGS,
  maxSessionMemory: SESSION_MIB,
  maxReservedRemoteStreams: 0,
  // Fields pass as they came, twice as well; what may not come twice was refused before. Newer than the types.
  strictSingleValueFields: false,
};

export class H2Connection implements H2Carrier {
  readonly session: ClientHttp2Session;
  readonly scheme: 'http' | 'https';
  readonly #keeper: H2Keeper;
  readonly #socket: Socket;
  readonly #breaches: BreachJudge;
  #ready = false;
  #left = false;
  #active = 0;
  #limit = MOST_STREAMS;
  /** Moment of the last frame that was news of a request. */
  #heardMs = performance.now();
  #asking = false;
  lastStreamId = Infinity;
  broken: Error | undefined = undefined;

  constructor(socket: Socket, secure: boolean, keeper: H2Keeper) {
    this.#keeper = keeper;
    this.#socket = socket;
    this.scheme = secure ? 'https' : 'http';
    const session = http2.connect(`${this.scheme}://instance`, {
      ...OPTIONS,
      createConnection: () => socket,
    });
    this.session = session;
    this.#breaches = new BreachJudge(session);
    // A session waits for what it has still to write before it says that it is closed, and on a broken socket for ever.
    socket.on('error', () => socket.destroy());
    session.once('connect', () => {
      session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
    });
    session.on('remoteSettings', (settings) => {
      this.#onSettings(settings);
    });
    session.on('goaway', (code, lastStreamId) => {
      this.lastStreamId = lastStreamId;
      if (code !== 0) this.broken ??= new H2Error('H2_RESET', code);
      this.#leave();
    });
    session.on('error', (error) => {
      this.broken ??= error;
    });
    session.on('close', () => {
      this.#leave();
      keeper.closed(this);
    });
    session.setTimeout(IDLE_MS, () => {
      this.#onIdle();
    });
  }

  /** It is ready and may take one more. */
  get hasRoom(): boolean {
    return this.#ready && !this.#left && !this.#asking && this.#active < this.#limit && !this.session.closed;
  }

  start(request: UpstreamRequest, handler: UpstreamHandler): void {
    this.#active++;
    new H2Exchange(this, request, handler).begin();
  }

  /** Takes nothing new and ends when what runs has. */
  close(): void {
    this.#leave();
    this.session.close();
  }

  /** Ends everything on it. */
  destroy(why: Error): void {
    this.broken ??= why;
    this.session.destroy();
    this.#socket.destroy();
  }

  heard(): void {
    this.#heardMs = performance.now();
  }

  over(silent: boolean, code: number): void {
    this.#active--;
    this.#breaches.streamClosed(code);
    if (silent) this.#ask();
    if (!this.#left) this.#keeper.freed(this);
  }

  #onSettings({ maxConcurrentStreams }: Settings): void {
    this.#limit = Math.min(maxConcurrentStreams ?? MOST_STREAMS, MOST_STREAMS);
    if (this.#ready) {
      this.#keeper.freed(this);
      return;
    }
    this.#ready = true;
    this.#keeper.ready(this);
  }

  #leave(): void {
    if (this.#left) return;
    this.#left = true;
    this.#keeper.leaving(this, this.#ready ? undefined : this.#whyNever());
  }

  /** It closed before it was ready. A refused certificate of ours, say, shows only here; anything else is no HTTP/2. */
  #whyNever(): Error {
    const { code = '' } = (this.broken ?? {}) as NodeJS.ErrnoException;
    const known = code.startsWith('ERR_SSL') || code.startsWith('ERR_TLS') || code === 'ETIMEDOUT';
    return known && this.broken !== undefined ? this.broken : new H2Error('H2_UNSPOKEN');
  }

  /** Whether it is still there. */
  #ask(): void {
    if (this.#asking || this.session.closed || performance.now() - this.#heardMs < SILENCE_MS) return;
    this.#asking = true;
    const asked = this.session.ping((error) => {
      this.#asking = false;
      if (error !== null) return;
      this.heard();
      if (!this.#left) this.#keeper.freed(this);
    });
    if (!asked) this.#asking = false;
  }

  /** Nothing was sent or came for a while. */
  #onIdle(): void {
    if (this.#active === 0) this.close();
    else if (this.#asking) this.destroy(new H2Error('H2_RESET'));
    else this.#ask();
  }
}
