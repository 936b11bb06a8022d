import type { Logger } from 'pino';
import type { RedisConfiguration } from '../../config/schema.ts';
import type { Random } from '../kernel/random.ts';
import { beforeDeadline } from './limit-store/before-deadline.ts';
import { LIVE_KEY, SECRET_KEY } from './limit-store/scripts.ts';
import { storeWarnings } from './limit-store/store-warnings.ts';

/**
 * The supervisor's part in a Redis that several gateways share: the secret behind the names of clients, what an operator should
 * know of that Redis, and a farewell.
 *
 * **The secret**, where the configuration has no `redis.keySecret`: random, written by whoever comes first (SET NX), read by
 * all. A Redis that comes back empty is given the one in use by whichever gateway sees it first, which all of them have, so
 * that buckets keep their names. Whoever started while Redis was away uses one of its own until then: its clients have one
 * fresh burst when it learns better.
 * **A farewell**: a gateway that ends takes its name out of the live ones, so that the others have its share at once and not
 * three seconds later. The heartbeats themselves are the workers': each tries its own connection by them.
 * Limits: without `keySecret` the secret is as well kept as that Redis; `check` advises to set one.
 */

/** An answer that takes longer is none. Half gives up on a Redis that forks; double delays a start by as much. */
const DEADLINE_MS = 500;
/** How often it is seen to that the secret is still there. Half is no safer; double leaves an emptied Redis without for long. */
const LOOK_MS = 10_000;
const FAREWELL_MS = 100;
/** Anything shorter was not written by a gateway. */
const LEAST_SECRET_LENGTH = 16;

/** What is used of the client library. */
interface Client {
  set(key: string, value: string, condition: 'NX'): Promise<unknown>;
  get(key: string): Promise<string | null>;
  hdel(key: string, field: string): Promise<unknown>;
  info(): Promise<string>;
  on(event: 'ready' | 'error', told: () => void): unknown;
  disconnect(reconnect?: boolean): void;
}

export interface RedisMembershipParts {
  readonly log: Pick<Logger, 'warn'>;
  readonly random: Random;
  /** This gateway's name among the live ones. */
  readonly gateway: string;
  /** Offered to the others where none has a secret yet. */
  readonly ownSecret: string;
  /** Another secret holds from now on. */
  readonly onSecret: () => void;
  readonly onSettled: () => void;
}

export class RedisMembership {
  readonly #parts: RedisMembershipParts;
  #mark = 'null';
  #client: Client | undefined = undefined;
  #look: NodeJS.Timeout | undefined = undefined;
  #sharesSecret = false;
  #secret = '';
  #settled = true;
  #warned = '';
  #closed = false;

  constructor(parts: RedisMembershipParts) {
    this.#parts = parts;
  }

  /** Whether Redis has told the secret, or will not soon. */
  get settled(): boolean {
    return this.#settled;
  }

  /** The secret that all gateways of this Redis share; this gateway's own while it does not know. */
  get secret(): string {
    return this.#secret === '' ? this.#parts.ownSecret : this.#secret;
  }

  async configure(redis: RedisConfiguration | null): Promise<void> {
    const mark = JSON.stringify(redis);
    if (mark === this.#mark || this.#closed) return;
    this.#mark = mark;
    this.#end();
    if (redis === null) return;
    this.#sharesSecret = redis.keySecret === null || redis.keySecret === '';
    this.#settled = !this.#sharesSecret;
    // Loaded where it is wanted: a gateway without Redis starts without the client library.
    const { openRedis } = await import('./limit-store/redis-options.ts');
    if (this.#closed || this.#mark !== mark) return;
    const client = openRedis(redis, this.#parts.random) as Client;
    this.#client = client;
    // Without this listener the first refused connection ends the process; the workers tell that Redis is down.
    client.on('error', () => {
      this.#settle();
    });
    client.on('ready', () => {
      void this.#greet(client);
    });
    this.#look = setInterval(() => {
      void this.#agree(client);
    }, LOOK_MS);
    this.#look.unref();
  }

  /** Resolves when this gateway is no longer among the live ones, or could not say so in time. */
  async leave(): Promise<void> {
    const client = this.#client;
    if (client === undefined) return;
    try {
      await beforeDeadline(client.hdel(LIVE_KEY, this.#parts.gateway), FAREWELL_MS);
    } catch {
      // It is forgotten three seconds later.
    }
  }

  close(): void {
    this.#closed = true;
    this.#end();
  }

  #end(): void {
    clearInterval(this.#look);
    this.#client?.disconnect();
    this.#client = undefined;
    this.#settled = true;
  }

  async #greet(client: Client): Promise<void> {
    await this.#agree(client);
    try {
      const warnings = storeWarnings(await beforeDeadline(client.info(), DEADLINE_MS));
      const text = warnings.join('; ');
      // Once, not with every new connection.
      if (text === this.#warned) return;
      this.#warned = text;
      for (const warning of warnings) this.#parts.log.warn(warning);
    } catch {
      // Some users of a Redis may not ask for it.
    }
  }

  /** One secret for all: the first that was written. */
  async #agree(client: Client): Promise<void> {
    if (!this.#sharesSecret) return;
    try {
      await beforeDeadline(client.set(SECRET_KEY, this.secret, 'NX'), DEADLINE_MS);
      const found = await beforeDeadline(client.get(SECRET_KEY), DEADLINE_MS);
      if (client !== this.#client) return;
      if (found !== null && found.length >= LEAST_SECRET_LENGTH && found !== this.#secret) {
        const changed = found !== this.secret;
        this.#secret = found;
        if (changed) this.#parts.onSecret();
      }
    } catch {
      // Tried again by the next look, or with the next connection.
    }
    this.#settle();
  }

  #settle(): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#parts.onSettled();
  }
}
