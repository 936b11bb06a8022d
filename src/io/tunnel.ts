import type { ClientRequest, IncomingMessage } from 'node:http';
import { request as requestHttps, type RequestOptions } from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { upstreamFault, type UpstreamFault } from '../forwarding/fault.ts';
import { buildTunnelHeaders } from '../forwarding/request-headers.ts';
import { buildSwitchingHead } from '../forwarding/response-headers.ts';
import { FrameFollower, GOING_AWAY } from '../forwarding/ws-frames.ts';
import { answerRelayed } from './answer.ts';
import type { FailedTry } from './attempt.ts';
import { instanceAddress } from '../upstreams/instance-id.ts';
import { additionsOf } from './caller.ts';
import type { Exchange } from './exchange.ts';
import type { LiveAttempt } from './live-attempt.ts';
import { request as requestHttp } from './node-http.ts';
import { WheelEntry } from './wheel.ts';

/**
 * WebSocket upgrades as a transparent tunnel.
 *
 * The handshake goes to the instance on a fresh connection, with the caller's key, subprotocols and extensions as they
 * came. On 101 the instance's head is relayed, with the route's changes but for what the handshake agreed on, and both
 * sockets are joined by two pipes with back pressure: frames are never parsed, a half-close stays a half-close, an error on one side destroys both. Any other answer of the instance is relayed
 * as the answer it is. The permit becomes a stream permit: an idle socket must not hold a place in the limit.
 *
 * Who leaves says so: at a shutdown the caller is sent 1001, "going away", so that it reconnects at once instead of finding
 * out by silence. That may only stand between two frames, so the lengths of the instance's frames are followed
 * (`ws-frames.ts`). From then on nothing of the instance reaches the caller, while the caller's reply still reaches the
 * instance, which then closes in order too. A frame that takes longer than a second is not waited for: our end says it all.
 *
 * An instance that speaks HTTP/2 alone takes no such handshake (RFC 8441 is not spoken): 501, decided in admission where the
 * configuration says so (`protocol: h2`), here where its TLS does.
 *
 * Nothing is given to the socket before it is connected (and its certificate verified). So a failed connect has sent
 * nothing for certain, and may be tried at another instance like that of any request; later failures never are.
 */

/** How long the end of a frame is waited for, and then the caller's reply. Half: a frame of 8 MiB over a slow line never ends in time. */
const FAREWELL_MS = 1000;

/** The last second of a tunnel that we leave. */
class Farewell extends WheelEntry {
  readonly #over: () => void;

  constructor(over: () => void) {
    super();
    this.#over = over;
  }

  override expired(): void {
    this.#over();
  }
}

/** Starts another try elsewhere, if policy, budget and fleet allow it. */
export type RetryHandshake = (failed: FailedTry, now: number) => boolean;

class Tunnel implements LiveAttempt, FailedTry {
  readonly exchange: Exchange;
  readonly slot: number;
  readonly body = null;
  readonly #retry: RetryHandshake;
  readonly #startedMs: number;
  #request: ClientRequest | undefined = undefined;
  #upstream: Socket | undefined = undefined;
  #over = false;
  /** The handshake was handed to a socket. */
  #sent = false;
  #connectDueMs = Infinity;
  /** Where the instance's frames end. */
  readonly #frames = new FrameFollower();
  #farewell: Farewell | undefined = undefined;
  #toldGoing = false;

  constructor(exchange: Exchange, retryHandshake: RetryHandshake, now: number) {
    this.exchange = exchange;
    this.slot = exchange.slot;
    this.#retry = retryHandshake;
    this.#startedMs = now;
  }

  get dueMs(): number {
    return this.#sent ? Infinity : this.#connectDueMs;
  }

