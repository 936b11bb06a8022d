import type { RedisConfiguration } from '../../config/schema.ts';
import { clientBucket } from '../clients/client-name.ts';
import type { Random } from '../kernel/random.ts';
import { OverrideBook, type BookChange, type BookEntry, type HashedName } from '../limits/override-book.ts';
import type { OverrideEntry } from '../limits/overrides.ts';
import type { LimitScope } from './admin-port.ts';
import { errorMessage } from './error-message.ts';
import { ORDERS_AT_ONCE, type OverrideStore } from './limit-store/override-store.ts';
import type { ToWorker } from './ipc.ts';
import { NextEnd } from './next-end.ts';
import { rateText } from './rate-text.ts';

/**
 * Overrides in the supervisor: operators set and remove them, workers and the store are told, others' are heard of.
 *
 * Here at once: the workers' message leaves before the operator's answer. Everywhere within two seconds: each gateway
 * looks at the store's version twice a second. Without Redis the book is all there is, and ends with the supervisor; while
 * Redis is lost what is set holds for this gateway only, and is written as soon as it is back.
 *
 * Another secret behind the hashes of clients, that of a fleet which this gateway was cut off from or of a reload: what was set here goes on
 * under the new hash, there and here. What was set elsewhere follows with the gateway that knows the name.
 *
 * Each of them is a line in the log when it is set, removed and ended. Limits: where that gateway is gone, or the operator knew no more than the
 * hash, an override stays behind under the old one; in an emergency without a reachable admin
 * address there is none; the configuration is the way for what lasts.
 */

/** Half the load on Redis at double, and then a late look is past two seconds; at half nothing is gained for a person. */
const LOOK_MS = 500;

/** The part of pino's logger that is used here. */
interface OverrideLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface LimitOverridesParts {
  readonly now: () => number;
  readonly wallMs: () => number;
  readonly random: Random;
  readonly log: OverrideLog;
  /** This gateway's name, as the others are told it: the host's. */
  readonly host: string;
  readonly broadcast: (message: ToWorker) => void;
  /** A client's own buckets were filled in the store that gateways share, here or elsewhere. */
  readonly onFilled: (bucket: string) => void;
}

/** What an operator asks for. */
export interface OverrideOrder {
  readonly bucket: string;
  /** What the bucket is the hash of; null: nobody knows. */
  readonly hashed: HashedName | null;
  /** As logs know it. */
  readonly client: string;
  readonly ratePerSecond: number;
  readonly burst: number;
  readonly ttlMs: number;
  /** Who asked, for the log. */
  readonly by: string;
}

export class LimitOverrides {
  readonly #parts: LimitOverridesParts;
  readonly #book = new OverrideBook();
  /** For which the store had no place. */
  readonly #refused = new WeakSet<BookEntry>();
  #redis: RedisConfiguration | null = null;
  #mark = '';
  /** Behind the hashes. */
  #secret = '';
  #store: OverrideStore | undefined = undefined;
  /** The store did not answer when it was asked last: until a look finds it again nobody waits for it. */
  #isLost = false;
  /** What is asked of the store is asked in order. */
  #work: Promise<unknown> = Promise.resolve();
  #look: NodeJS.Timeout | undefined = undefined;
  /** Workers end them by their own clocks; here it is for the log and the store. */
  readonly #end: NextEnd;
  #closed = false;

