/**
 * Figures that are right by themselves and wrong together: a burst no request of a route can ever meet, a probe that
 * outlasts its interval, an admin address open to the network without a token.
 *
 * Each section that parses takes part, whatever is wrong with the others, so that one run finds all.
 */
import { z } from 'zod';
import { clients } from './client-schema.ts';
import { admin, listener, redis, shutdown } from './edge-schema.ts';
import type { Finding, Path } from './findings.ts';
import { limits, tier } from './limit-schema.ts';
import { route } from './route-schema.ts';
import { service } from './service-schema.ts';
import { checkSessionCookies } from './session-cookies.ts';
import type { Source } from './source.ts';

/** A burst that lasts less than this at its rate cannot carry a steady stream: arrivals are never that even. */
const SHORTEST_BURST_MS = 10;

type Report = (severity: Finding['severity'], path: Path, message: string) => void;
type Tier = z.output<typeof tier>;
type Service = z.output<typeof service>;
type Route = z.output<typeof route>;

/** A limit that some route's requests must pass. */
interface Bucket {
  readonly path: Path;
  readonly words: string;
  readonly rate: number;
  readonly burst: number;
}

export function checkFigures(source: Source): Finding[] {
  const root = parsed(z.record(z.string(), z.unknown()), source.value) ?? {};
  const findings: Finding[] = [];
  const report: Report = (severity, path, message) => findings.push(source.find(severity, path, message));

  checkEdges(root, report);
  const services = entries(service, root.services);
  for (const [name, value] of services) checkService(value, ['services', name], report);
  const leads = [...entries(route, root.routes).values()];
  checkSessionCookies(services, leads, (path, message) => report('warning', path, message));

  const shared: Bucket[] = [];
  for (const [name, value] of entries(tier, root.tiers)) shared.push(...tierBuckets(String(name), value));
  const global = parsed(limits, root.limits ?? {})?.global ?? null;
  if (global !== null) shared.push({ path: ['limits', 'global'], words: 'the global limit', ...global });
  for (const bucket of shared) checkBurst(bucket, report);
  for (const [index, value] of entries(route, root.routes))
    checkRoute(value, ['routes', index], shared, services, report);
  return findings;
}

function checkEdges(root: Readonly<Record<string, unknown>>, report: Report): void {
  const operators = parsed(admin, root.admin ?? {});
  if (operators !== null && operators.token === '' && !isLoopback(operators.host)) {
    report(
      'error',
      ['admin', 'token'],
      'the admin address can be reached from other machines and needs a token',
    );
  }
  const leaving = parsed(shutdown, root.shutdown ?? {});
  if (leaving !== null && leaving.delay >= leaving.timeout) {
    report(
      'error',
      ['shutdown', 'delay'],
      'must be shorter than `shutdown.timeout`, or nothing could finish',
    );
  }
  const store = parsed(redis, root.redis);
  if (store !== null && store.keySecret === null) {
    report(
      'warning',
      ['redis'],
      'no `keySecret`: callers are hashed under a key made from the address of this Redis, which is no secret',
    );
  }
  const chain = parsed(clients, root.clients ?? {})?.identify ?? [];
  const end = chain.findIndex((entry) => 'ip' in entry);
  if (end >= 0 && end < chain.length - 1) {
    report(
      'warning',
      ['clients', 'identify', end + 1],
      'never reached: `ip` names every caller, so it ends the chain',
    );
  }
  checkAddresses(root, operators, report);
}

function checkAddresses(
  root: Readonly<Record<string, unknown>>,
  operators: z.output<typeof admin> | null,
  report: Report,
): void {
  const taken: { host: string; port: number; words: string }[] = [];
  for (const [index, value] of entries(listener, root.listeners)) {
    const path: Path = ['listeners', index];
    const twin = taken.find((other) => meet(other, value));
    if (twin !== undefined)
      report('error', [...path, 'port'], `port ${value.port} is taken by ${twin.words}`);
    taken.push({ host: value.host, port: value.port, words: 'another listener' });
    const { headersTimeout, requestTimeout } = value.limits;
    if (requestTimeout > 0 && headersTimeout > requestTimeout) {
      report(
        'error',
        [...path, 'limits', 'headersTimeout'],
        'must not be longer than `requestTimeout`, which includes it',
      );
    }
  }
  if (operators !== null && taken.some((other) => meet(other, operators))) {
    report('error', ['admin', 'port'], `port ${operators.port} is taken by a listener`);
  }
}

