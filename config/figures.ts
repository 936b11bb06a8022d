/**
 * Figures that are right by themselves and wrong together, in several sections: a burst no request of a route can ever
 * meet, a port taken twice, a probe that outlasts its interval.
 *
 * Each field that can be read takes part, whatever is wrong with the others (`readable.ts`), so that one run finds all.
 */
import type { z } from 'zod';
import { clients } from './client-schema.ts';
import { admin, listener, redis } from './edge-schema.ts';
import type { Finding, Path } from './findings.ts';
import { checkGuards } from './guards.ts';
import { burstOf, globalFields, quotaFields, tierFields } from './limit-schema.ts';
import { leaseWarnings } from './leases.ts';
import { isGiven, readable } from './readable.ts';
import { route } from './route-schema.ts';
import { service } from './service-schema.ts';
import { checkCookiePrefixes, checkSessionCookies, type Entrance } from './session-cookies.ts';
import type { Source } from './source.ts';
import { isTree, placed, treeOf } from './tree.ts';
import type { Tree } from './tree.ts';

/** A burst that lasts less than this at its rate cannot carry a steady stream: arrivals are never that even. */
const SHORTEST_BURST_MS = 10;

type Report = (severity: Finding['severity'], path: Path, message: string) => void;
type Service = Partial<z.output<typeof service>>;
type Route = Partial<z.output<typeof route>>;

/** A limit that some route's requests must pass. */
interface Bucket {
  readonly path: Path;
  readonly words: string;
  readonly rate: number;
  readonly burst: number;
}

export function checkFigures(source: Source): Finding[] {
  const root = treeOf(source.value);
  const findings: Finding[] = [];
  const report: Report = (severity, path, message) => findings.push(source.find(severity, path, message));

  checkEdges(root, report);
  const services = new Map<string, Service>();
  for (const { path, value } of placed(root, 'services')) {
    const own = readable(service, value);
    services.set(String(path[1]), own);
    checkService(own, treeOf(value), path, report);
  }
  const routes = placed(root, 'routes').map(({ path, value }) => ({
    path,
    value,
    own: readable(route, value),
  }));
  checkCookies(
    services,
    routes.map(({ own }) => own),
    entrancesOf(root),
    report,
  );

  const shared: Bucket[] = [];
  for (const { path, value } of placed(root, 'tiers')) {
    const words = `the tier \`${String(path[1])}\``;
    shared.push(...bucketOf(readable(tierFields, value), path, words));
    const total = readable(quotaFields, treeOf(value).total);
    shared.push(...bucketOf(total, [...path, 'total'], `the total of ${words}`));
  }
  const global = readable(globalFields, treeOf(root.limits).global);
  shared.push(...bucketOf(global, ['limits', 'global'], 'the global limit'));
  const ofRoutes: Bucket[] = [];
  for (const { path, value, own } of routes) {
    checkRoute(own, path, services, report);
    const buckets = bucketsOf(treeOf(treeOf(value).limits), path);
    ofRoutes.push(...buckets);
    checkCost(own.cost, path, [...buckets, ...shared], report);
  }
  const ofLeases = leaseWarnings(root);
  for (const bucket of [...shared, ...ofRoutes]) {
    checkBurst(bucket, report);
    for (const warning of ofLeases(bucket)) report('warning', bucket.path, warning);
  }
  checkGuards(root, (path, message) => {
    report('warning', path, message);
  });
  return findings;
}

function checkEdges(root: Tree, report: Report): void {
  if (isTree(root.redis) && readable(redis, root.redis).keySecret === null) {
    report(
      'warning',
      ['redis'],
      'no `keySecret`: callers are hashed under a random key that lies in this Redis, and change their buckets if that is emptied while no gateway runs',
    );
  }
  if (isTree(root.redis)) checkGateways(root, root.redis, report);
  const chain = readable(clients, root.clients).identify ?? [];
  const end = chain.findIndex((entry) => 'ip' in entry);
  if (end >= 0 && end < chain.length - 1) {
    report(
      'warning',
      ['clients', 'identify', end + 1],
      'never reached: `ip` names every caller, so it ends the chain',
    );
  }
  checkAddresses(root, report);
}

function checkGateways(root: Tree, written: Tree, report: Report): void {
  if (!isGiven(written, 'gateways')) {
    report(
      'warning',
      ['redis'],
      'no `gateways`: one that starts while this Redis is away takes itself for the only one, and admits the whole of each limit',
    );
  }
  const { enforcement, global } = treeOf(root.limits);
  if (enforcement === 'exact' && isGiven(written, 'cluster') && isTree(global)) {
    report(
      'warning',
      ['limits', 'enforcement'],
      'in a cluster the global limit lies in another slot than a client: each request then asks two nodes',
    );
  }
}

