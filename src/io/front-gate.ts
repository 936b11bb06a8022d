import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Socket } from 'node:net';
import { sameAuthority } from '../forwarding/host.ts';
import { clientErrorCode } from '../forwarding/parse-fault.ts';
import { scanRequest, type HeadRules } from '../forwarding/request-head.ts';
import { normalizeTarget, type Target } from '../forwarding/target.ts';
import type { ErrorCode } from '../kernel/errors.ts';
import { locateCaller, refuseOverload } from './caller.ts';
import { connectionOf, type Arrival, type Connection } from './connection.ts';
import { Exchange, exchangeOf } from './exchange.ts';
import { ListenerAnswers } from './listener-answers.ts';
import { ServerResponse } from './node-http.ts';
import { endWithRefusal } from './raw-refusal.ts';
import { answerLocally } from './local-answers.ts';
import type { ListenerConfiguration } from '../../config/schema.ts';
import type { Snapshot } from './snapshot.ts';
import type { WorkerContext } from './worker-context.ts';

/**
 * Step 1: the raw listener, before any framework object exists.
 *
 * It stamps the start, gives the request its id, checks what two readers could read differently (target, Host, framing),
 * asks whether the worker itself can keep up, finds the route, writes the normal form of the path to `req.url` and hands
 * the request to the ordered steps of the snapshot in force. What it refuses has cost one parse and one write.
 */
export class FrontGate {
  readonly #worker: WorkerContext;
  /** Its listener left the configuration: connections end with their next answer. */
  leaving = false;
  /** Where its requests come in. */
  readonly listener: ListenerConfiguration;
  readonly #own: ListenerAnswers | undefined;
  readonly #rulesOf = new WeakMap<Snapshot, HeadRules>();

  constructor(worker: WorkerContext, listener: ListenerConfiguration) {
    this.#worker = worker;
    this.listener = listener;
    this.#own = ListenerAnswers.of(listener);
  }

  readonly request = (req: IncomingMessage, res: ServerResponse): void => {
    this.#arrived(connectionOf(req.socket), { req, res, socket: undefined, head: undefined });
  };

  /** Refuses what came without looking at its route: a stream that its connection is not good for. */
  refuse(req: IncomingMessage, res: ServerResponse, code: ErrorCode, reason: string): void {
    const worker = this.#worker;
    const { snapshot } = worker;
    if (snapshot === undefined) {
      res.destroy();
      return;
    }
    const { rawHeaders, httpVersionMajor: major, httpVersionMinor: minor, method = 'GET' } = req;
    const facts = scanRequest(rawHeaders, method, major, minor, this.#rules(snapshot));
    const connection = connectionOf(req.socket);
    const exchange = new Exchange(this, worker, snapshot, connection, req, res, facts, worker.now());
    connection.current = exchange;
    locateCaller(exchange);
    exchange.refuse(code, reason);
  }

  get worker(): WorkerContext {
    return this.#worker;
  }

  /** A WebSocket handshake walks the same steps, so that its refusals are answers. */
  readonly upgrade = (req: IncomingMessage, socket: Duplex, head: Buffer): void => {
    socket.on('error', swallow);
    const connection = connectionOf(socket);
    if (connection.current === undefined) this.#arrived(connection, { req, res: undefined, socket, head });
    else this.#unread(connection, socket);
  };

  /** CONNECT comes without a response object; what follows it may be anything, so the connection ends. */
  readonly connect = (_req: IncomingMessage, socket: Duplex): void => {
    socket.on('error', swallow);
    const connection = connectionOf(socket);
    this.#broken(connection, socket, 'SPW_METHOD_NOT_ALLOWED');
    if (connection.current !== undefined) this.#watch(connection, socket);
  };

  /** What the parser itself refused. It is answered only when no other answer of the connection is under way or due. */
  readonly clientError = (error: Error, socket: Duplex): void => {
    if (socket.destroyed) return;
    const connection = connectionOf(socket);
    const code = clientErrorCode(error);
    const { current } = connection;
    if (code === 'SPW_CLIENT_CLOSED') {
      if (current === undefined) socket.destroy();
      else current.cut('client');
    } else if (current === undefined || current.req.complete) {
      this.#broken(connection, socket, code);
    } else if (current.res.headersSent) current.cut('client');
    else current.refuse(code, 'body');
  };

  /** A handshake that failed: nothing was asked yet, nothing is answered. */
  readonly tlsClientError = (_error: Error, socket: Duplex): void => {
    socket.destroy();
  };

  /** The answer of a request has ended: the next in line begins. */
  readonly over = (exchange: Exchange): void => {
    const { connection, req } = exchange;
    connection.current = undefined;
    const { socket } = req;
    if (socket.destroyed) return;
    if (connection.brokenBy !== '' && !connection.closing) {
      this.#broken(connection, socket, connection.brokenBy);
      return;
    }
    if (connection.closing) {
      // Whether or not the answer could still say so: nothing follows it.
      socket.destroySoon();
      return;
    }
    const next = connection.next();
    if (next !== undefined) this.#begin(connection, next);
  };

  /** An upgrade behind a running answer: not begun, and the connection ends with that answer. */
  #unread(connection: Connection, socket: Duplex): void {
    connection.closing = true;
    if (connection.current !== undefined) connection.current.closes = true;
    this.#watch(connection, socket);
  }

