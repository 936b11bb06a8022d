import { ServerResponse, type IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Socket } from 'node:net';
import { sameAuthority } from '../forwarding/host.ts';
import { clientErrorCode } from '../forwarding/parse-fault.ts';
import { scanRequest, type HeadRules } from '../forwarding/request-head.ts';
import { normalizeTarget, type Target } from '../forwarding/target.ts';
import { errorRow } from '../kernel/errors.ts';
import { formatProblem } from '../kernel/problem.ts';
import { locateCaller, refuseOverload } from './caller.ts';
import { Exchange, exchangeOf } from './exchange.ts';
import { answerLocally } from './local-answers.ts';
import type { ListenerConfiguration } from '../../config/schema.ts';
import type { Snapshot } from './snapshot.ts';
import type { WorkerContext } from './worker-context.ts';

/**
 * Step 1: the raw listener, before any framework object exists.
 *
 * It stamps the start, gives the request its id, checks what two readers could read differently (target, Host, framing),
 * asks whether the worker itself can keep up, finds the route, writes the normal form of the path to `req.url` and hands
 * the request to the application of the snapshot in force. What it refuses has cost one parse and one write.
 */
export class FrontGate {
  readonly #worker: WorkerContext;
  readonly #listener: ListenerConfiguration;
  readonly #rulesOf = new WeakMap<Snapshot, HeadRules>();

  constructor(worker: WorkerContext, listener: ListenerConfiguration) {
    this.#worker = worker;
    this.#listener = listener;
  }

  readonly request = (req: IncomingMessage, res: ServerResponse): void => {
    this.#enter(req, res);
  };

  /** `Expect: 100-continue`: the same way; the 100 is written when the request has been admitted. */
  readonly checkContinue = (req: IncomingMessage, res: ServerResponse): void => {
    this.#enter(req, res);
  };

  readonly checkExpectation = (req: IncomingMessage, res: ServerResponse): void => {
    this.#enter(req, res);
  };

  /** A WebSocket handshake walks the same steps, so that its refusals are answers. */
  readonly upgrade = (req: IncomingMessage, socket: Duplex, head: Buffer): void => {
    const res = new ServerResponse(req);
    res.assignSocket(socket as Socket);
    socket.on('error', swallow);
    res.once('finish', () => {
      res.detachSocket(socket as Socket);
      (socket as Socket).destroySoon();
    });
    this.#enter(req, res, socket, head);
  };

  /** What the parser itself refused. An answer is written only where none has begun and none is owed before it. */
  readonly clientError = (error: Error, socket: Duplex): void => {
    if (socket.destroyed) return;
    const running = (socket as Socket & { _httpMessage?: ServerResponse | null })._httpMessage ?? undefined;
    const code = clientErrorCode(error);
    const exchange = running === undefined ? undefined : exchangeOf(running);
    if (exchange !== undefined && !exchange.finished) {
      if (code === 'SPW_CLIENT_CLOSED') exchange.cut('client');
      else if (exchange.req.complete) {
        // What cannot be read came behind a good request: that one gets its answer, nothing after it does.
        exchange.closes = true;
        if (running !== undefined) running.shouldKeepAlive = false;
      } else if (running?.headersSent === true) exchange.cut('client');
      else exchange.refuse(code);
      return;
    }
    if (code === 'SPW_CLIENT_CLOSED' || !socket.writable) {
      socket.destroy();
      return;
    }
    const row = errorRow(code);
    const problem = formatProblem(code, this.#worker.nextRequestId(), '', false);
    this.#worker.recorder.unparsed(code);
    socket.end(
      `HTTP/1.1 ${row.status} ${row.title}\r\ncontent-type: ${problem.contentType}\r\ncontent-length: ${Buffer.byteLength(problem.body)}\r\n` +
        `cache-control: no-store\r\ndate: ${new Date(this.#worker.wallMs()).toUTCString()}\r\nconnection: close\r\n\r\n${problem.body}`,
    );
  };

  /** A handshake that failed: nothing was asked yet, nothing is answered. */
  readonly tlsClientError = (_error: Error, socket: Duplex): void => {
    socket.destroy();
  };

  #enter(req: IncomingMessage, res: ServerResponse, socket?: Duplex, head?: Buffer): void {
    const worker = this.#worker;
    const { snapshot } = worker;
    const now = worker.now();
    const method = req.method ?? 'GET';
    if (snapshot?.application === undefined) {
      res.destroy();
      return;
    }
    const { httpVersionMajor: major, httpVersionMinor: minor } = req;
    const facts = scanRequest(req.rawHeaders, method, major, minor, this.#rules(snapshot));
    const exchange = new Exchange(worker, snapshot, this.#listener, req, res, facts, now, socket, head);
    locateCaller(exchange);
    exchange.closes = facts.upgradeIgnored;
    const target = this.#judge(exchange, method);
    if (target === undefined || answerLocally(exchange, target.asterisk)) return;
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
    snapshot.application.routing(req, res);
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
    const limit = this.#listener.limits.bodyBytes;
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
        headerCount: this.#listener.limits.headerCount,
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