function checkAddresses(root: Tree, report: Report): void {
  const taken: Address[] = [];
  for (const { path, value } of placed(root, 'listeners')) {
    const { host, port } = readable(listener, value);
    if (host === undefined || port === undefined) continue;
    if (taken.some((other) => meet(other, { host, port })))
      report('error', [...path, 'port'], `port ${port} is taken by another listener`);
    taken.push({ host, port });
  }
  const { host, port } = readable(admin, root.admin);
  if (host === undefined || port === undefined) return;
  if (taken.some((other) => meet(other, { host, port })))
    report('error', ['admin', 'port'], `port ${port} is taken by a listener`);
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

function checkService(own: Service, written: Tree, path: Path, report: Report): void {
  const { readiness, sla, timeout, affinity, instances, versions } = own;
  if (readiness !== undefined && readiness.timeout > readiness.interval) {
    report(
      'warning',
      [...path, 'readiness', 'timeout'],
      'longer than `readiness.interval`: probes of one instance would overlap',
    );
  }
  if (sla !== undefined && timeout !== undefined && sla > timeout.request) {
    report(
      'warning',
      [...path, 'sla'],
      'longer than `timeout.request`: an answer could be in time and cut all the same',
    );
  }
  if (affinity?.keys.length === 0) {
    report(
      'warning',
      [...path, 'affinity'],
      'no `keys`: random ones are made at start, so sessions end with the gateway',
    );
  }
  if (versions?.cookie !== undefined && versions?.cookie !== null && versions.cookie === affinity?.cookie) {
    const message = "is the session's cookie too: the browser would keep one of them; give it another name";
    report('error', [...path, 'versions', 'cookie'], message);
  }
  if (instances === undefined) return;
  if (isTree(written.tls) && instances.length > 0 && instances.every(({ url }) => url.startsWith('http:'))) {
    report('warning', [...path, 'tls'], 'has no effect: all instances are http');
  }
  const running = new Set(instances.map((each) => each.version));
  for (const version of Object.keys(versions?.canary ?? {})) {
    if (!isGiven(written, 'discovery') && !running.has(version)) {
      report(
        'warning',
        [...path, 'versions', 'canary', version],
        `no instance runs the version \`${version}\``,
      );
    }
  }
}

/** Only of services and routes of which all can be read that decides. */
function checkCookies(
  services: ReadonlyMap<string, Service>,
  routes: readonly Route[],
  entrances: readonly Entrance[],
  report: Report,
): void {
  const sticky = [...services].flatMap(([name, { affinity = null }]) => [[name, { affinity }] as const]);
  const leads = routes.flatMap(({ service: to, path, host, methods, match }) =>
    to === undefined ||
    path === undefined ||
    host === undefined ||
    methods === undefined ||
    match === undefined
      ? []
      : [{ service: to, path, host, methods, match }],
  );
  const warn = (path: Path, message: string): void => report('warning', path, message);
  checkSessionCookies(new Map(sticky), leads, warn);
  checkCookiePrefixes(new Map(sticky), entrances, warn);
}

function entrancesOf(root: Tree): readonly Entrance[] {
  return placed(root, 'listeners').map(({ value }) => {
    const { tls, redirectToHttps } = treeOf(value);
    if (isTree(tls)) return 'tls';
    return redirectToHttps === true || typeof redirectToHttps === 'number' ? 'redirect' : 'plain';
  });
}

interface Quota {
  readonly rate?: number | null;
  readonly burst?: number | null;
}

/** None where there is no limit, or none that can be read. */
function bucketOf({ rate, burst }: Quota, path: Path, words: string): Bucket[] {
  if (rate === undefined || rate === null || burst === undefined) return [];
  return [{ path, words, rate, burst: burstOf({ rate, burst }) }];
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

function checkRoute(own: Route, path: Path, services: ReadonlyMap<string, Service>, report: Report): void {
  const { timeout, match, service: name = '' } = own;
  for (const [field, value] of Object.entries(match?.headers ?? {})) {
    if (field.toLowerCase() !== 'upgrade' || value.toLowerCase() !== 'websocket') continue;
    if (services.get(name)?.protocol !== 'h2') continue;
    report(
      'warning',
      [...path, 'match', 'headers', field],
      `WebSockets need HTTP/1.1, and \`${name}\` has \`protocol: h2\`: they are answered 501`,
    );
  }
  const sla = services.get(name)?.sla;
  if (typeof timeout !== 'number' || sla === undefined || sla <= timeout) return;
  report(
    'warning',
    [...path, 'timeout'],
    `shorter than the SLA of \`${name}\`: an answer could be in time and cut all the same`,
  );
}

/** @param limits of the route, as they are written */
function bucketsOf(limits: Tree, path: Path): Bucket[] {
  const bucket = (kind: string, words: string): Bucket[] =>
    bucketOf(readable(quotaFields, limits[kind]), [...path, 'limits', kind], words);
  return [...bucket('perClient', "the route's limit per client"), ...bucket('total', "the route's total")];
}

function checkCost(cost: number | undefined, path: Path, buckets: readonly Bucket[], report: Report): void {
  if (cost === undefined) return;
  for (const { words, burst } of buckets) {
    if (cost > burst) {
      report(
        'error',
        [...path, 'cost'],
        `a request costs ${cost}, and ${words} never holds more than ${burst}: it could never pass`,
      );
    }
  }
}
