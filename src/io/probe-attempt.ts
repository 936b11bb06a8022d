import { request as requestHttp, type ClientRequest, type IncomingMessage } from 'node:http';
import { request as requestHttps } from 'node:https';
import { connect, type Socket } from 'node:net';
import type { Evidence } from '../kernel/evidence.ts';
import {
  evidence,
  judgeAnswer,
  MAX_PROBE_BYTES,
  REFUSED,
  type ProbeExpectation,
} from '../readiness/probe-document.ts';
import type { tlsConnectOptions } from './pools.ts';

/**
 * One probe: a TCP connect, or a GET on a connection of its own, judged once.
 *
 * A new connection each time, since a kept one would prove only that an old process still holds its socket. No redirect is
 * followed. A timeout counts only after the loop has looked at its sockets once more, so that a stall of our own does not
 * make a silent instance out of an answered one; if we ourselves were late by more than half of the timeout it is void.
 */

export interface ProbeAim {
  /** `http:` or `https:`, host and port; anything behind is ignored. */
  readonly url: string;
  /** What is asked for with GET; undefined: a TCP connect decides. */
  readonly path: string | undefined;
  readonly timeoutMs: number;
  readonly tls: ReturnType<typeof tlsConnectOptions>;
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
  ['ETIMEDOUT', 'timeout'],
]);

export class ProbeAttempt {
  readonly #aim: ProbeAim;
  readonly #now: () => number;
  readonly #onDone: (evidence: Evidence) => void;
  readonly #startedAt: number;
  readonly #timer: NodeJS.Timeout;
  readonly #connection: ClientRequest | Socket;
  #response: IncomingMessage | undefined = undefined;
  #chunks: Buffer[] = [];
  #bytes = 0;
  #over = false;

  /** @param onDone called exactly once, later, unless `cancel` comes first */
  constructor(aim: ProbeAim, now: () => number, onDone: (evidence: Evidence) => void) {
    this.#aim = aim;
    this.#now = now;
    this.#onDone = onDone;
    this.#startedAt = now();
    this.#timer = setTimeout(() => {
      this.#overdue();
    }, aim.timeoutMs);
    this.#connection = aim.path === undefined ? this.#connect() : this.#ask(aim.path);
    this.#connection.on('error', (error: NodeJS.ErrnoException) => {
      this.#failed(error);
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

  #ask(path: string): ClientRequest {
    const { hostname, port, protocol } = new URL(this.#aim.url);
    const options = {
      host: unbracketed(hostname),
      port: portOf(port, protocol),
      path,
      method: 'GET',
      agent: false as const, // a connection of its own, closed after the answer
      headers: { accept: 'application/health+json, application/json, */*', 'user-agent': 'spillway-probe' },
    };
    const request =
      protocol === 'https:' ? requestHttps({ ...options, ...this.#aim.tls }) : requestHttp(options);
    request.on('response', (response) => {
      this.#read(response);
    });
    request.end();
    return request;
  }

  #read(response: IncomingMessage): void {
    this.#response = response;
    response.on('data', (chunk: Buffer) => {
      this.#bytes += chunk.length;
      if (this.#bytes > MAX_PROBE_BYTES) this.#judge(response, undefined);
      else this.#chunks.push(chunk);
    });
    response.on('end', () => {
      this.#judge(response, Buffer.concat(this.#chunks).toString('utf8'));
    });
    response.on('error', (error: NodeJS.ErrnoException) => {
      this.#failed(error);
    });
  }

  #judge(response: IncomingMessage, body: string | undefined): void {
    const { headers, statusCode } = response;
    const answer = {
      status: statusCode ?? 0,
      contentType: headers['content-type'] ?? '',
      drainHeader: first(headers['x-drain']),
      serviceHeader: first(headers['x-service']),
      body,
    };
    this.#finish(judgeAnswer(answer, this.#aim.expectation));
  }

  #overdue(): void {
    const lateMs = this.#now() - this.#startedAt - this.#aim.timeoutMs;
    // Timers run before sockets are read: an answer that came while this process was busy is still unread.
    setImmediate(() => {
      const { timeoutMs } = this.#aim;
      const late = lateMs > timeoutMs / 2;
      this.#silent(late ? evidence('void', 'our own loop was late') : evidence('absent', 'timeout'));
    });
  }

  #failed(error: NodeJS.ErrnoException): void {
    const code = error.code ?? '';
    if (code === 'ECONNREFUSED') this.#silent(REFUSED);
    else if (OURS.has(code)) this.#silent(evidence('void', code));
    else if (code.startsWith('HPE_')) this.#silent(evidence('absent', 'not HTTP'));
    else if (REASONS.has(code)) this.#silent(evidence('absent', REASONS.get(code) ?? ''));
    else this.#silent(evidence('absent', code === '' ? 'connection failed' : `connection failed: ${code}`));
  }

  /** No complete answer; a status that was a no by itself stays one, whatever became of its body. */
  #silent(instead: Evidence): void {
    if (this.#over) return;
    const response = this.#response;
    if (response !== undefined && (response.statusCode ?? 0) >= 500) this.#judge(response, '');
    else this.#finish(instead);
  }

  #finish(result: Evidence): void {
    if (this.#over) return;
    this.cancel();
    this.#onDone(result);
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