  constructor(parts: LimitOverridesParts) {
    this.#parts = parts;
    this.#end = new NextEnd({
      now: parts.now,
      nextMs: () => this.#book.nextEndMs(),
      onEnd: () => {
        this.#expire();
      },
    });
  }

  /** Another store gets what is in force here, another secret what has a name. Workers have been told by `entries`. */
  configure(redis: RedisConfiguration | null, secret: string): void {
    if (secret !== this.#secret) this.#rename(secret);
    const mark = JSON.stringify(redis);
    if (mark === this.#mark) return;
    this.#mark = mark;
    this.#redis = redis;
    this.#store?.close();
    this.#store = undefined;
    this.#isLost = false;
    clearTimeout(this.#look);
    if (redis === null) return;
    const opened = this.#enqueue(async () => {
      await this.#open(redis);
    });
    opened.catch((error: unknown) => {
      this.#parts.log.warn({ reason: errorMessage(error) }, 'limit overrides stay on this gateway');
    });
  }

  find(bucket: string): BookEntry | undefined {
    return this.#book.find(bucket);
  }

  /** For a worker that is told this secret, and names clients by the one before until it has taken it. */
  entries(secret: string): OverrideEntry[] {
    const now = this.#parts.now();
    const entries = this.#book.entries();
    const renamed =
      secret === this.#secret
        ? []
        : entries.flatMap((entry) =>
            entry.hashed === null ? [] : { ...entry, bucket: bucketOf(secret, entry.hashed) },
          );
    return [...entries, ...renamed].map((entry) => told(entry, now));
  }

  /** Undefined when there is no place for one more. */
  async set(order: OverrideOrder): Promise<LimitScope | undefined> {
    const { hashed, client, ratePerSecond, burst, ttlMs, by } = order;
    // A worker that has taken another secret, or not yet, would have the entry where it is never renamed.
    const bucket = hashed === null ? order.bucket : bucketOf(this.#secret, hashed);
    const { now, wallMs, host, log } = this.#parts;
    if (!this.#book.hasRoom(bucket)) return undefined;
    const entry = this.#book.set({
      bucket,
      hashed,
      client,
      ratePerSecond,
      burst,
      by: host,
      endsMs: now() + ttlMs,
      untilMs: wallMs() + ttlMs,
    });
    this.#tell([entry], [], []);
    const scope = await this.#share();
    if (this.#refused.has(entry)) return undefined;
    log.info({ ...fieldsOf(entry), ttlMs, scope, by }, 'limit override set');
    return scope;
  }

  /** Undefined when there was none. */
  async remove(bucket: string, by: string): Promise<LimitScope | undefined> {
    // It may have been set elsewhere a moment ago.
    await this.#share();
    const entry = this.#book.remove(bucket);
    if (entry === undefined) return undefined;
    this.#tell([], [bucket], []);
    const scope = await this.#share();
    this.#parts.log.info({ ...fieldsOf(entry), scope, by }, 'limit override removed');
    return scope;
  }

  /** Its own buckets were filled: workers of other gateways should forget what they hold. */
  async filled(bucket: string): Promise<LimitScope> {
    this.#book.filled(bucket);
    if (this.#redis !== null) this.#parts.onFilled(bucket);
    return await this.#share();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#look);
    this.#end.stop();
    this.#store?.close();
  }

  #rename(secret: string): void {
    this.#secret = secret;
    const renamed = this.#book.rename((hashed) => bucketOf(secret, hashed));
    if (renamed.length === 0) return;
    this.#parts.log.warn({ renamed: renamed.length }, 'limit overrides written under another secret');
    // Not that the old ones are gone: a worker may still name clients by them.
    this.#tell(renamed, [], []);
    void this.#share();
  }

  async #open(redis: RedisConfiguration): Promise<void> {
    // Loaded where it is wanted: a gateway without Redis starts without the client library.
    const { OverrideStore: Store } = await import('./limit-store/override-store.ts');
    if (this.#closed || this.#redis !== redis) return;
    const { random, now } = this.#parts;
    const store = new Store(redis, {
      random,
      now,
      onReady: () => void this.#enqueue(async () => await this.#sync(store)),
    });
    this.#store = store;
    this.#lookAgain(store);
  }

  #lookAgain(store: OverrideStore): void {
    if (this.#closed || this.#store !== store) return;
    this.#look = setTimeout(() => {
      void this.#enqueue(async () => await this.#sync(store)).then(() => {
        this.#lookAgain(store);
      });
    }, LOOK_MS).unref();
  }

  /** Tells the store what it does not know. */
  async #share(): Promise<LimitScope> {
    if (this.#redis === null) {
      this.#book.dropOrders();
      return 'gateway';
    }
    // Those who wait behind a call that finds the store lost are told with it, and do not try one after the other.
    const share = async (): Promise<boolean> => {
      const store = this.#store;
      return store !== undefined && !this.#isLost && (await this.#sync(store));
    };
    const done = !this.#isLost && (await this.#enqueue(share));
    return done ? 'all-gateways' : 'this-gateway-only';
  }

  /** @returns false when the store does not answer; it is asked again with the next look */
  async #sync(store: OverrideStore): Promise<boolean> {
    if (this.#store !== store) return false;
    try {
      await this.#exchange(store);
      this.#isLost = false;
    } catch {
      this.#isLost = true;
    }
    return !this.#isLost;
  }

  /** Takes what the store has to tell, and tells it what it does not know. Rejects when it does not answer. */
  async #exchange(store: OverrideStore): Promise<void> {
    const book = this.#book;
    const { now, log } = this.#parts;
    const { life, version } = await store.look();
    const verdict = book.judge(life, version);
    if (verdict === 'restore') {
      const restored = await store.restore(book.life, book.version, book.stored());
      if (restored > 0) log.warn({ restored }, 'limit overrides that the store had forgotten written back');
    }
    if (verdict !== 'same') this.#heard(book.read(await store.read(), now()));
    for (;;) {
      const orders = book.orders(ORDERS_AT_ONCE);
      if (orders.length === 0) return;
      const sentMs = now();
      const refused = book.ordered(orders, await store.write(orders, sentMs), sentMs);
      if (refused.length === 0) continue;
      log.warn({ refused: refused.length }, 'limit overrides refused: there are too many');
      for (const entry of refused) this.#refused.add(entry);
      this.#tell(
        [],
        refused.map(({ bucket }) => bucket),
        [],
      );
    }
  }

  #heard({ changed, gone, filled }: BookChange): void {
    if (changed.length + gone.length > 0) {
      const fields = { changed: changed.length, gone: gone.length };
      this.#parts.log.info(fields, 'limit overrides of other gateways taken');
    }
    for (const bucket of filled) this.#parts.onFilled(bucket);
    this.#tell(changed, gone, filled);
  }

  #tell(changed: readonly BookEntry[], gone: readonly string[], filled: readonly string[]): void {
    if (changed.length + gone.length + filled.length > 0) {
      const now = this.#parts.now();
      const entries = changed.map((entry) => told(entry, now));
      this.#parts.broadcast({ type: 'limit-overrides', entries, gone, filled });
    }
    this.#end.changed();
  }

  #expire(): void {
    const ended = this.#book.expire(this.#parts.now());
    for (const entry of ended) this.#parts.log.info(fieldsOf(entry), 'limit override ended');
    const store = this.#store;
    const buckets = ended.filter(({ serial }) => serial > 0).map(({ bucket }) => bucket);
    if (store === undefined || buckets.length === 0) return;
    void this.#enqueue(async () => {
      try {
        await store.tidy(buckets);
      } catch {
        // It stays in the hash and counts for nothing.
      }
    });
  }

  async #enqueue<T>(job: () => Promise<T>): Promise<T> {
    const done = this.#work.then(job);
    this.#work = done.catch(() => undefined);
    return await done;
  }
}

function bucketOf(secret: string, { kind, name }: HashedName): string {
  return clientBucket(secret, kind, name);
}

function told({ bucket, ratePerSecond, burst, endsMs }: BookEntry, now: number): OverrideEntry {
  return { bucket, ratePerSecond, burst, leftMs: Math.max(0, endsMs - now) };
}

function fieldsOf(entry: BookEntry): Readonly<Record<string, unknown>> {
  const { client, ratePerSecond, burst, untilMs, by } = entry;
  return {
    client,
    rate: rateText(ratePerSecond),
    burst,
    until: new Date(untilMs).toISOString(),
    gateway: by,
  };
}
