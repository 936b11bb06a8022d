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
  routeDigest,
  routeKey,
  routeTotalKey,
  slotsKey,
  tierKey,
} from '../limits/keys.ts';
import type { Charge } from '../limits/decision.ts';
import { Overrides } from '../limits/overrides.ts';
import type { Guard, GuardSet } from './guard/guards.ts';
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
  readonly route: CompiledRoute | undefined;
  readonly tier: string;
  readonly charges: readonly Charge[];
  /** The value of `RateLimit-Policy`. */
  readonly policy: string;
  /** How many of the client's requests may be in flight; undefined: any number. */
  readonly slots: SlotLimit | undefined;
  /** Of the overrides that these were composed under. */
  readonly version: number;
}

const NO_CHARGES: ClientCharges = Object.freeze({
  route: undefined,
  tier: '',
  charges: [],
  policy: '',
  slots: undefined,
  version: 0,
});
/** Clients whose last charges are kept, some 600 B each. Half: the hot ones of a large site are computed anew. */
const KEPT_CLIENTS = 8192;

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
  readonly #clients = new RecentMap<string, ClientCharges>(KEPT_CLIENTS);
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
      isHeld: (bucket) => who?.isHeld(clientKey(bucket)) ?? false,
    });
    this.#tokens = who?.tokens;
    this.#tiers = new Map(
      Object.entries(tiers).map(([name, tier]): [string, CompiledTier] => [
        name,
        {
          rank: rankOf(tier.priority),
          rate: tier.rate === null ? undefined : compileRate(tier.rate, tier.burst),
          enforced: enforce && tier.mode === 'enforce',
          concurrency: tier.concurrency,
          total:
            tier.total === null
              ? undefined
              : charge(tierKey(name), 'tier', tier.total, enforce && tier.total.mode === 'enforce'),
        },
      ]),
    );
    this.#global =
      limits.global === null
        ? undefined
        : charge(globalKey(), 'global', limits.global, enforce && limits.global.mode === 'enforce');
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
    const kept = this.#clients.get(bucket);
    const { version } = this.#overrides;
    if (kept?.route === route && kept.tier === tier && kept.version === version) return kept;
    const compiled = this.#tiers.get(tier);
    const charges = this.#compose(route, compiled, bucket);
    const slots = slotLimit(compiled, bucket);
    if (charges.length === 0 && slots === undefined) return NO_CHARGES;
    const made = { route, tier, charges, policy: this.#policies.of(charges, slots), slots, version };
    this.#clients.set(bucket, made);
    return made;
  }

  #compose(route: CompiledRoute, tier: CompiledTier | undefined, bucket: string): readonly Charge[] {
    const charges: Charge[] = [];
    const rate = this.#overrides.rateOf(bucket) ?? tier?.rate;
    if (rate !== undefined) {
      const enforced = tier?.enforced ?? this.#enforced;
      charges.push({ key: clientKey(bucket), level: 'client', rate, enforced });
    }
    if (route.perClient !== undefined) {
      charges.push({
        key: routeKey(bucket, route.digest),
        level: 'route',
        rate: route.perClient,
        enforced: route.perClientEnforced,
      });
    }
    if (tier?.total !== undefined) charges.push(tier.total);
    if (route.total !== undefined) charges.push(route.total);
    if (this.#global !== undefined) charges.push(this.#global);
    return charges;
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
  enforced: boolean,
): Charge {
  return { key, level, rate: compileRate(quota.rate, quota.burst), enforced };
}

function compileRoute(
  route: RouteConfiguration,
  index: number,
  configuration: Configuration,
  services: ReadonlyMap<string, ServiceRuntime>,
  guard: Guard | undefined,
): CompiledRoute {
  const service = services.get(route.service);
  // Not `service.configuration`: a service that is known already takes the new one only when all has been built.
  const policy = configuration.services[route.service];
  if (service === undefined || policy === undefined)
    throw new RangeError(`route ${route.path} names no service`);
  const enforce = configuration.limits.mode === 'enforce';
  const { perClient, total } = route.limits;
  const name = `${route.host ?? ''}${route.path}`;
  // Routes that differ in methods or headers only are other limits: on one bucket the larger would bring the smaller back.
  const { methods, match } = route;
  const isPlain = methods === null && Object.keys(match.headers).length === 0;
  const digest = routeDigest(isPlain ? name : JSON.stringify([name, methods, match.headers]));
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
    }),
    perClient: perClient === null ? undefined : compileRate(perClient.rate, perClient.burst),
    perClientEnforced: enforce && perClient?.mode !== 'observe',
    digest,
    guard,
    allowBody: route.allowBody,
    encodedSlash: route.encodedSlash === 'pass',
    total:
      total === null
        ? undefined
        : charge(routeTotalKey(digest), 'route-total', total, enforce && total.mode === 'enforce'),
  };
}
