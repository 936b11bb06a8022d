import { addressBucket } from '../clients/address.ts';
import { clientBucket } from '../clients/identity.ts';
import { parseAddress } from '../clients/ip.ts';
import { SLOW } from '../limits/fitness.ts';
import { TICKS_PER_MS } from '../limits/gcra.ts';
import { isOwn, type Charge } from '../limits/limiter.ts';
import { errorMessage } from './error-message.ts';
import { GcraLimiter, LimitStoreUnavailable } from './limit-store/gcra-limiter.ts';
import type { Snapshot } from './snapshot.ts';
import type { WorkerContext } from './worker-context.ts';
import type { WorkerLimits } from './worker-limits.ts';

/**
 * One client's buckets, looked at and filled for an operator: the worker's part of `admin-limits.ts`.
 *
 * A worker has what it takes: the compiled limits, the store, and what it holds itself. Each bucket is a limiter of
 * rate-limiter-flexible's kind here, `get` and `delete`; its key and arithmetic are those of the requests, so the figures
 * are theirs. Looking charges nothing.
 *
 * Limits: a figure is as old as its way here. Many buckets are asked in turns of one pipeline, so that an operator's
 * question is never the burst that makes the store late for requests.
 */

/** As many as leave in one pipeline. Half takes twice the trips; double delays the requests of that turn. */
const BUCKETS_A_TURN = 64;
/** `ip:` and the bucket's name, as logs and instances are told it. */
const BY_HASH = /^ip:([\w-]{22})$/;
const DEFAULT_IPV6_PREFIX = 64;

/** `look` reads; `fill` fills the client's own buckets in the store; `release` forgets what this worker knew of them. */
export type QuotaAct = 'look' | 'fill' | 'release';

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

export type QuotaAnswer =
  | {
      readonly state: 'known';
      readonly client: string;
      /** By a row of `clients.keys`; false for an address, which may never have been seen. */
      readonly configured: boolean;
      readonly tier: string;
      readonly limits: readonly BucketFigures[];
    }
  | { readonly state: 'unknown' }
  | { readonly state: 'unavailable'; readonly reason: string };

interface NamedClient {
  readonly client: string;
  readonly configured: boolean;
  readonly bucket: string;
  readonly tier: string;
}

interface NamedCharge extends Charge {
  readonly name: string;
}

export class ClientQuotas {
  readonly #context: WorkerContext;
  readonly #limits: WorkerLimits;
  /** Under which clients' names become bucket names; set with each configuration. */
  hashSecret = '';

  constructor(context: WorkerContext, limits: WorkerLimits) {
    this.#context = context;
    this.#limits = limits;
  }

  /** Never rejects. @param name a configured client, `ip:` and a hash, or an address */
  async answer(act: QuotaAct, name: string): Promise<QuotaAnswer> {
    const { snapshot } = this.#context;
    if (snapshot === undefined) return { state: 'unavailable', reason: 'starting' };
    const client = this.#named(snapshot, name);
    if (client === undefined) return { state: 'unknown' };
    const charges = chargesOf(snapshot, client);
    try {
      if (act === 'fill') await inTurns(ownKeys(charges), async (key) => await this.#fill(key, charges));
      if (act === 'release') await this.#release(charges);
      const limits = await inTurns(charges, async (charge) => await this.#look(charge));
      return {
        state: 'known',
        client: client.client,
        configured: client.configured,
        tier: client.tier,
        limits,
      };
    } catch (error) {
      // A deadline that passed because our own loop was late leaves the store fit, and without a reason.
      const told = error instanceof LimitStoreUnavailable ? SLOW : errorMessage(error);
      return { state: 'unavailable', reason: this.#limits.store.view(this.#context.now()).reason || told };
    }
  }

  /** Answers come in the order of the questions: after one look no refusal from before can arrive any more. */
  async #release(charges: readonly NamedCharge[]): Promise<void> {
    try {
      await inTurns(charges.slice(0, 1), async (charge) => await this.#look(charge));
    } finally {
      this.#limits.limiter.forget(ownKeys(charges));
    }
  }

  #named(snapshot: Snapshot, name: string): NamedClient | undefined {
    const { clients } = snapshot.configuration;
    // Whatever key of the client it is: all have the same tier.
    const row = clients.keys.find(({ client }) => client === name);
    if (row !== undefined) {
      const bucket = clientBucket(this.hashSecret, 'client', name);
      return { client: name, configured: true, bucket, tier: row.tier };
    }
    const bucket = BY_HASH.exec(name)?.[1] ?? this.#bucketOfAddress(snapshot, name);
    if (bucket === undefined) return undefined;
    return { client: `ip:${bucket}`, configured: false, bucket, tier: clients.defaultTier };
  }

  #bucketOfAddress({ configuration }: Snapshot, address: string): string | undefined {
    if (parseAddress(address) === undefined) return undefined;
    const entry = configuration.clients.identify.find((each) => 'ip' in each);
    const prefix = entry === undefined || !('ip' in entry) ? DEFAULT_IPV6_PREFIX : entry.ip.ipv6Prefix;
    return clientBucket(this.hashSecret, 'ip', addressBucket(address, prefix));
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

  async #fill(key: string, charges: readonly NamedCharge[]): Promise<void> {
    const charge = charges.find((each) => each.key === key);
    if (charge !== undefined) await this.#limiter(charge).delete(key);
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
      // Routes that differ in their methods only share a bucket and may fill it at different rates.
      const { unitTicks, burst } = charge.rate;
      found.set(`${charge.key} ${name} ${unitTicks} ${burst}`, { ...charge, name });
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
