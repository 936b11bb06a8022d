import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { PassThrough } from 'node:stream';
import { Client, type Dispatcher } from 'undici';
import { upstreamFault } from '../../src/forwarding/fault.ts';
import { sameAuthority } from '../../src/forwarding/host.ts';
import { localAnswer } from '../../src/forwarding/local-methods.ts';
import { clientErrorCode } from '../../src/forwarding/parse-fault.ts';
import type { RequestFacts } from '../../src/forwarding/request-facts.ts';
import { isWebsocketUpgrade, scanRequest } from '../../src/forwarding/request-head.ts';
import { buildRequestHeaders, requestPlan } from '../../src/forwarding/request-headers.ts';
import { buildResponseHeaders, responsePlan } from '../../src/forwarding/response-headers.ts';
import { normalizeTarget } from '../../src/forwarding/target.ts';
import { errorRow, type ErrorCode } from '../../src/kernel/errors.ts';
import { formatProblem } from '../../src/kernel/problem.ts';

/**
 * The smallest gateway that can be made of the forwarding modules: no limits, no routes, one origin.
 *
 * It lets the corpus judge the modules alone, and shows what an owner of sockets has to add to them: one request of a
 * connection at a time, nothing behind one that closes, and one writer.
 */

const NO_CHANGES = { set: {}, remove: [] };
const REQUEST_PLAN = requestPlan(NO_CHANGES);
const RESPONSE_PLAN = responsePlan(NO_CHANGES, { prefix: '/', rewrite: null, instances: [] });

interface Visit {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  controller: Dispatcher.DispatchController | undefined;
  refused: boolean;
}

/** What has to be remembered of a connection. */
class Line {
  current: Visit | undefined = undefined;
  readonly waiting: Visit[] = [];
  closing = false;
  /** The parser gave up behind the running request, or met a CONNECT: told when that has its answer. */
  brokenBy: ErrorCode | undefined = undefined;
}

class ModuleGate {
  readonly #origin: Client;
  readonly #lines = new WeakMap<Socket, Line>();

  constructor(originPort: number) {
    this.#origin = new Client(`http://127.0.0.1:${originPort}`, { pipelining: 1 });
  }

  readonly arrived = (req: IncomingMessage, res: ServerResponse): void => {
    const line = this.#lineOf(req.socket);
    const visit: Visit = { req, res, controller: undefined, refused: false };
    if (line.closing || line.brokenBy !== undefined) return;
    if (line.current === undefined) this.#begin(line, visit);
    else line.waiting.push(visit);
  };

  /** CONNECT comes without a response object. */
  readonly connect = (_req: IncomingMessage, socket: Socket): void => {
    const line = this.#lineOf(socket);
    if (line.closing) return;
    if (line.current === undefined) writeRaw(socket, 'SPW_METHOD_NOT_ALLOWED');
    else line.brokenBy ??= 'SPW_METHOD_NOT_ALLOWED';
  };

  readonly clientError = (error: Error, socket: Socket): void => {
    const line = this.#lineOf(socket);
    if (line.closing) return;
    const code = clientErrorCode(error);
    const { current } = line;
    if (current === undefined) {
      line.closing = true;
      if (code === 'SPW_CLIENT_CLOSED') socket.destroy();
      else writeRaw(socket, code);
    } else if (current.req.complete) {
      line.brokenBy ??= code;
    } else {
      current.refused = true;
      current.controller?.abort(new Error('the body broke'));
      if (current.res.headersSent) socket.destroy();
      else this.#refuse(line, current, code);
    }
  };

  async close(): Promise<void> {
    await this.#origin.destroy();
  }

