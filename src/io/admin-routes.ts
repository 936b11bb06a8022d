/**
 * The addresses under the admin address, as one table: the router, the 405s and the plain page are made from it.
 *
 * Bodies are read as JSON whatever content type is named, so that `curl -d '{"ttl":"10m"}'` works; that a browser can
 * send such a request without asking first is met by the guard, not by the content type. Unknown keys are errors: a
 * misspelt `ttl` would otherwise drain for ever.
 */
import { parseDurationMs, parseRatePerSecond } from '../kernel/units.ts';
import type {
  AdminPort,
  InstanceCommand,
  OverrideResult,
  PeekQuestion,
  QuotaResult,
  ReloadView,
} from './admin-port.ts';
import { METRICS_CONTENT_TYPE } from './metrics-page.ts';

interface AdminRequest {
  /** Decoded path parameters. */
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  readonly body: Readonly<Record<string, unknown>>;
  readonly by: string;
}

interface AdminAnswer {
  readonly status: number;
  readonly type: string;
  /** A string is sent as it is, anything else as JSON. */
  readonly body: unknown;
}

export interface AdminRoute {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly path: string;
  readonly about: string;
  readonly open: 'always' | 'openMetrics' | 'never';
  readonly answer: (port: AdminPort, request: AdminRequest) => AdminAnswer | Promise<AdminAnswer>;
}

/** An answer that is an RFC 9457 problem. */
export class AdminProblem extends Error {
  readonly status: number;
  readonly members: Readonly<Record<string, unknown>>;

  constructor(status: number, detail: string, members: Readonly<Record<string, unknown>> = {}) {
    super(detail);
    this.status = status;
    this.members = members;
  }
}

const DAY_MS = 86_400_000;
/** A year: past it a timer would have to be chained, and nobody means it. */
const MOST_TTL_DAYS = 365;
/** What is meant to last longer belongs into the configuration, where it is seen. */
const MOST_OVERRIDE_DAYS = 30;
const MOST_BURST = 1_000_000_000;
const MOST_COST = 1_000_000_000;

export const ADMIN_ROUTES: readonly AdminRoute[] = [
  { method: 'GET', path: '/', about: 'this page', open: 'never', answer: () => page() },
  { method: 'GET', path: '/livez', about: 'the process runs', open: 'always', answer: () => text('live\n') },
  {
    method: 'GET',
    path: '/readyz',
    about: 'the gateway takes traffic; ?verbose, ?exclude=CHECK',
    open: 'always',
    answer: readyz,
  },
  {
    method: 'GET',
    path: '/metrics',
    about: 'Prometheus metrics, all processes summed',
    open: 'openMetrics',
    answer: async (port) => ({ status: 200, type: METRICS_CONTENT_TYPE, body: await port.metrics() }),
  },
  {
    method: 'GET',
    path: '/v1/status',
    about: 'version, workers, configuration, how things are',
    open: 'never',
    answer: async (port) => json(await port.status()),
  },
  {
    method: 'GET',
    path: '/v1/services',
    about: 'services and their instances; ?workers: how the workers share them',
    open: 'never',
    answer: async (port, { query }) => json({ services: await port.services(query.has('workers')) }),
  },
  {
    method: 'GET',
    path: '/v1/config',
    about: 'the effective configuration, secrets masked',
    open: 'never',
    answer: (port) => json(port.configuration()),
  },
  {
    method: 'GET',
    path: '/v1/explain/:request',
    about: 'why a request went as it did',
    open: 'never',
    answer: explain,
  },
  {
    method: 'GET',
    path: '/v1/limits/:client',
    about:
      "a client's limits, requests in flight and blocks; a configured client, ip:HASH or an address; ?route=ROUTE: what a request would get",
    open: 'never',
    answer: async (port, { params, query }) =>
      quota(params, await port.quota(params['client'] ?? '', peekOf(query))),
  },
  {
    method: 'PUT',
    path: '/v1/limits/:client',
    about: '{"rate":"50/s","burst":100,"ttl":"2h"}: another rate for this client, for a time',
    open: 'never',
    answer: async (port, { params, body, by }) => {
      only(body, ['rate', 'burst', 'ttl']);
      const figures = {
        ratePerSecond: rateIn(body),
        burst: burstOf(body),
        ttlMs: overrideTtl(body),
      };
      return quota(params, await port.overrideQuota(params['client'] ?? '', figures, by));
    },
  },
  {
    method: 'DELETE',
    path: '/v1/limits/:client',
    about: "ends such a rate and fills the client's own limits",
    open: 'never',
    answer: async (port, { params, body, by }) => {
      only(body, []);
      return quota(params, await port.fillQuota(params['client'] ?? '', by));
    },
  },
  {
    method: 'POST',
    path: '/v1/reload',
    about: 'read the configuration file again',
    open: 'never',
    answer: reload,
  },
  {
    method: 'POST',
    path: '/v1/workers/roll',
    about: 'replace all workers by new processes, one after the other',
    open: 'never',
    answer: roll,
  },
  operation('drain', 'no new sessions; {"ttl":"10m"} optional'),
  operation('enable', 'take it into service again'),
  operation('disable', 'no request at all; {"ttl":"10m"} optional'),
  {
    method: 'POST',
    path: '/v1/services/:service/breaker',
    about: '{"state":"open"|"closed"|"auto"}; {"ttl":"10m"} optional for the first two',
    open: 'never',
    answer: breaker,
  },
  {
    method: 'POST',
    path: '/v1/services/:service/shedding',
    about: '{"mode":"enforce"|"observe"|"off"|"auto"}',
    open: 'never',
    answer: shedding,
  },
];

