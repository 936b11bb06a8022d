/**
 * The admin address: a listener of its own in the supervisor, so that it answers while the workers are swamped.
 *
 * A thin layer of fastify around the table in `admin-routes.ts`: who may ask is the guard's decision, what is answered
 * the port's. Errors are problem+json without a stack; every change, done or refused, is one log line that holds neither
 * token nor body. Limits: bodies up to 16 KiB, a request has 10 s to arrive.
 */
import fastify, {
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
} from 'fastify';
import { isLoopback } from '../kernel/loopback.ts';
import { AdminGuard } from './admin-guard.ts';
import type { AdminPort } from './admin-port.ts';
import { ADMIN_ROUTES, AdminProblem, type AdminRoute } from './admin-routes.ts';
import { listenFault } from './listen-sockets.ts';
import { STATUS_CODES } from './node-http.ts';

/** The part of pino's logger that is used here. */
interface AdminLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface AdminServerOptions {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** Empty = none; then `host` must be loopback. */
  readonly token: string;
  /** `/metrics` needs no token. */
  readonly openMetrics: boolean;
  readonly log: AdminLog;
}

/** What a reload may change. */
export type AdminAccess = Pick<AdminServerOptions, 'token' | 'openMetrics'>;

export interface AdminServer {
  readonly address: { readonly host: string; readonly port: number };
  /** Why this access may not be given at the address as bound; empty when it may. */
  refusal(access: AdminAccess): string;
  /** From the next request on. */
  configure(access: AdminAccess): void;
  /** Ends open connections and stops listening. */
  close(): Promise<void>;
}

/** Commands are some dozens of bytes; a larger body is a mistake. */
const BODY_BYTES = 16 * 1024;
/** Of what a change was asked with; a command has less. */
const LOGGED_BODY_CHARS = 200;
/** A command that has not arrived by then never will. */
const REQUEST_TIMEOUT_MS = 10_000;
/** Instance ids are addresses; host names go to 253 characters. */
const PARAM_CHARACTERS = 512;

/**
 * Listens and resolves when it does.
 * @throws Error with `code` EADDRINUSE and the like when it cannot listen; a plain one when `host` is not loopback and
 * there is no token.
 */
export async function startAdminServer(port: AdminPort, options: AdminServerOptions): Promise<AdminServer> {
  if (options.token === '' && !isLoopback(options.host)) {
    throw new Error(`admin.host ${options.host} is not loopback: admin.token must be set`);
  }
  const guard = new AdminGuard(options.token, options.host);
  const open = { metrics: options.openMetrics };
  const app = buildApp(port, { log: options.log, guard, open });
  try {
    await app.listen({ host: options.host, port: options.port });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    throw Object.assign(new Error(listenFault(code, options.host, options.port)), { code });
  }
  const bound = app.server.address();
  if (bound === null || typeof bound === 'string') throw new Error('the admin listener has no address');
  return {
    address: { host: bound.address, port: bound.port },
    refusal: ({ token }) =>
      token === '' && !isLoopback(options.host)
        ? `admin.token cannot be taken out while the admin address is bound to ${options.host}`
        : '',
    configure: ({ token, openMetrics }) => {
      guard.configure(token);
      open.metrics = openMetrics;
    },
    close: async () => {
      await app.close();
    },
  };
}

interface AppParts {
  readonly log: AdminLog;
  readonly guard: AdminGuard;
  /** What needs no token; a reload changes it. */
  readonly open: { readonly metrics: boolean };
}

function buildApp(port: AdminPort, { log, guard, open }: AppParts): FastifyInstance {
  const app = fastify({
    logger: false,
    bodyLimit: BODY_BYTES,
    requestTimeout: REQUEST_TIMEOUT_MS,
    forceCloseConnections: true,
    return503OnClosing: false,
    routerOptions: { maxParamLength: PARAM_CHARACTERS },
    frameworkErrors: (_error, _request, reply) => {
      void problem(reply, 400, 'The address is not valid.');
    },
  });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => {
    // A body comes as text or not at all; it is judged with the route, after the guard.
    done(null, body);
  });
  app.addHook('onRequest', async (request, reply) => {
    setSafetyHeaders(reply);
    const route = routeOf(request);
    const verdict = guard.judge({
      open: route !== undefined && isOpen(route, open.metrics),
      change: isChange(request.method),
      host: request.headers.host,
      origin: request.headers.origin,
      fetchSite: header(request, 'sec-fetch-site'),
      authorization: request.headers.authorization,
    });
    if (verdict.allowed) return;
    if (verdict.status === 401) reply.header('www-authenticate', 'Bearer realm="spillway"');
    await problem(reply, verdict.status, verdict.detail);
  });
  app.addHook('onResponse', async (request, reply) => {
    if (!isChange(request.method)) return;
    const fields = {
      method: request.method,
      path: pathOf(request.url),
      status: reply.statusCode,
      ...(typeof request.body === 'string' ? { body: request.body.slice(0, LOGGED_BODY_CHARS) } : {}),
      by: callerOf(request),
    };
    if (reply.statusCode < 300) log.info(fields, 'admin change');
    else log.warn(fields, 'admin change refused');
  });
  for (const route of ADMIN_ROUTES) {
    app.route({
      method: route.method,
      url: route.path,
      handler: async (request, reply) => answer(port, route, request, reply),
    });
  }
  app.setNotFoundHandler(async (request, reply) => notFound(request, reply));
  app.setErrorHandler<FastifyError | AdminProblem>(async (error, request, reply) =>
    failed(error, request, reply, log),
  );
  return app;
}