  /** Node reads a socket no more once it has handed it over; without a reader nobody would see the caller leave. */
  #watch(connection: Connection, socket: Duplex): void {
    socket.resume();
    socket.once('end', () => {
      connection.current?.cut('client');
    });
  }

  #arrived(connection: Connection, arrival: Arrival): void {
    if (connection.arrived(arrival)) this.#begin(connection, arrival);
  }

  #begin(connection: Connection, { req, res, socket, head }: Arrival): void {
    if (res !== undefined) {
      this.#enter(connection, req, res);
      return;
    }
    if (socket === undefined || socket.destroyed) return;
    const made = new ServerResponse(req);
    made.assignSocket(socket as Socket);
    made.once('finish', () => {
      made.detachSocket(socket as Socket);
      (socket as Socket).destroySoon();
      // The server, which closes other responses, has let go of this one: nobody else would end its exchange.
      exchangeOf(made)?.finish();
    });
    this.#enter(connection, req, made, socket, head);
  }

  /** Answers what cannot be read, now or behind the running request, and ends the connection. */
  #broken(connection: Connection, socket: Duplex, code: ErrorCode): void {
    if (connection.closing) return;
    if (connection.current !== undefined) {
      if (connection.brokenBy === '') connection.brokenBy = code;
      return;
    }
    connection.closing = true;
    this.#worker.recorder.unparsed(code);
    endWithRefusal(socket, code, this.#worker);
  }

  /** A mistake of ours costs this one request. */
  #enter(
    connection: Connection,
    req: IncomingMessage,
    res: ServerResponse,
    socket?: Duplex,
    head?: Buffer,
  ): void {
    try {
      this.#walk(connection, req, res, socket, head);
    } catch (error) {
      this.#worker.recorder.fault(error);
      const exchange = exchangeOf(res);
      if (exchange === undefined) res.destroy();
      else exchange.refuse('SPW_INTERNAL', 'a step failed');
    }
  }

  #walk(
    connection: Connection,
    req: IncomingMessage,
    res: ServerResponse,
    socket?: Duplex,
    head?: Buffer,
  ): void {
    const worker = this.#worker;
    const { snapshot } = worker;
    const now = worker.now();
    const method = req.method ?? 'GET';
    const path = snapshot?.path;
    if (snapshot === undefined || path === undefined) {
      res.destroy();
      return;
    }
    const { httpVersionMajor: major, httpVersionMinor: minor } = req;
    const facts = scanRequest(req.rawHeaders, method, major, minor, this.#rules(snapshot), connection.hosts);
    const exchange = new Exchange(this, worker, snapshot, connection, req, res, facts, now, socket, head);
    connection.current = exchange;
    locateCaller(exchange);
    exchange.closes = facts.upgradeIgnored || this.leaving;
    const target = this.#judge(exchange, method);
    if (target === undefined || answerLocally(exchange, target.asterisk)) return;
    if (this.#own !== undefined && this.#own.answered(exchange)) return;
    const match = snapshot.table.match(facts.hostName, method, target.path, facts);
    if (match.kind === 'route') exchange.route = snapshot.routes[match.index];
    else if (match.kind === 'method-not-allowed') exchange.allow = match.allow;
    if (refuseOverload(exchange, now)) return;
    const { route } = exchange;
    if (
      route !== undefined &&
      ((facts.unusualBody && !route.allowBody) || (target.encodedSlash && !route.encodedSlash))
    ) {
      exchange.refuse('SPW_BAD_REQUEST', facts.unusualBody ? 'body' : 'encoded slash');
      return;
    }
    req.url = target.query === '' ? target.path : target.path + target.query;
    path.walk(exchange);
  }

  /** What is wrong whatever the route, refused here; otherwise the target in normal form. */
  #judge(exchange: Exchange, method: string): Target | undefined {
    const { facts, req, snapshot } = exchange;
    if (this.#worker.lastSecond) {
      exchange.refuse('SPW_DRAINING');
      return undefined;
    }
    if (facts.code !== '') {
      exchange.refuse(facts.code, facts.reason);
      return undefined;
    }
    const limit = this.listener.limits.bodyBytes;
    if (limit > 0 && facts.contentLength > limit) {
      exchange.refuse('SPW_BODY_TOO_LARGE');
      return undefined;
    }
    const target = normalizeTarget(method, req.url ?? '', snapshot.passesEncodedSlash);
    if (target.code !== '') {
      exchange.refuse(target.code, target.reason);
      return undefined;
    }
    if (target.authority !== '' && !sameAuthority(target.authority, facts.host, target.scheme)) {
      exchange.refuse('SPW_BAD_REQUEST', 'authority differs from Host');
      return undefined;
    }
    exchange.path = target.path;
    exchange.query = target.query;
    return target;
  }

  #rules(snapshot: Snapshot): HeadRules {
    let rules = this.#rulesOf.get(snapshot);
    if (rules === undefined) {
      rules = {
        headerCount: this.listener.limits.headerCount,
        viaName: this.#worker.viaName,
        passUnusualBody: snapshot.passesUnusualBody,
      };
      this.#rulesOf.set(snapshot, rules);
    }
    return rules;
  }
}

function swallow(): void {
  // The socket's end is told by its close; without a listener an error would end the process.
}