  #lineOf(socket: Socket): Line {
    let line = this.#lines.get(socket);
    if (line === undefined) {
      line = new Line();
      this.#lines.set(socket, line);
    }
    return line;
  }

  #begin(line: Line, visit: Visit): void {
    line.current = visit;
    const { req, res } = visit;
    res.once('close', () => {
      this.#over(line, visit);
    });
    const method = req.method ?? '';
    const facts = scanRequest(req.rawHeaders, method, req.httpVersionMajor, req.httpVersionMinor);
    const target = normalizeTarget(method, req.url ?? '');
    const code = facts.code === '' ? target.code : facts.code;
    if (code !== '') this.#refuse(line, visit, code);
    else if (target.authority !== '' && !sameAuthority(target.authority, facts.host, target.scheme)) {
      this.#refuse(line, visit, 'SPW_BAD_REQUEST');
    } else {
      const local = localAnswer(method, target.asterisk, facts.maxForwards);
      if (local.kind === 'forward') this.#forward(line, visit, facts, target.path + target.query);
      else if (local.kind === 'options') res.writeHead(local.status, ['allow', local.allow]).end();
      else this.#refuse(line, visit, local.code, ['allow', local.allow]);
    }
  }

  #over(line: Line, visit: Visit): void {
    if (line.current !== visit) return;
    line.current = undefined;
    visit.controller?.abort(new Error('the caller left'));
    if (line.closing) return;
    const { socket } = visit.req;
    if (line.brokenBy !== undefined) {
      line.closing = true;
      writeRaw(socket, line.brokenBy);
      return;
    }
    const next = line.waiting.shift();
    if (next !== undefined) this.#begin(line, next);
  }

  #refuse(line: Line, visit: Visit, code: ErrorCode, more: readonly string[] = []): void {
    const row = errorRow(code);
    const { contentType, body } = formatProblem(code, 'module-gate-1', '', false);
    const headers = ['content-type', contentType, 'content-length', String(body.length), ...more];
    visit.refused = true;
    if (row.closes) {
      line.closing = true;
      headers.push('connection', 'close');
    }
    visit.res.writeHead(row.status, headers).end(body);
  }

  #forward(line: Line, visit: Visit, facts: RequestFacts, path: string): void {
    const { req, res } = visit;
    const additions = {
      requestId: 'module-gate-1',
      peerAddress: req.socket.remoteAddress ?? '',
      peerTrusted: false,
      clientAddress: req.socket.remoteAddress ?? '',
      proto: 'http' as const,
      viaName: 'gate',
      client: '',
      tier: '',
      remainingMs: 1000,
      attempt: 1,
      traceparent: '',
      cookie: undefined,
      fallbackHost: 'origin',
      instanceHost: '',
    };
    const headers = buildRequestHeaders(req.rawHeaders, facts, additions, REQUEST_PLAN);
    // Between undici and the caller's request stands a stream of our own, which undici may destroy.
    const body = facts.hasBody ? new PassThrough() : null;
    if (body !== null) req.on('data', (chunk: Buffer) => body.write(chunk)).once('end', () => body.end());
    body?.on('error', () => {
      // Told by onResponseError too.
    });
    this.#origin.dispatch(
      { path, method: req.method as 'GET', headers, body },
      {
        onRequestStart(controller) {
          visit.controller = controller;
          if (visit.refused) controller.abort(new Error('refused meanwhile'));
        },
        onResponseStart: (controller, status) => {
          if (visit.refused || status < 200) return;
          const raw = ((controller.rawHeaders ?? []) as readonly Buffer[]).map((part) =>
            part.toString('latin1'),
          );
          const head = buildResponseHeaders(raw, status, facts.method, RESPONSE_PLAN);
          if (facts.upgradeIgnored) {
            line.closing = true;
            head.list.push('connection', 'close');
          }
          res.writeHead(status, head.list);
        },
        onResponseData(_controller, chunk) {
          if (!visit.refused) res.write(chunk);
        },
        onResponseEnd() {
          visit.controller = undefined;
          if (!visit.refused) res.end();
        },
        onResponseError: (_controller, error) => {
          visit.controller = undefined;
          if (visit.refused || res.headersSent || res.destroyed) return;
          this.#refuse(line, visit, upstreamFault(error, 'waiting').code);
        },
      },
    );
  }
}

/** An answer on a socket that has no response object. */
function writeRaw(socket: Socket, code: ErrorCode): void {
  const row = errorRow(code);
  const { contentType, body } = formatProblem(code, 'module-gate-1', '', false);
  const connect = localAnswer('CONNECT', false, -1);
  const allow = connect.kind === 'refuse' && connect.code === code ? `allow: ${connect.allow}\r\n` : '';
  socket.end(
    `HTTP/1.1 ${row.status} ${row.title}\r\ncontent-type: ${contentType}\r\n${allow}` +
      `content-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`,
    () => {
      // A reset at once could overtake the answer where the other side still sends.
      setTimeout(() => socket.destroy(), 100).unref();
    },
  );
}

/** The options of a listener that the corpus needs; `test/security/raw-corpus.test.ts` runs on them. */
const LISTENER = {
  httpValidation: 'strict',
  requireHostHeader: false,
  maxHeaderSize: 16_384,
  headersTimeout: 10_000,
  requestTimeout: 60_000,
  connectionsCheckingInterval: 1000,
  keepAliveTimeout: 65_000,
  optimizeEmptyRequests: true,
  noDelay: true,
} as const;

export async function startModuleGate(
  originPort: number,
): Promise<{ port: number; close: () => Promise<void> }> {
  const gate = new ModuleGate(originPort);
  const server: Server = createServer({
    ...LISTENER,
    shouldUpgradeCallback: (req) =>
      isWebsocketUpgrade(req.method ?? '', req.httpVersionMinor, req.headers.upgrade) &&
      server.listenerCount('upgrade') > 0,
  });
  server.maxHeadersCount = 0;
  server.on('request', gate.arrived);
  server.on('checkContinue', gate.arrived);
  server.on('checkExpectation', gate.arrived);
  server.on('connect', gate.connect);
  server.on('clientError', gate.clientError);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    close: async () => {
      server.close();
      server.closeAllConnections();
      await gate.close();
    },
  };
}
