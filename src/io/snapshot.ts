import type { FastifyInstance } from 'fastify';
import type { Configuration, RouteConfiguration } from '../../config/schema.ts';
import { parseNetworks, type TrustedNetworks } from '../clients/address.ts';
import { IdentityChain, type IdentityEntry, type UnverifiedToken } from '../clients/identity.ts';
import { requestPlan, type RequestPlan } from '../forwarding/request-headers.ts';
import { responsePlan, type ResponsePlan } from '../forwarding/response-headers.ts';
import { RouteTable } from '../forwarding/route-table.ts';
import { ErrorPage } from '../kernel/error-page.ts';
import { RecentMap } from '../kernel/lru.ts';
import { rankOf, type PriorityRank } from '../kernel/priority.ts';
import { PolicyTexts, type FieldStyle } from '../limits/fields.ts';
import { compileRate, type CompiledRate } from '../limits/gcra.ts';
import {
  clientKey,
  globalKey,
  digestOfRoute,
  routeKey,
  routeTotalKey,
  slotsKey,
  tierKey,
} from '../limits/keys.ts';
import type { Charge } from '../limits/decision.ts';
import { Overrides } from '../limits/overrides.ts';
import { renamer, type Guard, type GuardSet } from './guard/guards.ts';
import { LimitProblems } from './limit-problems.ts';
import type { CallerKnowledge } from './caller-knowledge.ts';
import type { SlotLimit } from '../limits/slots.ts';
import type { ServiceRuntime } from './service-runtime.ts';
import type { Next } from './steps.ts';
import type { Tokens, TokenVerdict } from './tokens.ts';

/**
 * One immutable compiled configuration of a worker.
 *
 * Everything that a request needs and that a configuration decides is computed here once: route table, limits as integers,
 * header plans, identity chain, and the ordered steps. A request keeps the snapshot it began
 * with; a reload only changes which one new requests begin with.
 */

export interface CompiledRoute {
  /** Label in metrics and logs: what the configuration says, nothing a caller chose. */
  readonly name: string;
  readonly service: ServiceRuntime;
  readonly rank: PriorityRank;
  readonly cost: number;
  readonly timeoutMs: number;
  /** Set for a rewriting route: the router's constraint that leads to its mount. */
  readonly mount: string | undefined;
  readonly requestPlan: RequestPlan;
  readonly responsePlan: ResponsePlan;
  readonly perClient: CompiledRate | undefined;
  readonly perClientEnforced: boolean;
  readonly digest: string;
  readonly total: Charge | undefined;
  readonly guard: Guard | undefined;
  /** GET and HEAD may have a body. */
  readonly allowBody: boolean;
  /** `%2F` passes in the path. */
  readonly encodedSlash: boolean;
  /** The same route to the service that answers while a dependency of this one is down. */
  readonly fallback: CompiledRoute | undefined;
}

interface CompiledTier {
  readonly rank: PriorityRank;
  readonly rate: CompiledRate | undefined;
  readonly enforced: boolean;
  /** Requests that each client may have in flight. */
  readonly concurrency: number | null;
  readonly total: Charge | undefined;
}

/** What a client is charged at on a route, and how its answers tell of it; kept, since most requests of a client are alike. */
export interface ClientCharges {
  /** Undefined: any route that has no limits of its own. */
  readonly route: CompiledRoute | undefined;
  readonly charges: readonly Charge[];
  /** The value of `RateLimit-Policy`. */
  readonly policy: string;
  /** How many of the client's requests may be in flight; undefined: any number. */
  readonly slots: SlotLimit | undefined;
  /** Those composed before for the same client. */
  readonly next: ClientCharges | undefined;
}

const NO_CHARGES: ClientCharges = Object.freeze({
  route: undefined,
  charges: [],
  policy: '',
  slots: undefined,
  next: undefined,
});

/** A client in one tier, under one version of the overrides. */
interface KeptClient {
  readonly tier: string;
  readonly version: number;
  readonly own: Charge | undefined;
  readonly slots: SlotLimit | undefined;
  /** A chain and no array: most clients have one. */
  byRoute: ClientCharges | undefined;
  /** Links of the chain. */
  routes: number;
}

/** Clients whose charges are kept, some 800 B each. Half: the hot ones of a large site are computed anew. */
const KEPT_CLIENTS = 8192;
/**
 * Routes with limits of their own that are kept for a client, 400 B each. Half: whoever goes round five of them pays 1 to
 * 2 µs a request for keys made anew; double: as many such clients as are kept hold 57 MB and not 30.
 */
const KEPT_ROUTES = 8;

/** What a request of a snapshot walks through. */
export interface RequestPath {
  /** Begins the ordered steps. */
  readonly walk: Next;
  /** Serves rewriting routes, in the last of them. */
  readonly application: FastifyInstance;
}

