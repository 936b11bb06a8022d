import type { ClientRequest, IncomingMessage } from 'node:http';
import { request as requestHttps } from 'node:https';
import { connect, type Socket } from 'node:net';
import type { IncomingHttpHeaders } from 'node:http2';
import { utilizationOf } from '../forwarding/load-report.ts';
import type { Evidence } from '../kernel/evidence.ts';
import {
  evidence,
  judgeAnswer,
  MAX_PROBE_BYTES,
  REFUSED,
  TIMED_OUT,
  type ProbeExpectation,
} from '../readiness/probe-document.ts';
import { request as requestHttp } from './node-http.ts';
import { askHttp2, NO_HTTP2, type Http2News } from './probe-http2.ts';
import type { TlsConnectOptions, UpstreamProtocol } from './upstream-pool.ts';
import { openSocket, upstreamAddress } from './upstream-socket.ts';

/**
 * One probe: a TCP connect, or a GET on a connection of its own, judged once. It is asked in the protocol that requests of
 * the service use, so that an instance which speaks another one is not taken for ready.
 *
 * A new connection each time, since a kept one would prove only that an old process still holds its socket. No redirect is
 * followed. A timeout counts only after the loop has looked at its sockets once more, so that a stall of our own does not
 * make a silent instance out of an answered one; if we ourselves were late by more than half of the timeout it is void.
 *
 * What the answer tells of the instance's load is read with it, where the instance is in use by it: of one that says no or
 * did not understand the question nothing is known that a choice could need, and another service's load is not its own.
 */

/** @param utilization what the answer told of the load, 0 or more; -1 when it told nothing */
export type ProbeDone = (evidence: Evidence, utilization: number) => void;

export interface ProbeAim {
  /** `http:` or `https:`, host and port; anything behind is ignored. */
  readonly url: string;
  /** What is asked for with GET; undefined: a TCP connect decides. */
  readonly path: string | undefined;
  readonly timeoutMs: number;
  readonly protocol: UpstreamProtocol;
  readonly tls: TlsConnectOptions;
  readonly expectation: ProbeExpectation;
}

/** Our own lack of something says nothing about the instance. */
const OURS: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE', 'EADDRNOTAVAIL', 'ENOBUFS', 'ENOMEM']);

const REASONS: ReadonlyMap<string, string> = new Map([
  ['ECONNRESET', 'connection reset'],
  ['EPIPE', 'connection reset'],
  ['EHOSTUNREACH', 'no route to host'],
  ['ENETUNREACH', 'no route to network'],
  ['ENOTFOUND', 'name not found'],
  ['EAI_AGAIN', 'name not resolved'],
  [NO_HTTP2, 'speaks no HTTP/2'],
  ['ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL', 'no common protocol (ALPN)'],
]);

const FIELDS = {
  accept: 'application/health+json, application/json, */*',
  'user-agent': 'spillway-probe',
} as const;

export class ProbeAttempt implements Http2News {
  readonly #aim: ProbeAim;
  readonly #now: () => number;
  readonly #onDone: ProbeDone;
  readonly #startedAt: number;
  readonly #timer: NodeJS.Timeout;
  readonly #connection: ClientRequest | Socket;
  /** Of the answer; 0 while there is none. */
  #status = 0;
  #headers: IncomingHttpHeaders = {};
  #chunks: Buffer[] = [];
  #bytes = 0;
  #over = false;

