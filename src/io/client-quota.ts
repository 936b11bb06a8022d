import { isClientName } from '../clients/client-name.ts';
import { SLOW } from '../limits/fitness.ts';
import { TICKS_PER_MS } from '../limits/gcra.ts';
import { isOwn, type Charge } from '../limits/decision.ts';
import type { HashedName } from '../limits/override-book.ts';
import type { PeekQuestion } from './admin-port.ts';
import { peek, type PeekFigures } from './client-peek.ts';
import { errorMessage } from './error-message.ts';
import { blocksBy, type BlockFigures } from './guard/guards.ts';
import { GcraLimiter, LimitStoreUnavailable } from './limit-store/gcra-limiter.ts';
import type { Snapshot } from './snapshot.ts';
import type { WorkerContext } from './worker-context.ts';
import type { WorkerLimits } from './worker-limits.ts';

/**
 * One client's buckets, looked at and filled for an operator: the worker's part of `admin-limits.ts`.
 *
 * A worker has what it takes: the compiled limits, the store, and what it holds itself. Each bucket is looked at by a
 * limiter of rate-limiter-flexible's kind; its key and arithmetic are those of the requests, so the figures are theirs.
 * Looking charges nothing. Requests in flight and blocks are what this worker knows itself.
 *
 * Limits: a figure is as old as its way here. Many buckets are asked in turns of one pipeline, so that an operator's
 * question is never the burst that makes the store late for requests.
 */

/** As many as leave in one pipeline. Half takes twice the trips; double delays the requests of that turn. */
const BUCKETS_A_TURN = 64;
/** `ip:` and the bucket's name, as logs and instances are told it. */
const BY_HASH = /^ip:([\w-]{22})$/;

/**
 * `look` reads; `fill` fills the client's own buckets in the store; `obey` forgets what this worker knew of them, as after
 * another rate, and `release` what the client is blocked for, too.
 */
export type QuotaAct = 'look' | 'fill' | 'obey' | 'release';

/** One limit as it stands for a client. */
export interface BucketFigures {
  readonly key: string;
  readonly level: Charge['level'];
  /** The tier's or the route's; empty for the limit of everybody. */
  readonly name: string;
  readonly enforced: boolean;
  readonly ratePerSecond: number;
  readonly burst: number;
  /** Whole units left in the store. */
  readonly remaining: number;
  /** Of those taken out, what this worker holds and has not used. */
  readonly leased: number;
  /** Until one unit is left in the store, ms; 0 when one is. */
  readonly waitMs: number;
  /** Until the bucket is full, ms. */
  readonly fullMs: number;
}

/** Requests in flight of a client, in this worker. */
export interface SlotFigures {
  readonly most: number;
  readonly enforced: boolean;
  readonly inFlight: number;
  /** Slots: those in flight, and idle ones. */
  readonly held: number;
}

/** Who is meant by a name: known without the store. */
export interface NamedClient {
  readonly client: string;
  /** By a row of `clients.keys`; false for an address or the subject of a token, which may never have been seen. */
  readonly configured: boolean;
  readonly bucket: string;
  /** What the bucket is the hash of; null where the question has only that. */
  readonly hashed: HashedName | null;
  readonly tier: string;
  /** The tier is what a token claimed at this worker; another may have seen none. */
  readonly claimed: boolean;
}

export type QuotaAnswer =
  | (NamedClient & {
      readonly state: 'known';
      readonly limits: readonly BucketFigures[];
      /** Where the tier limits requests in flight. */
      readonly slots?: SlotFigures;
      /** As far as this worker knows. */
      readonly blocks: readonly BlockFigures[];
      readonly peek?: PeekAnswer;
    })
  | { readonly state: 'unknown' }
  | { readonly state: 'no-route'; readonly routes: readonly string[] }
  | { readonly state: 'unavailable'; readonly reason: string; readonly named?: NamedClient };

export interface PeekAnswer {
  readonly route: string;
  readonly cost: number;
  /** Those that it would meet on this route. */
  readonly blocks: readonly BlockFigures[];
  readonly levels: readonly PeekFigures[];
}

interface NamedCharge extends Charge {
  readonly name: string;
}

export class ClientQuotas {
  readonly #context: WorkerContext;
  readonly #limits: WorkerLimits;

  constructor(context: WorkerContext, limits: WorkerLimits) {
    this.#context = context;
    this.#limits = limits;
  }