export class Snapshot {
  readonly generation: number;
  readonly configuration: Configuration;
  readonly routes: readonly CompiledRoute[];
  readonly table: RouteTable;
  readonly identity: IdentityChain;
  readonly trusted: TrustedNetworks;
  readonly limitHeaders: FieldStyle | 'none';
  /** What is blocked before its limits are asked; undefined where nothing can be. */
  readonly guards: GuardSet | undefined;
  readonly problems = new LimitProblems();
  readonly serverTiming: boolean;
  /** The operator's own page for refused navigations; undefined: the built-in one. */
  readonly errorPage: ErrorPage | undefined;
  /** Some route takes what the others refuse; the front gate asks the route it found. */
  readonly passesUnusualBody: boolean;
  readonly passesEncodedSlash: boolean;
  readonly #tiers: ReadonlyMap<string, CompiledTier>;
  readonly #global: Charge | undefined;
  readonly #limited: boolean;
  readonly #enforced: boolean;
  readonly #overrides: Overrides;
  readonly #tokens: Tokens | undefined;
  readonly #policies = new PolicyTexts();
  readonly #clients = new RecentMap<string, KeptClient>(KEPT_CLIENTS);
  /** Set once, right after construction: the steps need the snapshot and the other way round. */
  path: RequestPath | undefined = undefined;

  /** @throws RangeError when a limit cannot be kept exactly; the loader refuses such a configuration before. */
  constructor(
    generation: number,
    configuration: Configuration,
    services: ReadonlyMap<string, ServiceRuntime>,
    clientHashSecret: string,
    overrides = new Overrides(),
    guards?: GuardSet,
    who?: CallerKnowledge,
  ) {
    const { limits, clients, trust, tiers, log } = configuration;
    const enforce = limits.mode === 'enforce';
    this.generation = generation;
    this.configuration = configuration;
    this.limitHeaders = limits.headers;
    this.guards = guards;
    this.serverTiming = log.serverTiming;
    this.errorPage =
      configuration.errorPage === null ? undefined : new ErrorPage(configuration.errorPage.text);
    this.trusted = parseNetworks(trust.proxies);
    this.#limited = limits.mode !== 'off';
    this.#enforced = enforce;
    this.#overrides = overrides;
    const secretBefore = who?.hashUnder(clientHashSecret) ?? '';
    this.identity = new IdentityChain({
      chain: clients.identify.map((entry): IdentityEntry => {
        if ('header' in entry) return { kind: 'header', name: entry.header };
        if ('cookie' in entry) return { kind: 'cookie', name: entry.cookie };
        if ('ip' in entry) return { kind: 'ip', ipv6Prefix: entry.ip.ipv6Prefix };
        if ('mtls' in entry) return { kind: 'mtls' };
        if (who === undefined) throw new RangeError('nobody verifies tokens');
        return { kind: 'jwt', header: entry.jwt.header, verifier: who.tokens.verifierOf(entry.jwt) };
      }),
      keys: clients.keys,
      unknownKeys: clients.unknownKeys,
      defaultTier: clients.defaultTier,
      allow: clients.allow,
      deny: clients.deny,
      tiers: new Set(Object.keys(tiers)),
      hashSecret: clientHashSecret,
      ...(secretBefore !== '' &&
        guards !== undefined && { before: { hashSecret: secretBefore, renamed: renamer(guards) } }),
      isHeld: (bucket) => who?.isHeld(clientKey(bucket)) ?? false,
    });
    this.#tokens = who?.tokens;
    const dearest = Math.max(1, ...configuration.routes.map(costOf));
    this.#tiers = new Map(
      Object.entries(tiers).map(([name, tier]): [string, CompiledTier] => [
        name,
        {
          rank: rankOf(tier.priority),
          rate: tier.rate === null ? undefined : compileRate(tier.rate, tier.burst, dearest),
          enforced: enforce && tier.mode === 'enforce',
          concurrency: tier.concurrency,
          total:
            tier.total === null
              ? undefined
              : charge(tierKey(name), 'tier', tier.total, dearest, enforce && tier.total.mode === 'enforce'),
        },
      ]),
    );
    this.#global =
      limits.global === null
        ? undefined
        : charge(globalKey(), 'global', limits.global, dearest, enforce && limits.global.mode === 'enforce');
    this.routes = configuration.routes.map((route, index) =>
      compileRoute(route, index, configuration, services, guards?.routes[index]),
    );
    this.passesUnusualBody = this.routes.some(({ allowBody }) => allowBody);
    this.passesEncodedSlash = this.routes.some(({ encodedSlash }) => encodedSlash);
    this.table = new RouteTable(
      configuration.routes.map(({ path, host, methods, match }) => ({
        path,
        host,
        methods,
        headers: match.headers,
      })),
    );
  }

  /** Never rejects; undefined: nobody could. */
  async verifyToken(unverified: UnverifiedToken): Promise<TokenVerdict | undefined> {
    return await this.#tokens?.verify(unverified);
  }

  rankOfTier(tier: string): PriorityRank {
    return this.#tiers.get(tier)?.rank ?? 1;
  }

  /** Every limit that a request of this client on this route is charged at, in the order of precedence. */
  chargesFor(route: CompiledRoute, tier: string, bucket: string, exempt: boolean): ClientCharges {
    if (!this.#limited || exempt) return NO_CHARGES;
    let kept = this.#clients.get(bucket);
    if (kept === undefined || kept.tier !== tier || kept.version !== this.#overrides.version) {
      kept = this.#newClient(tier, bucket);
      this.#clients.set(bucket, kept);
    }
    const limited = route.perClient === undefined && route.total === undefined ? undefined : route;
    for (let known = kept.byRoute; known !== undefined; known = known.next)
      if (known.route === limited) return known;
    const charges = this.#compose(route, kept, bucket);
    const { slots } = kept;
    const policy = this.#policies.of(charges, slots);
    // A full chain is let go as a whole.
    const next = kept.routes === KEPT_ROUTES ? undefined : kept.byRoute;
    kept.routes = next === undefined ? 1 : kept.routes + 1;
    kept.byRoute = { route: limited, charges, policy, slots, next };
    return kept.byRoute;
  }

  #newClient(tier: string, bucket: string): KeptClient {
    const compiled = this.#tiers.get(tier);
    const { version } = this.#overrides;
    const rate = this.#overrides.rateOf(bucket) ?? compiled?.rate;
    const enforced = compiled?.enforced ?? this.#enforced;
    const own: Charge | undefined =
      rate === undefined ? undefined : { key: clientKey(bucket), level: 'client', rate, enforced };
    return { tier, version, own, slots: slotLimit(compiled, bucket), byRoute: undefined, routes: 0 };
  }

  #compose(route: CompiledRoute, { tier, own }: KeptClient, bucket: string): readonly Charge[] {
    const charges: Charge[] = own === undefined ? [] : [own];
    const total = this.#tiers.get(tier)?.total;
    if (route.perClient !== undefined) {
      charges.push({
        key: routeKey(bucket, route.digest),
        level: 'route',
        rate: route.perClient,
        enforced: route.perClientEnforced,
      });
    }
    if (total !== undefined) charges.push(total);
    if (route.total !== undefined) charges.push(route.total);
    if (this.#global !== undefined) charges.push(this.#global);
    // Without the places that an array keeps in reserve.
    return charges.slice();
  }
}