async function answer(
  port: AdminPort,
  route: AdminRoute,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const at = request.url.indexOf('?');
  const given = await route.answer(port, {
    params: request.params as Readonly<Record<string, string>>,
    query: new URLSearchParams(at === -1 ? '' : request.url.slice(at + 1)),
    body: parseBody(request.body),
    by: callerOf(request),
  });
  reply.code(given.status).header('content-type', given.type);
  return reply.send(typeof given.body === 'string' ? given.body : `${JSON.stringify(given.body)}\n`);
}

function parseBody(body: unknown): Readonly<Record<string, unknown>> {
  if (typeof body !== 'string' || body.trim() === '') return {};
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch {
    throw new AdminProblem(400, 'The body is not valid JSON.');
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw new AdminProblem(400, 'The body must be a JSON object.');
  }
  return parsed as Readonly<Record<string, unknown>>;
}

async function failed(
  error: FastifyError | AdminProblem,
  request: FastifyRequest,
  reply: FastifyReply,
  log: AdminLog,
): Promise<FastifyReply> {
  if (error instanceof AdminProblem) return problem(reply, error.status, error.message, error.members);
  const status = error.statusCode ?? 500;
  if (status === 413) return problem(reply, 413, `A body here has at most ${BODY_BYTES} bytes.`);
  if (status < 500) return problem(reply, status, 'The request is not valid.');
  log.error({ err: error, method: request.method, path: pathOf(request.url) }, 'admin request failed');
  return problem(reply, 500, 'The request failed; the log says why.');
}

/** No such path, or a path that takes other methods. */
async function notFound(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const methods = methodsOf(pathOf(request.url));
  if (methods.length === 0)
    return problem(reply, 404, 'There is nothing at this address; GET / lists what there is.');
  reply.header('allow', methods.join(', '));
  return problem(reply, 405, `This address takes ${methods.join(', ')}.`);
}

/** The methods that the table has for a path. */
function methodsOf(path: string): string[] {
  const asked = path.split('/');
  const found = ADMIN_ROUTES.filter((route) => {
    const wanted = route.path.split('/');
    return (
      wanted.length === asked.length &&
      wanted.every((part, at) => (part.startsWith(':') ? asked[at] !== '' : part === asked[at]))
    );
  });
  const methods = found.map((route): string => route.method);
  return methods.includes('GET') ? [...methods, 'HEAD'] : methods;
}

async function problem(
  reply: FastifyReply,
  status: number,
  detail: string,
  members: Readonly<Record<string, unknown>> = {},
): Promise<FastifyReply> {
  setSafetyHeaders(reply);
  reply.code(status).header('content-type', 'application/problem+json; charset=utf-8');
  const body = { type: 'about:blank', title: STATUS_CODES[status] ?? 'Error', status, detail, ...members };
  return reply.send(`${JSON.stringify(body)}\n`);
}

function setSafetyHeaders(reply: FastifyReply): void {
  reply.headers({
    'cache-control': 'no-store',
    'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    'cross-origin-resource-policy': 'same-origin',
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
  });
}

function routeOf(request: FastifyRequest): AdminRoute | undefined {
  const pattern = request.routeOptions.url;
  return ADMIN_ROUTES.find((route) => route.path === pattern);
}

function isOpen(route: AdminRoute, openMetrics: boolean): boolean {
  return route.open === 'always' || (route.open === 'openMetrics' && openMetrics);
}

function isChange(method: string): boolean {
  return method !== 'GET' && method !== 'HEAD' && method !== 'OPTIONS';
}

function header(request: FastifyRequest, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value.join(',') : value;
}

/** Without the query, and no longer than any address of the table can be. */
function pathOf(url: string): string {
  const at = url.indexOf('?');
  return url.slice(0, Math.min(at === -1 ? url.length : at, 4 * PARAM_CHARACTERS));
}

function callerOf(request: FastifyRequest): string {
  return `admin ${request.ip}`;
}
