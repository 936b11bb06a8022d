import { setImmediate as turnEnd } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { load } from '../config/load-text.ts';
import type { Configuration } from '../../../config/schema.ts';
import type { Exchange } from '../../../src/io/exchange.ts';
import { GuardMemory } from '../../../src/io/guard/guard-memory.ts';
import { Guards, type GuardSet } from '../../../src/io/guard/guards.ts';
import type { ToSupervisor, ToWorker } from '../../../src/io/ipc.ts';
import { Meter } from '../../../src/io/meter.ts';
import { seededRandom } from '../../../src/kernel/random.ts';

const LISTENERS = `listeners: [{ port: 8080 }]
services: { shop: { instances: [http://127.0.0.1:9001] } }
routes:
  - { path: /, service: shop }
  - { path: /login, service: shop, guard: { failures: 2, per: 10m, blockFor: 15m } }
`;

function tiers(mode: string): string {
  return `${LISTENERS}tiers: { free: { rate: 1/s, penalty: { refusals: 2, per: 10m, blockFor: 20m, mode: ${mode} } }, open: {} }\n`;
}

class Bench {
  readonly sent: ToSupervisor[] = [];
  readonly meter = new Meter();
  readonly guards: Guards;
  readonly set: GuardSet;
  now = 0;

  constructor(text: string) {
    this.guards = new Guards({
      meter: this.meter,
      random: seededRandom(1),
      now: () => this.now,
      send: (message) => this.sent.push(message) > 0,
    });
    const loaded = load(text);
    if (!loaded.ok) throw new Error('the test has a faulty configuration');
    const { configuration } = loaded as { configuration: Configuration };
    const set = this.guards.compile(configuration);
    if (set === undefined) throw new Error('nothing is guarded');
    this.set = set;
    this.guards.configure(configuration, set);
  }

  /** A request of the client `ada` that is over. */
  exchange(more: object = {}, route = 1): Exchange {
    return {
      snapshot: { guards: this.set },
      route: { guard: this.set.routes[route] },
      identity: { code: '' },
      bucket: 'ada',
      tier: 'free',
      exempt: false,
      headMs: 0,
      status: 429,
      code: '',
      block: undefined,
      decision: undefined,
      slotLimit: undefined,
      clientInFlight: 0,
      ...more,
    } as unknown as Exchange;
  }

  end(more: object = {}, times = 1): void {
    for (let i = 0; i < times; i++) this.guards.judge(this.exchange(more), this.now);
  }

  blocked(more: object = {}, route = 1): string {
    return this.guards.blockOf(this.exchange(more, route), this.now)?.guard.rule.kind ?? '';
  }
}

const PASSED = { observed: [] };

describe('what is a strike', () => {
  test("an instance's answer with one of the guard's statuses, and no other", () => {
    const bench = new Bench(tiers('enforce'));
    for (const status of [200, 302, 400, 404, 500]) bench.end({ headMs: 1, status });
    bench.end({ status: 401, code: 'SPW_UNKNOWN_KEY' }, 9);
    bench.end({ headMs: 1, status: 401, exempt: true }, 9);
    expect(bench.sent).toEqual([]);
    bench.end({ headMs: 1, status: 401 }, 2);
    expect(bench.blocked()).toBe('');
    bench.end({ headMs: 1, status: 403 });
    expect(bench.blocked()).toBe('guard');
    expect(bench.blocked({}, 0)).toBe('');
    expect(bench.blocked({ exempt: true })).toBe('');
  });

  test.each(['SPW_RATE_CLIENT', 'SPW_RATE_ROUTE', 'SPW_CONCURRENCY_CLIENT'])('a refusal with %s', (code) => {
    const bench = new Bench(tiers('enforce'));
    bench.end({ code }, 3);
    expect(bench.blocked({}, 0)).toBe('penalty');
    expect(bench.blocked({ tier: 'open' }, 0)).toBe('');
  });

  test("neither what is everybody's limit, nor what the service says, nor the block itself", () => {
    const bench = new Bench(tiers('enforce'));
    bench.end({ code: 'SPW_RATE_GLOBAL', status: 503 }, 9);
    bench.end({ headMs: 1, status: 429, decision: PASSED }, 9);
    bench.end({ code: 'SPW_RATE_CLIENT', block: {} }, 9);
    // An observed limit refuses nobody, so nobody is blocked for it.
    bench.end({ decision: { observed: ['client'] } }, 9);
    expect(bench.blocked()).toBe('');
    expect(bench.sent).toEqual([]);
  });

  test('where the penalty only observes, what would have been a refusal, and it blocks nobody', () => {
    const refusals = [
      { decision: { observed: ['client'] } },
      { decision: { observed: ['global', 'route'] } },
      { decision: PASSED, slotLimit: { most: 1 } },
    ];
    for (const refusal of refusals) {
      const bench = new Bench(tiers('observe'));
      bench.end({ decision: { observed: ['global'] } }, 9);
      bench.end({ decision: PASSED, slotLimit: { most: 1 }, clientInFlight: 1 }, 9);
      expect(bench.blocked()).toBe('');
      expect(bench.meter.slot('limited_total', ['free', 'penalty', 'observe']).value).toBe(0);
      bench.end(refusal, 3);
      expect(bench.blocked()).toBe('');
      expect(bench.meter.slot('limited_total', ['free', 'penalty', 'observe']).value).toBe(1);
    }
  });
});

test('of two blocks the longer one is told', () => {
  const bench = new Bench(tiers('enforce'));
  bench.end({ headMs: 1, status: 401 }, 3);
  bench.now = 1;
  bench.end({ code: 'SPW_RATE_CLIENT' }, 3);
  expect(bench.guards.blockOf(bench.exchange(), 1)).toMatchObject({
    guard: { rule: { kind: 'penalty' } },
    restMs: 20 * 60_000,
  });
  expect(bench.blocked({ tier: 'open' })).toBe('guard');
});