function json(body: unknown, status = 200): AdminAnswer {
  return { status, type: 'application/json; charset=utf-8', body };
}

function text(body: string): AdminAnswer {
  return { status: 200, type: 'text/plain; charset=utf-8', body };
}

function readyz(port: AdminPort, request: AdminRequest): AdminAnswer {
  const { ready, checks } = port.readiness();
  const excluded = new Set(request.query.getAll('exclude').flatMap((names) => names.split(',')));
  const judged = checks.filter((check) => !excluded.has(check.name));
  // Only a name that exists leaves the verdict to the other checks.
  const ok = judged.length === checks.length ? ready : judged.every((check) => check.ok);
  const failing = judged.filter((check) => !check.ok).map((check) => check.name);
  // As at Kubernetes' own addresses a mistyped name fails no probe, but it is told.
  const known = checks.map((check) => check.name);
  const unknown = [...excluded].find((name) => name !== '' && !known.includes(name));
  const left = known.filter((name) => excluded.has(name));
  const verbose = request.query.has('verbose');
  return json(
    {
      ready: ok,
      failing,
      ...(verbose ? { checks: judged, excluded: left } : {}),
      ...(unknown === undefined
        ? {}
        : { warning: `no check is called ${quoted(unknown)}: known is ${known.join(', ')}` }),
    },
    ok ? 200 : 503,
  );
}

async function explain(port: AdminPort, request: AdminRequest): Promise<AdminAnswer> {
  const record = await port.explain(request.params['request'] ?? '');
  if (record === undefined)
    throw new AdminProblem(404, 'No worker remembers this request; only the last few thousand are kept.');
  return json(record);
}

function quota({ client }: AdminRequest['params'], result: QuotaResult | OverrideResult): AdminAnswer {
  switch (result.state) {
    case 'known':
      return json(result.quota);
    case 'unavailable':
      throw new AdminProblem(503, result.detail);
    case 'invalid':
      throw new AdminProblem(400, `${capital(result.detail)}.`);
    case 'full':
      throw new AdminProblem(409, `There are ${result.most} overrides already; end one first.`);
    case 'no-route':
      throw new AdminProblem(404, `There is no such route: known is ${result.routes.join(', ')}.`);
    case 'unknown':
      throw new AdminProblem(
        404,
        `No client ${quoted(client)} is configured, and no limit is in use under this name. ` +
          'A client is called as in clients.keys, "ip:" and a hash as in the access log, or by its address.',
      );
    default:
      return result satisfies never;
  }
}