interface Address {
  readonly host: string;
  readonly port: number;
}

function everywhere(host: string): boolean {
  return host === '::' || host === '0.0.0.0';
}

function meet(left: Address, right: Address): boolean {
  return (
    left.port !== 0 &&
    left.port === right.port &&
    (left.host === right.host || everywhere(left.host) || everywhere(right.host))
  );
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host);
}

function checkService(value: Service, path: Path, report: Report): void {
  if (value.readiness.timeout > value.readiness.interval) {
    report(
      'warning',
      [...path, 'readiness', 'timeout'],
      'longer than `readiness.interval`: probes of one instance would overlap',
    );
  }
  if (value.sla > value.timeout.request) {
    report(
      'warning',
      [...path, 'sla'],
      'longer than `timeout.request`: an answer could be in time and cut all the same',
    );
  }
  if (value.affinity !== null && value.affinity.keys.length === 0) {
    report(
      'warning',
      [...path, 'affinity'],
      'no `keys`: random ones are made at start, so sessions end with the gateway',
    );
  }
  if (
    value.tls !== null &&
    value.instances.length > 0 &&
    value.instances.every((each) => each.url.startsWith('http:'))
  ) {
    report('warning', [...path, 'tls'], 'has no effect: all instances are http');
  }
  const versions = new Set(value.instances.map((each) => each.version));
  for (const version of Object.keys(value.versions?.canary ?? {})) {
    if (value.discovery === null && !versions.has(version)) {
      report(
        'warning',
        [...path, 'versions', 'canary', version],
        `no instance runs the version \`${version}\``,
      );
    }
  }
}

function tierBuckets(name: string, value: Tier): Bucket[] {
  const buckets: Bucket[] = [];
  if (value.rate !== null) {
    buckets.push({
      path: ['tiers', name],
      words: `the tier \`${name}\``,
      rate: value.rate,
      burst: value.burst,
    });
  }
  if (value.total !== null) {
    buckets.push({
      path: ['tiers', name, 'total'],
      words: `the total of the tier \`${name}\``,
      ...value.total,
    });
  }
  return buckets;
}

function checkBurst(bucket: Bucket, report: Report): void {
  if ((bucket.burst / bucket.rate) * 1000 < SHORTEST_BURST_MS) {
    report(
      'warning',
      [...bucket.path, 'burst'],
      `less than ${SHORTEST_BURST_MS} ms of the rate: a steady caller would get less than the rate`,
    );
  }
}

function checkRoute(
  value: Route,
  path: Path,
  shared: readonly Bucket[],
  services: Map<string | number, Service>,
  report: Report,
): void {
  const { perClient, total } = value.limits;
  const own: Bucket[] = [];
  if (perClient !== null)
    own.push({ path: [...path, 'limits', 'perClient'], words: "the route's limit per client", ...perClient });
  if (total !== null) own.push({ path: [...path, 'limits', 'total'], words: "the route's total", ...total });
  for (const bucket of own) checkBurst(bucket, report);
  for (const bucket of [...own, ...shared]) {
    if (value.cost > bucket.burst) {
      report(
        'error',
        [...path, 'cost'],
        `a request costs ${value.cost}, and ${bucket.words} never holds more than ${bucket.burst}: it could never pass`,
      );
    }
  }
  const target = services.get(value.service);
  if (value.timeout !== null && target !== undefined && target.sla > value.timeout) {
    report(
      'warning',
      [...path, 'timeout'],
      `shorter than the SLA of \`${value.service}\`: an answer could be in time and cut all the same`,
    );
  }
}

function parsed<Schema extends z.ZodType>(schema: Schema, value: unknown): z.output<Schema> | null {
  const result = schema.safeParse(value);
  return result.success ? result.data : null;
}

/** The entries of a list or a mapping that parse, by index or name. */
function entries<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
): Map<string | number, z.output<Schema>> {
  const found = new Map<string | number, z.output<Schema>>();
  if (typeof value !== 'object' || value === null) return found;
  for (const [key, entry] of Object.entries(value)) {
    const result = schema.safeParse(entry);
    if (result.success) found.set(Array.isArray(value) ? Number(key) : key, result.data);
  }
  return found;
}
