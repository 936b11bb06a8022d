import { randomBytes } from 'node:crypto';
import type { RedisConfiguration } from '../../../config/schema.ts';
import type { Random } from '../../kernel/random.ts';
import {
  MOST_OVERRIDES,
  spanOf,
  type BookEntry,
  type BookOrder,
  type OrdersTaken,
  type StoredOverride,
  type StoredOverrides,
} from '../../limits/override-book.ts';
import { AnswersInTime } from './answers-in-time.ts';
import {
  OVERRIDES_KEY,
  READ_OVERRIDES,
  RESTORE_OVERRIDES,
  TIDY_OVERRIDES,
  WRITE_OVERRIDES,
} from './override-scripts.ts';
import { openRedis } from './redis-options.ts';

/**
 * Overrides in Redis, over a connection of the supervisor's own: no request ever waits behind them.
 *
 * Looking for changes is one HMGET, twice a second; everything else happens when something has changed. Each call has a
 * deadline (`answers-in-time.ts`). Scripts are sent whole: they are rare, and a lost script cache would be one more case.
 */

/** The least that a call may take. An operator waits this long; half takes a busy Redis for a lost one. */
const LEAST_DEADLINE_MS = 250;
/** Orders of one call: half takes more trips after an outage; double holds up Redis for as long. */
export const ORDERS_AT_ONCE = 500;

/** What is used of the client library. */
interface Client {
  hmget(key: string, ...fields: string[]): Promise<(string | null)[]>;
  eval(script: string, keys: number, ...args: (string | number)[]): Promise<unknown>;
  on(event: 'ready' | 'error', told: () => void): unknown;
  disconnect(reconnect?: boolean): void;
}

export class OverrideStore {
  readonly #client: Client;
  readonly #answers: AnswersInTime;

  constructor(redis: RedisConfiguration, parts: { random: Random; now: () => number; onReady: () => void }) {
    this.#client = openRedis(redis, parts.random);
    this.#answers = new AnswersInTime(this.#client, Math.max(redis.timeout, LEAST_DEADLINE_MS), parts.now);
    // Without this listener the first refused connection ends the process; the workers tell that Redis is down.
    this.#client.on('error', () => undefined);
    this.#client.on('ready', parts.onReady);
  }

  /** Life and version. */
  async look(): Promise<{ life: string; version: number }> {
    const [life, version] = await this.#answers.of(this.#client.hmget(OVERRIDES_KEY, 'life', 'version'));
    return { life: life ?? '', version: Number(version ?? 0) };
  }

  async read(): Promise<StoredOverrides> {
    return stateOf(await this.#run(READ_OVERRIDES, []));
  }

  async write(orders: readonly BookOrder[], sentMs: number): Promise<OrdersTaken> {
    const args: (string | number)[] = [newLife(), MOST_OVERRIDES];
    for (const order of orders) {
      if (order.kind === 'set') {
        const { bucket, ratePerSecond, burst, by } = order.entry;
        args.push('set', bucket, ratePerSecond, burst, spanOf(order.entry, sentMs), by);
      } else args.push(order.kind, order.bucket, '', '', '', '');
    }
    const [nowMs, version, life, ...taken] = (await this.#run(WRITE_OVERRIDES, args)) as [
      number,
      number,
      string,
      ...number[],
    ];
    return { nowMs, version, life, taken: taken.map((each) => each === 1) };
  }

  /** @returns how many of them the store had forgotten */
  async restore(life: string, version: number, entries: readonly BookEntry[]): Promise<number> {
    const args: (string | number)[] = [newLife(), life, version];
    for (const entry of entries) args.push(entry.bucket, entry.serial, valueOf(entry));
    return (await this.#run(RESTORE_OVERRIDES, args)) as number;
  }

  async tidy(buckets: readonly string[]): Promise<void> {
    await this.#run(TIDY_OVERRIDES, buckets);
  }

  close(): void {
    this.#client.disconnect();
  }

  async #run(script: string, args: readonly (string | number)[]): Promise<unknown> {
    return await this.#answers.of(this.#client.eval(script, 1, OVERRIDES_KEY, ...args));
  }
}

function newLife(): string {
  return randomBytes(9).toString('base64url');
}

function valueOf({ serial, ratePerSecond, burst, untilMs, by }: BookEntry): string {
  return `${serial}|${ratePerSecond}|${burst}|${Math.round(untilMs)}|${by}`;
}

/** What is not ours in the hash is passed over. */
function stateOf(reply: unknown): StoredOverrides {
  const [nowMs, flat] = reply as [number, string[]];
  const fields = new Map<string, string>();
  for (let i = 0; i + 1 < flat.length; i += 2) fields.set(flat[i] ?? '', flat[i + 1] ?? '');
  return {
    life: fields.get('life') ?? '',
    version: Number(fields.get('version') ?? 0),
    nowMs,
    entries: [...fields].flatMap(([bucket, value]) => overrideOf(bucket, value)),
    fills: (fields.get('fills') ?? '').split(',').flatMap((each) => {
      const [serial = '', bucket = ''] = each.split(':');
      return bucket === '' ? [] : [{ bucket, serial: Number(serial) }];
    }),
  };
}

function overrideOf(bucket: string, value: string): StoredOverride[] {
  const [serial, ratePerSecond, burst, untilMs, by = ''] = value.split('|');
  if (bucket === 'fills' || untilMs === undefined) return [];
  const entry = {
    bucket,
    ratePerSecond: Number(ratePerSecond),
    burst: Number(burst),
    untilMs: Number(untilMs),
    serial: Number(serial),
    by,
  };
  return Object.values(entry).some((each) => Number.isNaN(each)) || entry.serial < 1 ? [] : [entry];
}