test('every strike is told to the supervisor with what it needs to count it, until the client is blocked', () => {
  const bench = new Bench(tiers('enforce'));
  bench.end({ headMs: 1, status: 401 }, 9);
  expect(bench.sent).toHaveLength(3);
  const [first] = bench.sent;
  expect(first).toMatchObject({
    type: 'strike',
    client: 'ada',
    rule: { strikes: 2, windowSeconds: 600, blockSeconds: 900 },
  });
  expect((first as { key: string }).key).toMatch(/^\{c\.ada\}:g\.[\w-]{8}$/);
});

test("another worker's block is heard of, and an operator's word ends it", async () => {
  const bench = new Bench(tiers('enforce'));
  const tally = { strikes: 3, restMs: 5000, shared: true };
  bench.guards.struck('p.free', 'ada', tally, false);
  expect(bench.blocked()).toBe('penalty');
  await bench.guards.forgive('ada');
  expect(bench.blocked()).toBe('');
  expect(bench.sent).toEqual([
    { type: 'forgive', client: 'ada', keys: [expect.stringMatching(/:g\./), '{c.ada}:p'] },
  ]);
});

test('a client whose token changes its tier has one count, and one block', () => {
  const two = tiers('enforce').replace('open: {}', 'gold: { penalty: { refusals: 2 } }, open: {}');
  const bench = new Bench(two);
  for (const tier of ['free', 'gold', 'free']) bench.end({ code: 'SPW_RATE_CLIENT', tier });
  expect(bench.blocked({ tier: 'gold' }, 0)).toBe('penalty');
  expect(bench.blocked({ tier: 'free' }, 0)).toBe('penalty');
  expect(bench.guards.blocksOf('ada', 'gold', 0)).toMatchObject([{ kind: 'penalty', name: 'gold' }]);
  // A tier without one blocks nobody.
  expect(bench.blocked({ tier: 'open' }, 0)).toBe('');
});

test('what a tier only observes blocks nobody in another one', () => {
  const two = tiers('observe').replace('open: {}', 'gold: { penalty: { refusals: 2 } }, open: {}');
  const bench = new Bench(two);
  bench.end({ decision: { observed: ['client'] } }, 3);
  expect(bench.guards.blocksOf('ada', 'free', 0)).toMatchObject([{ name: 'free', enforced: false }]);
  expect(bench.blocked({ tier: 'gold' }, 0)).toBe('');
});

/** Workers and the supervisor of a gateway without Redis; what they say waits until it is delivered, in its order. */
class Gateway {
  readonly workers = [new Bench(tiers('enforce')), new Bench(tiers('enforce'))] as const;
  readonly #told: [worker: number, message: ToWorker][] = [];
  readonly #memory = new GuardMemory(() => this.#ends);
  readonly #ends = [0, 1].map((worker) => ({
    send: (message: ToWorker) => this.#told.push([worker, message]) > 0,
  }));

  /** What a worker has said so far reaches the supervisor, which answers. */
  async heard(worker: 0 | 1): Promise<void> {
    const end = this.#ends[worker];
    for (const message of this.workers[worker].sent.splice(0)) {
      if (message.type === 'strike' && end !== undefined) void this.#memory.strike(end, message);
      else if (message.type === 'forgive') void this.#memory.forgive(message);
    }
    await turnEnd();
    await turnEnd();
  }

  /** Its answers reach the workers. */
  told(): void {
    for (const [worker, message] of this.#told.splice(0)) {
      const { guards } = this.workers[worker === 0 ? 0 : 1];
      if (message.type === 'struck') guards.struck(message.guard, message.client, message.tally, message.own);
      else if (message.type === 'forgiven') guards.forget(message.client);
    }
  }
}

test('who is forgiven stays forgiven, though strikes were being counted', async () => {
  const gateway = new Gateway();
  const [one, two] = gateway.workers;
  // The third one blocks; its tally is not told yet.
  one.end({ headMs: 1, status: 401 }, 2);
  await gateway.heard(0);
  two.end({ headMs: 1, status: 401 });
  for (const each of [0, 1] as const) {
    await gateway.workers[each].guards.forgive('ada');
    await gateway.heard(each);
  }
  gateway.told();
  expect([one.blocked(), two.blocked()]).toEqual(['', '']);
  // And two are forgiven again, wherever they are met.
  one.end({ headMs: 1, status: 401 });
  two.end({ headMs: 1, status: 401 });
  for (const each of [0, 1] as const) await gateway.heard(each);
  gateway.told();
  expect([one.blocked(), two.blocked()]).toEqual(['', '']);
  one.end({ headMs: 1, status: 401 });
  await gateway.heard(0);
  gateway.told();
  expect([one.blocked(), two.blocked()]).toEqual(['guard', 'guard']);
});

test('without Redis a client is counted once, under whichever tier it strikes', async () => {
  const told: ToWorker[] = [];
  const worker = { send: (message: ToWorker) => told.push(message) > 0 };
  const memory = new GuardMemory(() => [worker]);
  const rule = { kind: 'penalty', strikes: 2, windowSeconds: 60, blockSeconds: 600, enforced: true } as const;
  for (const tier of ['free', 'gold', 'free'])
    await memory.strike(worker, { guard: `p.${tier}`, client: 'ada', key: '{c.ada}:p', rule });
  expect(told).toMatchObject([
    { tally: { strikes: 1 } },
    { tally: { strikes: 2 } },
    { tally: { strikes: 3 } },
  ]);
  await memory.forgive({ client: 'ada', keys: ['{c.ada}:p'] });
});