  /** Never rejects. @param name a configured client, `ip:` and a hash, or an address */
  async answer(act: QuotaAct, name: string, asked?: PeekQuestion): Promise<QuotaAnswer> {
    const { snapshot } = this.#context;
    if (snapshot === undefined) return { state: 'unavailable', reason: 'starting' };
    const client = this.#named(snapshot, name);
    if (client === undefined) return { state: 'unknown' };
    const route = snapshot.routes.find((each) => each.name === asked?.route);
    if (asked !== undefined && route === undefined)
      return { state: 'no-route', routes: [...new Set(snapshot.routes.map((each) => each.name))] };
    const charges = chargesOf(snapshot, client);
    try {
      if (act === 'fill')
        await inTurns(ownKeys(charges), async (key) => await this.#limits.store.forget(key));
      if (act === 'release') await this.#context.guards.forgive(client.bucket);
      if (act === 'release' || act === 'obey') await this.#forget(charges);
      const limits = await inTurns(charges, async (charge) => await this.#look(charge));
      const { bucket, tier } = client;
      const now = this.#context.now();
      const blocks = this.#context.guards.blocksOf(bucket, tier, now);
      const slots = this.#slots(snapshot, client);
      const told = { state: 'known', ...client, limits, ...(slots && { slots }), blocks } as const;
      if (route === undefined) return told;
      const cost = asked?.cost ?? route.cost;
      const met = [snapshot.guards?.penalties.get(tier), route.guard];
      const levels = await this.#peek(snapshot.chargesFor(route, tier, bucket, false).charges, cost);
      const peeked = {
        route: route.name,
        cost,
        blocks: met.flatMap((each) => blocksBy(each, bucket, now)),
        levels,
      };
      return { ...told, peek: peeked };
    } catch (error) {
      // A deadline that passed because our own loop was late leaves the store fit, and without a reason.
      const told = error instanceof LimitStoreUnavailable ? SLOW : errorMessage(error);
      const { reason } = this.#limits.store.view(this.#context.now());
      return { state: 'unavailable', reason: reason || told, named: client };
    }
  }

  /** Answers come in the order of the questions: after one look no refusal from before can arrive any more. */
  async #forget(charges: readonly NamedCharge[]): Promise<void> {
    try {
      await inTurns(charges.slice(0, 1), async (charge) => await this.#look(charge));
    } finally {
      this.#limits.limiter.forget(ownKeys(charges));
    }
  }

  #named(snapshot: Snapshot, name: string): NamedClient | undefined {
    const { defaultTier, identify } = snapshot.configuration.clients;
    const { identity } = snapshot;
    // Not from the configuration: keys may have been renewed since.
    const own = identity.tierOfClient(name);
    const claim = identity.tierClaimed(name);
    const tier = claim ?? own ?? defaultTier;
    const told = { configured: own !== undefined, tier, claimed: claim !== undefined };
    if (own === undefined && claim === undefined) {
      const bucket = BY_HASH.exec(name)?.[1] ?? identity.bucketOfAddress(name);
      if (bucket !== undefined) {
        const address = identity.nameOfAddress(name);
        const hashed = address === undefined ? null : ({ kind: 'ip', name: address } as const);
        return { client: `ip:${bucket}`, hashed, ...told, bucket };
      }
      // Subjects of tokens and certificates are listed nowhere: any name may be one.
      const isNamed = identify.some((each) => 'jwt' in each || 'mtls' in each);
      if (!isNamed || !isClientName(name)) return undefined;
    }
    const bucket = identity.bucketOfClient(name);
    return { client: name, hashed: { kind: 'client', name }, ...told, bucket };
  }

  async #peek(charges: readonly Charge[], cost: number): Promise<readonly PeekFigures[]> {
    const { now } = this.#context;
    const { store, limiter } = this.#limits;
    return await peek(store, charges, cost, now, (key) => limiter.leased(key, now()));
  }

  /** The tier's: on every route the same. */
  #slots(snapshot: Snapshot, { tier, bucket }: NamedClient): SlotFigures | undefined {
    const [route] = snapshot.routes;
    const limit = route && snapshot.chargesFor(route, tier, bucket, false).slots;
    if (limit === undefined) return undefined;
    const { slots } = this.#context;
    const { key, most, enforced } = limit;
    return { most, enforced, inFlight: slots.inFlight(key), held: slots.held(key) };
  }

  async #look(charge: NamedCharge): Promise<BucketFigures> {
    const { key, level, name, enforced, rate } = charge;
    const seen = await this.#limiter(charge).get(key);
    const fullMs = seen?.msBeforeNext ?? 0;
    const remaining = seen?.remainingPoints ?? rate.burst;
    const waitMs = Math.ceil(fullMs - (rate.depthTicks - rate.unitTicks) / TICKS_PER_MS);
    return {
      key,
      level,
      name,
      enforced,
      ratePerSecond: rate.ratePerSecond,
      burst: rate.burst,
      remaining,
      // With the store's word and not later, or a lease that came between would count twice.
      leased: this.#limits.limiter.leased(key, this.#context.now()),
      waitMs: remaining > 0 ? 0 : waitMs,
      fullMs,
    };
  }

  #limiter({ rate }: Charge): GcraLimiter {
    return new GcraLimiter({ store: this.#limits.store, rate, clock: this.#context.now });
  }
}

function ownKeys(charges: readonly NamedCharge[]): string[] {
  return [...new Set(charges.filter(isOwn).map(({ key }) => key))];
}

/** Every limit that some request of the client is charged at, once. */
function chargesOf(snapshot: Snapshot, { bucket, tier }: NamedClient): NamedCharge[] {
  const found = new Map<string, NamedCharge>();
  for (const route of snapshot.routes) {
    for (const charge of snapshot.chargesFor(route, tier, bucket, false).charges) {
      const name = nameOf(charge, tier, route.name);
      found.set(`${charge.key} ${name}`, { ...charge, name });
    }
  }
  return [...found.values()];
}

function nameOf({ level }: Charge, tier: string, route: string): string {
  switch (level) {
    case 'client':
    case 'tier':
      return tier;
    case 'route':
    case 'route-total':
      return route;
    case 'global':
      return '';
    default:
      return level satisfies never;
  }
}

/** Asks for some at a time, in order. */
async function inTurns<T, R>(items: readonly T[], ask: (item: T) => Promise<R>): Promise<R[]> {
  const answers: R[] = [];
  for (let at = 0; at < items.length; at += BUCKETS_A_TURN) {
    // The next turn waits for the one before, or all would leave at once.
    answers.push(...(await Promise.all(items.slice(at, at + BUCKETS_A_TURN).map(ask))));
  }
  return answers;
}
