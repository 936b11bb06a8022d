import type { Logger } from 'pino';
import type { RedisConfiguration } from '../../config/schema.ts';
import type { Random } from '../kernel/random.ts';
import { AnswersInTime } from './limit-store/answers-in-time.ts';
import { beforeDeadline } from './limit-store/before-deadline.ts';
import { AGREE, LIVE_KEY, SECRET_KEY } from './limit-store/scripts.ts';
import { storeWarnings } from './limit-store/store-warnings.ts';

/**
 * The supervisor's part in a Redis that several gateways share: the secret behind the names of clients, what an operator should
 * know of that Redis, and a farewell.
 *
 * **The secret**, where the configuration has no `redis.keySecret`: random, written by whoever comes first, taken over by all
 * others. Twice a second each says which one it has, and since when that one has been shared; the longest shared one holds.
 * So a Redis that comes back empty is given the one in use again, also by a gateway that comes after a newcomer. Who was
 * alone with another one, having started while Redis was away, takes the shared one: clients have one fresh burst there;
 * overrides (`limit-overrides.ts`) and blocks go on under the new names, as far as it knows whom they mean.
 * **A farewell**: a gateway that ends takes its name out of the live ones, so that the others have its share at once and not
 * three seconds later. The heartbeats themselves are the workers': each tries its own connection by them.
 * Limits: without `keySecret` the secret is as well kept as that Redis; `check` advises to set one.
 */

/** An answer that takes longer is none. Half gives up on a Redis that forks; double delays a start by as much. */
const DEADLINE_MS = 500;
/**
 * How often gateways tell each other the secret. One gives it back, another takes it with its next look: together that and
 * a second of connecting again stay below two. Half is twice the work for a second that nobody misses; double is past them.
 */
const LOOK_MS = 500;
const FAREWELL_MS = 100;
/** Anything shorter was not written by a gateway. */
const LEAST_SECRET_LENGTH = 16;

/** What is used of the client library. */
interface Client {
  eval(script: string, keys: number, ...args: (string | number)[]): Promise<unknown>;
  hdel(key: string, field: string): Promise<unknown>;
  info(): Promise<string>;
  on(event: 'ready' | 'error', told: () => void): unknown;
  disconnect(reconnect?: boolean): void;
}

export interface RedisMembershipParts {
  readonly log: Pick<Logger, 'warn'>;
  readonly random: Random;
  readonly now: () => number;
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
  /** Since when it has been shared in this Redis, by its clock; empty while it is not known to be. */
  #since = '';
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
    this.#sharesSecret = redis.keySecret === null;
    this.#settled = !this.#sharesSecret;
    // Whoever comes to another Redis takes what is shared there.
    this.#since = '';
    // Loaded where it is wanted: a gateway without Redis starts without the client library.
    const { openRedis } = await import('./limit-store/redis-options.ts');
    if (this.#closed || this.#mark !== mark) return;
    const client = openRedis(redis, this.#parts.random) as Client;
    this.#client = client;
    const answers = new AnswersInTime(client, DEADLINE_MS, this.#parts.now);
    // Without this listener the first refused connection ends the process; the workers tell that Redis is down.
    client.on('error', () => {
      this.#settle();
    });
    client.on('ready', () => {
      void this.#greet(client, answers);
    });
    this.#look = setInterval(() => {
      void this.#agree(client, answers);
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

  async #greet(client: Client, answers: AnswersInTime): Promise<void> {
    await this.#agree(client, answers);
    try {
      const warnings = storeWarnings(await answers.of(client.info()));
      const text = warnings.join('; ');
      // Once, not with every new connection.
      if (text === this.#warned) return;
      this.#warned = text;
      for (const warning of warnings) this.#parts.log.warn(warning);
    } catch {
      // Some users of a Redis may not ask for it.
    }
  }

  async #agree(client: Client, answers: AnswersInTime): Promise<void> {
    if (!this.#sharesSecret) return;
    const { secret } = this;
    try {
      const asked = client.eval(AGREE, 1, SECRET_KEY, secret, this.#since, LEAST_SECRET_LENGTH);
      const [found, since] = (await answers.of(asked)) as [string, string];
      // An answer to a question from before another change says nothing any more.
      if (client !== this.#client || secret !== this.secret) return;
      this.#secret = found;
      this.#since = since;
      if (found !== secret) this.#parts.onSecret();
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
