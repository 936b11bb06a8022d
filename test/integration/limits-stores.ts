/** Stores against a real Redis, for the limiter's integration tests. */
import { once } from 'node:events';
import { EventEmitter } from 'node:events';
import { Redis } from 'ioredis';
import { redisOptions } from '../../src/io/limit-store/redis-options.ts';
import { RedisLimitStore } from '../../src/io/limit-store/redis.ts';
import { seededRandom } from '../../src/kernel/random.ts';
import type { CompiledRate } from '../../src/limits/gcra.ts';
import type { LimitStore, StoreReply } from '../../src/limits/store.ts';
import { Ask, AskSlots, terms } from '../unit/limits/fixtures.ts';

/** A store that keeps what it was told and can be waited for. */
export class OpenStore extends EventEmitter {
  readonly told: string[] = [];
  readonly store: RedisLimitStore;
  #fit = false;

  constructor(url: string, options: { timeoutMs?: number; gateway?: string; workers?: number } = {}) {
    super();
    this.store = new RedisLimitStore({
      client: new Redis(url, redisOptions(seededRandom(5))),
      timeoutMs: options.timeoutMs ?? 25,
      gateway: options.gateway ?? 'gw-1',
      workers: options.workers ?? 1,
      gateways: 1,
      random: seededRandom(4),
      onState: (state, reason) => {
        this.told.push(`${state} ${reason}`.trim());
        this.#fit = state === 'fit';
        this.emit(state);
      },
    });
  }

  /** Resolves when it is fit, at once if it is. */
  async fit(): Promise<this> {
    if (!this.#fit) await once(this, 'fit');
    return this;
  }

  async unfit(): Promise<this> {
    if (this.#fit || this.told.length === 0) await once(this, 'unfit');
    return this;
  }
}

/** Asks once; 'unfit' when the store took no call, 'unavailable' when no answer came in time. */
export async function ask(
  store: LimitStore,
  keys: readonly string[],
  levels: readonly number[],
): Promise<StoreReply | 'unfit' | 'unavailable'> {
  const call = new Ask(keys, levels);
  if (!store.decide(call, performance.now())) return 'unfit';
  return (await call.done) ?? 'unavailable';
}

/** Asks for one unit of one bucket: admitted or not. An answer that does not come is an error. */
export async function take(store: LimitStore, key: string, rate: CompiledRate, cost = 1): Promise<boolean> {
  const reply = await ask(store, [key], terms(rate, cost));
  if (typeof reply === 'string') throw new Error(`the store is ${reply}`);
  return reply[0] === 1;
}

/** What a worker holds of a client's slots from now on; an error when the store may not be asked. */
export async function slots(
  store: LimitStore,
  key: string,
  worker: string,
  need: number,
  most: number,
  keep = 0,
): Promise<number> {
  const call = new AskSlots(key, worker, need, keep, most);
  if (!store.slots(call, performance.now())) throw new Error('the store is unfit');
  return await call.done;
}

/** Calls of a command so far, by `INFO commandstats`. */
export function callsOf(info: string, command: string): number {
  const match = new RegExp(`^cmdstat_${command}:calls=(\\d+)`, 'm').exec(info);
  return match === null ? 0 : Number(match[1]);
}

/** Waits until `condition` holds, asked each 10 ms; an error after 30 s. */
export async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const end = performance.now() + 30_000;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`not within 30 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