  /** @param onDone called exactly once, later, unless `cancel` comes first */
  constructor(aim: ProbeAim, now: () => number, onDone: ProbeDone) {
    this.#aim = aim;
    this.#now = now;
    this.#onDone = onDone;
    this.#startedAt = now();
    this.#timer = setTimeout(() => {
      this.#overdue();
    }, aim.timeoutMs);
    this.#connection = aim.path === undefined ? this.#connect() : this.#ask(aim.path);
    this.#connection.on('error', (error: NodeJS.ErrnoException) => {
      this.failed(error);
    });
  }

  cancel(): void {
    this.#over = true;
    clearTimeout(this.#timer);
    this.#connection.destroy();
  }

  #connect(): Socket {
    const { hostname, port, protocol } = new URL(this.#aim.url);
    const socket = connect({ host: unbracketed(hostname), port: portOf(port, protocol) });
    socket.on('connect', () => {
      this.#finish(evidence('pass', ''));
    });
    return socket;
  }

  #ask(path: string): ClientRequest | Socket {
    const { hostname, port, protocol } = new URL(this.#aim.url);
    const spoken = this.#aim.protocol;
    if (spoken === 'h2' || (spoken === 'auto' && protocol === 'https:')) return this.#askEither(path);
    const options = {
      host: unbracketed(hostname),
      port: portOf(port, protocol),
      path,
      method: 'GET',
      agent: false as const, // a connection of its own, closed after the answer
      headers: FIELDS,
    };
    const request =
      protocol === 'https:' ? requestHttps({ ...options, ...this.#aim.tls }) : requestHttp(options);
    request.on('response', (response) => {
      this.#read(response);
    });
    request.end();
    return request;
  }

  /** Over HTTP/2, or what ALPN agrees on. */
  #askEither(path: string): Socket {
    const { url, tls, timeoutMs, protocol } = this.#aim;
    const address = upstreamAddress(url);
    const alpn = protocol === 'h2' ? ['h2'] : ['h2', 'http/1.1'];
    // Its own timer is a backstop: this probe has one already.
    return openSocket(address, tls, alpn, timeoutMs * 2, {
      connected: (socket, agreed) => {
        if (this.#over) return;
        const { host, protocol: scheme } = new URL(url);
        if (agreed === 'h2' || !address.secure)
          askHttp2(socket, { scheme: scheme.slice(0, -1), authority: host, path }, FIELDS, this);
        else if (protocol === 'h2') this.failed({ name: '', message: '', code: NO_HTTP2 });
        else this.#askOver(socket, host, path);
      },
      failed: (error) => {
        this.failed(error);
      },
    });
  }

  /** HTTP/1.1 on a socket that is connected. */
  #askOver(socket: Socket, host: string, path: string): void {
    const request = requestHttp({
      createConnection: () => socket,
      path,
      headers: { ...FIELDS, host, connection: 'close' },
    });
    request.on('response', (response) => {
      this.#read(response);
    });
    request.on('error', (error: NodeJS.ErrnoException) => {
      this.failed(error);
    });
    request.end();
  }

  #read(response: IncomingMessage): void {
    this.head(response.statusCode ?? 0, response.headers);
    response.on('data', (chunk: Buffer) => {
      this.chunk(chunk);
    });
    response.on('end', () => {
      this.end();
    });
    response.on('error', (error: NodeJS.ErrnoException) => {
      this.failed(error);
    });
  }

  // What comes, over either protocol.

  head(status: number, headers: IncomingHttpHeaders): void {
    this.#status = status;
    this.#headers = headers;
  }

  chunk(chunk: Buffer): void {
    this.#bytes += chunk.length;
    if (this.#bytes > MAX_PROBE_BYTES) this.#judge(undefined);
    else this.#chunks.push(chunk);
  }

  end(): void {
    this.#judge(Buffer.concat(this.#chunks).toString('utf8'));
  }

  #judge(body: string | undefined): void {
    const headers = this.#headers;
    const answer = {
      status: this.#status,
      contentType: headers['content-type'] ?? '',
      drainHeader: first(headers['x-drain']),
      serviceHeader: first(headers['x-service']),
      body,
    };
    const result = judgeAnswer(answer, this.#aim.expectation);
    const isInUse = result.kind !== 'explicit' && result.kind !== 'absent';
    this.#finish(result, isInUse ? utilizationOf(first(headers['endpoint-load-metrics'])) : -1);
  }

  #overdue(): void {
    const lateMs = this.#now() - this.#startedAt - this.#aim.timeoutMs;
    // Timers run before sockets are read: an answer that came while this process was busy is still unread.
    setImmediate(() => {
      const { timeoutMs } = this.#aim;
      const late = lateMs > timeoutMs / 2;
      this.#silent(late ? evidence('void', 'our own loop was late') : TIMED_OUT);
    });
  }

  failed(error: NodeJS.ErrnoException): void {
    const code = error.code ?? '';
    if (code === 'ECONNREFUSED') this.#silent(REFUSED);
    else if (code === 'ETIMEDOUT') this.#silent(TIMED_OUT);
    else if (OURS.has(code)) this.#silent(evidence('void', code));
    else if (code.startsWith('HPE_')) this.#silent(evidence('absent', 'not HTTP'));
    else if (REASONS.has(code)) this.#silent(evidence('absent', REASONS.get(code) ?? ''));
    else this.#silent(evidence('absent', code === '' ? 'connection failed' : `connection failed: ${code}`));
  }

  /** No complete answer; a status that was a no by itself stays one, whatever became of its body. */
  #silent(instead: Evidence): void {
    if (this.#over) return;
    if (this.#status >= 500) this.#judge('');
    else this.#finish(instead);
  }

  #finish(result: Evidence, utilization = -1): void {
    if (this.#over) return;
    this.cancel();
    this.#onDone(result, utilization);
  }
}

function first(value: string | readonly string[] | undefined): string {
  return (typeof value === 'string' ? value : value?.[0]) ?? '';
}

function portOf(port: string, protocol: string): number {
  if (port !== '') return Number(port);
  return protocol === 'https:' ? 443 : 80;
}

function unbracketed(hostname: string): string {
  return hostname.startsWith('[') ? hostname.slice(1, -1) : hostname;
}