async function reload(port: AdminPort, request: AdminRequest): Promise<AdminAnswer> {
  only(request.body, []);
  const { ok, changes, refused = 'not-taken', faults, warnings } = await port.reload(request.by);
  if (!ok) throw new AdminProblem(409, refusalText(refused, faults), { refused, faults, warnings });
  return json({ ok, changes, warnings });
}

async function roll(port: AdminPort, request: AdminRequest): Promise<AdminAnswer> {
  only(request.body, []);
  const { rolled, failed } = await port.roll(request.by);
  if (failed.length > 0)
    throw new AdminProblem(409, `Not all workers were replaced: ${failed.join(', ')}.`, { rolled, failed });
  return json({ rolled, failed });
}

function refusalText(refused: NonNullable<ReloadView['refused']>, faults: readonly string[]): string {
  switch (refused) {
    case 'faults':
      return 'The configuration has faults; the old one stays in force.';
    case 'not-taken':
      return 'The configuration could not be put in force; the old one stays.';
    case 'not-serving':
      return `No reload now: ${faults.join(', ')}.`;
    default:
      return refused satisfies never;
  }
}

function operation(command: InstanceCommand, about: string): AdminRoute {
  return {
    method: 'POST',
    path: `/v1/services/:service/instances/:instance/${command}`,
    about,
    open: 'never',
    answer: (port, { params, body, by }) => {
      only(body, command === 'enable' ? [] : ['ttl']);
      const { service = '', instance = '' } = params;
      const ttlMs = ttlOf(body);
      const result = port.operate(service, instance, command, ttlMs, by);
      if (result === 'no-service') throw noService(service);
      if (result === 'no-instance')
        throw new AdminProblem(404, `Service ${quoted(service)} has no instance ${quoted(instance)}.`);
      return json({ service, instance, command, ttlMs: ttlMs ?? null });
    },
  };
}

function breaker(port: AdminPort, { params, body, by }: AdminRequest): AdminAnswer {
  only(body, body['state'] === 'auto' ? ['state'] : ['state', 'ttl']);
  const state = oneOf(body, 'state', ['open', 'closed', 'auto'] as const);
  const { service = '' } = params;
  const ttlMs = ttlOf(body);
  if (!port.breaker(service, state, ttlMs, by)) throw noService(service);
  return json({ service, breaker: state, ttlMs: ttlMs ?? null });
}

function shedding(port: AdminPort, { params, body }: AdminRequest): AdminAnswer {
  only(body, ['mode']);
  const mode = oneOf(body, 'mode', ['enforce', 'observe', 'off', 'auto'] as const);
  const { service = '' } = params;
  if (!port.shedding(service, mode)) throw noService(service);
  return json({ service, shedding: mode });
}

function noService(service: string): AdminProblem {
  return new AdminProblem(404, `There is no service ${quoted(service)}.`);
}

/** At most 100 characters of what a caller sent, as JSON: 5 and "5" are told apart. */
function quoted(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(cut(value));
  return cut(JSON.stringify(value) ?? 'nothing');
}

function cut(text: string): string {
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}

function only(body: Readonly<Record<string, unknown>>, known: readonly string[]): void {
  const stranger = Object.keys(body).find((key) => !known.includes(key));
  if (stranger === undefined) return;
  const wanted = known.length === 0 ? 'no body is expected' : `known is ${known.join(', ')}`;
  throw new AdminProblem(400, `Unknown key ${quoted(stranger)}: ${wanted}.`);
}