  start(): void {
    const { exchange } = this;
    const { route, req, facts } = exchange;
    if (route === undefined) return;
    const { service } = route;
    const now = this.#startedMs;
    exchange.attempt = this;
    this.#connectDueMs = now + service.configuration.timeout.connect;
    exchange.arm(Math.min(this.#connectDueMs, exchange.deadlineMs));
    const { host, port } = instanceAddress(service.balancer.idOf(this.slot));
    const secure = service.balancer.urlOf(this.slot).startsWith('https:');
    const request = (secure ? requestHttps : requestHttp)({
      host,
      port,
      method: 'GET',
      path: exchange.upstreamPath,
      headers: buildTunnelHeaders(req.rawHeaders, facts, additionsOf(exchange, now), route.requestPlan),
      setHost: false,
      agent: false,
      allowHalfOpen: true,
      ...(secure ? { ...service.tls, ALPNProtocols: ['http/1.1'] } : {}),
    } as RequestOptions);
    this.#request = request;
    request.once('socket', (connection) => {
      connection.once(secure ? 'secureConnect' : 'connect', () => {
        this.#send();
      });
    });
    request.once('upgrade', (response, socket, head) => {
      this.#join(response, socket, head);
    });
    request.once('response', (response) => {
      this.#relay(response);
    });
    request.once('error', (error) => {
      if (speaksNoHttp1(error)) this.#unspoken();
      else this.#fail(upstreamFault(error, this.#sent ? 'waiting' : 'connect'));
    });
  }

  #send(): void {
    if (this.#over) return;
    const { exchange } = this;
    this.#sent = true;
    exchange.permit?.attempt(exchange.worker.now());
    exchange.arm(exchange.deadlineMs);
    this.#request?.end();
  }

  abandon(): void {
    if (this.#over) return;
    this.#over = true;
    if (this.#farewell !== undefined) this.exchange.worker.wheel.disarm(this.#farewell);
    this.#request?.destroy();
    this.#upstream?.destroy();
  }

  resume(): void {
    // Back pressure is the pipes' own affair.
  }

  overdue(now: number): void {
    const { deadlineMs } = this.exchange;
    if (now < Math.min(this.dueMs, deadlineMs)) {
      this.exchange.arm(Math.min(this.dueMs, deadlineMs));
      return;
    }
    const phase = this.#sent ? 'timeout' : 'connect-timeout';
    this.abandon();
    this.#report(upstreamFault(undefined, phase));
  }

  /** No failure of an instance, which serves what it is there for; another one would most likely do the same. */
  #unspoken(): void {
    if (this.#over) return;
    this.#over = true;
    this.exchange.refuse('SPW_NOT_IMPLEMENTED', 'WebSocket to an instance of HTTP/2 alone');
  }

  #fail(fault: UpstreamFault): void {
    if (this.#over) return;
    this.#over = true;
    this.#report(fault);
  }

  #report(fault: UpstreamFault): void {
    const { exchange } = this;
    const now = exchange.worker.now();
    exchange.worker.recorder.tunnelFailed(exchange, fault, now);
    if (this.#sent || !this.#retry(this, now)) exchange.refuse(fault.code, fault.reason);
  }

  #relay(response: IncomingMessage): void {
    if (this.#over) {
      response.destroy();
      return;
    }
    const { exchange } = this;
    const now = exchange.worker.now();
    exchange.worker.recorder.tunnelAnswered(exchange, response.statusCode ?? 0, now - this.#startedMs, now);
    answerRelayed(exchange, response);
  }

  #join(response: IncomingMessage, upstream: Socket, head: Buffer): void {
    const { exchange } = this;
    const { route, upgradeSocket: client } = exchange;
    if (this.#over || route === undefined || client === undefined || client.destroyed) {
      upstream.destroy();
      return;
    }
    this.#upstream = upstream;
    const now = exchange.worker.now();
    exchange.worker.recorder.tunnelAnswered(exchange, 101, now - this.#startedMs, now);
    exchange.status = 101;
    exchange.headMs = now;
    exchange.phase = 'tunnelling';
    exchange.permit?.asStream(now);
    exchange.worker.recorder.settleBreaker(exchange, now);
    exchange.silenceMs = route.service.configuration.timeout.tunnelIdle;
    exchange.lastByteMs = now;
    exchange.arm(now + exchange.silenceMs);
    exchange.res.detachSocket(client as Socket);
    const { changes } = route.responsePlan;
    client.write(buildSwitchingHead(response.rawHeaders, exchange.requestId, changes), 'latin1');
    if (head.length > 0) {
      this.#frames.follow(head);
      client.write(head);
    }
    const early = exchange.upgradeHead;
    if (early !== undefined && early.length > 0) upstream.write(early);
    this.#pipe(client, upstream, true);
    this.#pipe(upstream, client, false);
    exchange.worker.streams.add(exchange);
  }

  #pipe(from: Duplex, to: Duplex, up: boolean): void {
    const { exchange } = this;
    from.on('data', (chunk: Buffer) => {
      exchange.lastByteMs = exchange.worker.now();
      if (up) exchange.bytesIn += chunk.length;
      else this.#down(chunk);
    });
    from.pipe(to);
    from.once('error', () => {
      this.#close(up ? 'client' : 'upstream');
    });
    from.once('close', () => {
      this.#close('');
    });
  }

  // Leaving ----------------------------------------------------------------------------------------------------------

  leave(now: number): void {
    const { exchange } = this;
    const upstream = this.#upstream;
    const client = exchange.upgradeSocket;
    if (this.#over || this.#farewell !== undefined || upstream === undefined || client === undefined) return;
    this.#farewell = new Farewell(() => {
      client.end();
    });
    exchange.worker.wheel.arm(this.#farewell, now + FAREWELL_MS);
    if (exchange.abortedBy === '') exchange.abortedBy = 'gateway';
    upstream.unpipe(client);
    upstream.once('end', () => {
      client.end();
    });
    if (this.#frames.atBoundary) this.#tellGoing(client);
    upstream.resume();
  }

  /** What the instance sends: passed by its pipe, unless we leave; then up to the end of a frame. */
  #down(chunk: Buffer): void {
    const { exchange } = this;
    if (this.#farewell === undefined) {
      exchange.bytesOut += chunk.length;
      this.#frames.follow(chunk);
      return;
    }
    const client = exchange.upgradeSocket;
    if (this.#toldGoing || client === undefined || !client.writable) return;
    const end = this.#frames.toBoundary(chunk);
    exchange.bytesOut += end;
    if (!client.write(chunk.subarray(0, end))) {
      const upstream = this.#upstream;
      upstream?.pause();
      client.once('drain', () => upstream?.resume());
    }
    if (this.#frames.atBoundary) this.#tellGoing(client);
  }

  #tellGoing(client: Duplex): void {
    this.#toldGoing = true;
    if (client.writable) client.write(GOING_AWAY);
  }

  /** Both sides end together once either is gone; a half-close alone ends nothing. */
  #close(by: '' | 'client' | 'upstream'): void {
    if (this.#over) return;
    this.#over = true;
    const { exchange } = this;
    if (this.#farewell !== undefined) exchange.worker.wheel.disarm(this.#farewell);
    if (by !== '' && exchange.abortedBy === '') exchange.abortedBy = by;
    exchange.worker.streams.delete(exchange);
    endOrDestroy(exchange.upgradeSocket, by !== '');
    endOrDestroy(this.#upstream, by !== '');
    exchange.finish();
  }
}

/** Asked by TLS for HTTP/1.1, in which a WebSocket begins, it had nothing to offer. */
function speaksNoHttp1(error: unknown): boolean {
  return (
    error instanceof Error &&
    (error as { readonly code?: unknown }).code === 'ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL'
  );
}

/** What is written may still leave, unless the other side broke. */
function endOrDestroy(socket: Duplex | undefined, broken: boolean): void {
  if (socket === undefined || socket.destroyed) return;
  if (broken) socket.destroy();
  else (socket as Socket).destroySoon();
}

/** Begins one try at the instance that was chosen for an exchange that asked for an upgrade. */
export function openTunnel(exchange: Exchange, retryHandshake: RetryHandshake, now: number): void {
  new Tunnel(exchange, retryHandshake, now).start();
}