function slotLimit(tier: CompiledTier | undefined, bucket: string): SlotLimit | undefined {
  if (tier === undefined || tier.concurrency === null) return undefined;
  return { key: slotsKey(bucket), most: tier.concurrency, enforced: tier.enforced };
}

function charge(
  key: string,
  level: Charge['level'],
  quota: { rate: number; burst: number },
  largestCost: number,
  enforced: boolean,
): Charge {
  return { key, level, rate: compileRate(quota.rate, quota.burst, largestCost), enforced };
}

/** What a request of the route is charged at least; a free one is charged nowhere. */
function costOf({ cost }: RouteConfiguration): number {
  return Math.max(1, cost);
}

/** The same route to the other service, for which no third one answers. */
function compileFallback(
  route: RouteConfiguration,
  index: number,
  configuration: Configuration,
  services: ReadonlyMap<string, ServiceRuntime>,
  guard: Guard | undefined,
): CompiledRoute | undefined {
  const policy = configuration.services[route.service]?.onDependencyDown;
  if (typeof policy !== 'object') return undefined;
  return compileRoute({ ...route, service: policy.fallback }, index, configuration, services, guard, false);
}

function compileRoute(
  route: RouteConfiguration,
  index: number,
  configuration: Configuration,
  services: ReadonlyMap<string, ServiceRuntime>,
  guard: Guard | undefined,
  hasFallback = true,
): CompiledRoute {
  const service = services.get(route.service);
  // Not `service.configuration`: a service that is known already takes the new one only when all has been built.
  const policy = configuration.services[route.service];
  if (service === undefined || policy === undefined)
    throw new RangeError(`route ${route.path} names no service`);
  const enforce = configuration.limits.mode === 'enforce';
  const { perClient, total } = route.limits;
  const name = `${route.host ?? ''}${route.path}`;
  const digest = digestOfRoute(route);
  return {
    name,
    service,
    rank: route.priority === null ? 3 : rankOf(route.priority),
    cost: route.cost,
    timeoutMs: route.timeout ?? policy.timeout.request,
    mount: route.rewrite === null ? undefined : `r${index}`,
    requestPlan: requestPlan(route.headers.request),
    responsePlan: responsePlan(route.headers.response, {
      prefix: route.path,
      rewrite: route.rewrite,
      instances: policy.instances.map(({ url }) => url),
      isInstance: (place) => service.isInstance(place),
    }),
    perClient: perClient === null ? undefined : compileRate(perClient.rate, perClient.burst, costOf(route)),
    perClientEnforced: enforce && perClient?.mode !== 'observe',
    digest,
    guard,
    allowBody: route.allowBody,
    encodedSlash: route.encodedSlash === 'pass',
    fallback: hasFallback ? compileFallback(route, index, configuration, services, guard) : undefined,
    total:
      total === null
        ? undefined
        : charge(
            routeTotalKey(digest),
            'route-total',
            total,
            costOf(route),
            enforce && total.mode === 'enforce',
          ),
  };
}