function ttlOf(body: Readonly<Record<string, unknown>>, mostDays = MOST_TTL_DAYS): number | undefined {
  if (!Object.hasOwn(body, 'ttl')) return undefined;
  const { ttl } = body;
  const ms = typeof ttl === 'string' ? parseDurationMs(ttl) : undefined;
  if (ms === undefined || !(ms > 0) || ms > mostDays * DAY_MS) {
    throw new AdminProblem(
      400,
      `"ttl" must be a duration such as "10m", at most ${mostDays}d, not ${quoted(ttl)}.`,
    );
  }
  return ms;
}

function overrideTtl(body: Readonly<Record<string, unknown>>): number {
  const ms = ttlOf(body, MOST_OVERRIDE_DAYS);
  if (ms === undefined) throw new AdminProblem(400, '"ttl" is required: an override ends by itself.');
  return ms;
}

function rateIn(body: Readonly<Record<string, unknown>>): number {
  const rate = Object.hasOwn(body, 'rate') ? body['rate'] : undefined;
  const perSecond = typeof rate === 'string' ? parseRatePerSecond(rate) : undefined;
  if (perSecond === undefined)
    throw new AdminProblem(400, `"rate" must be a rate such as "10/s" or "600/m", not ${quoted(rate)}.`);
  return perSecond;
}

function burstOf(body: Readonly<Record<string, unknown>>): number | undefined {
  if (!Object.hasOwn(body, 'burst')) return undefined;
  const { burst } = body;
  if (!Number.isSafeInteger(burst) || Number(burst) < 1 || Number(burst) > MOST_BURST)
    throw new AdminProblem(400, `"burst" must be a whole number, at least 1, not ${quoted(burst)}.`);
  return Number(burst);
}

/** Undefined when nothing is imagined. A misspelt parameter would be a look that seems to answer. */
function peekOf(query: URLSearchParams): PeekQuestion | undefined {
  const stranger = [...query.keys()].find((key) => key !== 'route' && key !== 'cost');
  if (stranger !== undefined)
    throw new AdminProblem(400, `Unknown parameter ${quoted(stranger)}: known is route, cost.`);
  const route = query.get('route');
  const text = query.get('cost');
  const cost = text === null ? undefined : /^\d{1,10}$/.test(text) ? Number(text) : -1;
  if (cost !== undefined && (cost < 0 || cost > MOST_COST))
    throw new AdminProblem(400, `"cost" must be a whole number, not ${quoted(text)}.`);
  if (route !== null) return { route, cost };
  if (cost === undefined) return undefined;
  throw new AdminProblem(400, '"cost" is that of a request on a route: name it with route=.');
}

function capital(text: string): string {
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}`;
}

function oneOf<const T extends string>(
  body: Readonly<Record<string, unknown>>,
  key: string,
  values: readonly T[],
): T {
  const value = Object.hasOwn(body, key) ? body[key] : undefined;
  const found = values.find((known) => known === value);
  if (found === undefined)
    throw new AdminProblem(400, `"${key}" must be one of ${values.join(', ')}, not ${quoted(value)}.`);
  return found;
}

function page(): AdminAnswer {
  const rows = ADMIN_ROUTES.map(({ method, path, about }) => {
    const shown = path.replaceAll(/:(\w+)/g, (_, name: string) => name.toUpperCase());
    const address = method === 'GET' && shown === path ? `<a href="${path}">${path}</a>` : shown;
    return `<tr><td>${method}</td><td>${address}</td><td>${about.replaceAll('"', '&quot;')}</td></tr>`;
  });
  const body = `<!doctype html><html lang="en"><meta charset="utf-8"><title>Spillway</title>
<style>body{font:16px/1.5 system-ui,sans-serif;margin:2rem;color-scheme:light dark}td{padding:.2rem 1rem .2rem 0;font-family:ui-monospace,monospace}</style>
<h1>Spillway</h1><table>${rows.join('\n')}</table></html>
`;
  return { status: 200, type: 'text/html; charset=utf-8', body };
}
