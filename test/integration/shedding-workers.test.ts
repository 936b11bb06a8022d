/**
 * Two workers of one gateway, real processes, in front of one origin: they tell each other what they do at it, and each does
 * without the other when that one is silent.
 *
 * Bounds, stated before: at four times the capacity their limits are within ±10 % of each other's mean over the last two
 * seconds, and so is what they serve in time, given as many arrivals each (the kernel spreads connections unevenly, so the
 * sender evens that out). While one is stopped for a second the other serves at least 0.8 of what it served before: it goes
 * on by itself. Two seconds after, limits are even again.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';

import { learn, shop, SLA_MS, told, under } from '../faults/shedding-fixture.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { startOrigin } from '../harness/origin.ts';
import type { Origin } from '../harness/origin.ts';

const CAPACITY = 400;

let origin: Origin;
let gateway: Gateway;

beforeAll(async () => {
  origin = await startOrigin({ slots: 20, meanMs: 50, sigma: 0.5 });
  gateway = await startGateway(shop([origin.url]).replace('workers: 1', 'workers: 2'), {
    discardStdout: true,
  });
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await origin[Symbol.asyncDispose]();
});

interface WorkerFigures {
  readonly pid: number;
  readonly limit: number;
  readonly inFlight: number;
  readonly inTime: number;
}

/** In the order of their process ids. */
async function workers(): Promise<readonly WorkerFigures[]> {
  const { body } = await gateway.admin('/v1/services?workers');
  const { services } = body as {
    services: { shop: { workers: (WorkerFigures & { total: { inTime: number } })[] } };
  };
  return services.shop.workers
    .map(({ pid, limit, inFlight, total }) => ({ pid, limit, inFlight, inTime: total.inTime }))
    .toSorted((a, b) => a.pid - b.pid);
}

/** Each worker's mean limit and answers in time from one moment of the load to another. */
async function watch(
  at: (ms: number) => Promise<void>,
  fromMs: number,
  untilMs: number,
): Promise<{ readonly limits: readonly number[]; readonly inTime: readonly number[] }> {
  await at(fromMs);
  const first = await workers();
  const sums = first.map(() => 0);
  let looks = 0;
  for (let ms = fromMs; ms < untilMs; ms += 100) {
    await at(ms);
    for (const [index, { limit }] of (await workers()).entries()) sums[index] = (sums[index] ?? 0) + limit;
    looks += 1;
  }
  const last = await workers();
  return {
    limits: sums.map((sum) => sum / looks),
    inTime: last.map(({ inTime }, index) => inTime - (first[index]?.inTime ?? 0)),
  };
}

/** 0: even; 0.1: one has ten percent more than the mean. */
function uneven(shares: readonly number[]): number {
  const mean = shares.reduce((sum, share) => sum + share, 0) / shares.length;
  return Math.max(...shares.map((share) => Math.abs(share / mean - 1)));
}

test('limits and goodput are even, and a worker that is stopped stops nobody else', async () => {
  // What a service is like when calm is learned when it is calm; who meets it full at first finds out by luck.
  await learn(gateway, 0.5 * CAPACITY);
  const result = await under(
    gateway,
    {
      phases: [{ seconds: 12, ratePerSecond: 4 * CAPACITY }],
      spread: true,
      timeoutMs: 2000,
    },
    async ({ at }) => {
      const even = await watch(at, 4000, 6000);
      told('four times the capacity', even);
      expect(even.limits).toHaveLength(2);
      expect(uneven(even.limits)).toBeLessThanOrEqual(0.1);
      expect(uneven(even.inTime)).toBeLessThanOrEqual(0.1);

      const [stopped = 0, other = 0] = (await workers()).map(({ pid }) => pid);
      const of = async (pid: number): Promise<number> =>
        (await workers()).find((each) => each.pid === pid)?.inTime ?? 0;
      process.kill(stopped, 'SIGSTOP');
      let perSecond = 0;
      try {
        const beforeMs = performance.now();
        const before = await of(other);
        await at(7000);
        const after = await of(other);
        perSecond = (1000 * (after - before)) / (performance.now() - beforeMs);
      } finally {
        process.kill(stopped, 'SIGCONT');
      }
      const usual = (even.inTime[1] ?? 0) / 2;
      told('one stopped', { perSecond, usual });
      expect(perSecond).toBeGreaterThanOrEqual(0.8 * usual);

      // As long a look as the first: the two hands of a limit swing by a tenth within a second.
      const again = await watch(at, 9000, 11_000);
      told('two seconds after', again);
      expect(uneven(again.limits)).toBeLessThanOrEqual(0.1);
    },
  );
  told('all', { codes: result.codes, goodput: result.goodputPerSecond, slaMs: SLA_MS });
}, 60_000);
