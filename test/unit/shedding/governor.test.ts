import { expect, test } from 'vitest';
import { Bench, POLICY } from './fixture.ts';

/** So many slots of 50 ms: beyond them latency is queueing. */
const slots =
  (count: number) =>
  (inFlight: number): number =>
    50 * Math.max(1, inFlight / count);

test('the limit starts at 20, shared by the workers', () => {
  expect([1, 2, 4].map((workers) => new Bench({ workers }).limit)).toEqual([20, 10, 5]);
});

test('it grows while callers wait and the service is calm, up to what it can take', () => {
  const bench = new Bench();
  bench.run(5000, { callers: 200, latencyMs: slots(1000) });
  expect(bench.gate.view(bench.now).inFlight).toBe(200);
  expect(bench.limit).toBeGreaterThanOrEqual(200);
});

test('it never grows past the ceiling of the instances', () => {
  const bench = new Bench({ maxInFlight: 50, evenInFlight: 50 });
  bench.run(5000, { callers: 200, latencyMs: slots(1000) });
  expect(bench.limit).toBe(50);
});

test('a limit that nobody fills does not drift up', () => {
  const bench = new Bench();
  bench.run(60_000, { callers: 8, latencyMs: slots(1000) });
  expect(bench.limit).toBe(20);
  expect(bench.gate.view(bench.now).verdict).toBe('enough');
});

test('what a surge has won is not kept for a whole new surge when little of it is used', () => {
  const bench = new Bench();
  bench.run(5000, { callers: 200, latencyMs: slots(1000) });
  bench.run(90_000, { callers: 8, latencyMs: slots(1000) });
  expect(bench.limit).toBeLessThanOrEqual(40);
  expect(bench.limit).toBeGreaterThanOrEqual(20);
});

test('it stops about where the service begins to queue, and follows when slots are lost', () => {
  const bench = new Bench();
  bench.run(2000, { callers: 10, latencyMs: slots(100) });
  bench.run(8000, { callers: 300, latencyMs: slots(100) });
  expect(bench.limit).toBeGreaterThan(90);
  expect(bench.limit).toBeLessThan(200);
  bench.run(8000, { callers: 300, latencyMs: slots(25) });
  expect(bench.limit).toBeGreaterThan(22);
  expect(bench.limit).toBeLessThan(50);
  expect(bench.gate.view(bench.now).slow).toBe(false);
});

test('slow answers cut nothing while nobody waits for a permit: there is nothing to win', () => {
  const bench = new Bench();
  bench.run(2000, { callers: 10, latencyMs: slots(100) });
  bench.run(5000, { callers: 10, latencyMs: () => 120 });
  expect(bench.limit).toBe(20);
  expect(bench.shed).toBe(0);
});

test.each([1, 2])(
  'it stays at 4 permits over all %i worker(s) or more, however slow the answers are',
  (workers) => {
    const bench = new Bench({ workers });
    bench.run(2000, { callers: 10, latencyMs: slots(100) });
    for (let round = 0; round < 60; round += 1) {
      bench.run(500, { callers: 90, latencyMs: (inFlight) => 40 * inFlight });
      expect(bench.limit).toBeGreaterThanOrEqual(4 / workers);
    }
  },
);

test('timeouts that are all alike are drops, not a calm service', () => {
  const bench = new Bench();
  bench.run(2000, { callers: 15, latencyMs: slots(100) });
  const before = bench.limit;
  bench.run(1500, { callers: 60, latencyMs: () => 1000, outcome: 'drop' });
  expect(bench.limit).toBeLessThan(before);
  bench.run(1000, { callers: 60, latencyMs: () => 1000, outcome: 'drop' });
  expect(['drops', 'brake']).toContain(bench.gate.view(bench.now).verdict);
});

test('a service that answers 503 to everybody cuts the limit, but does not hold it at the floor', () => {
  const bench = new Bench();
  bench.run(2000, { callers: 15, latencyMs: slots(100) });
  let least = bench.limit;
  for (let round = 0; round < 40; round += 1) {
    bench.run(500, { callers: 60, latencyMs: () => 5, outcome: 'drop' });
    least = Math.min(least, bench.limit);
  }
  expect(least).toBeLessThan(12);
  expect(bench.limit).toBeGreaterThanOrEqual(15);
});

test('fast failures do not raise the limit', () => {
  const bench = new Bench();
  bench.run(2000, { callers: 15, latencyMs: slots(100) });
  const before = bench.gate.view(bench.now);
  bench.run(10_000, { callers: 200, latencyMs: () => 1, outcome: 'failed' });
  const after = bench.gate.view(bench.now);
  expect(after).toMatchObject({ limit: before.limit, baselineMs: before.baselineMs });
});

test('a scan of fast 404s teaches nothing either', () => {
  const bench = new Bench();
  bench.run(2000, { callers: 15, latencyMs: slots(100) });
  const before = bench.gate.view(bench.now);
  bench.run(10_000, { callers: 200, latencyMs: () => 1, outcome: 'ignored' });
  const after = bench.gate.view(bench.now);
  expect(after).toMatchObject({ limit: before.limit, baselineMs: before.baselineMs });
});

test('an observed service is measured, and what would have been cut is not called slow by itself', () => {
  const bench = new Bench({ mode: 'observe' });
  bench.run(2000, { callers: 10, latencyMs: slots(20) });
  bench.run(5000, { callers: 80, latencyMs: slots(20) });
  const view = bench.gate.view(bench.now);
  expect(view).toMatchObject({ inFlight: 80, slow: false, congested: true });
  expect(view.limit).toBeLessThan(40);
});

test('a reload to more workers leaves each its share of what was learnt', () => {
  const bench = new Bench();
  bench.run(5000, { callers: 200, latencyMs: slots(1000) });
  const { limit, baselineMs } = bench.gate.view(bench.now);
  bench.gate.configure({ ...POLICY, workers: 2, maxInFlight: 500, evenInFlight: 500 }, bench.now);
  expect(bench.limit).toBe(Math.floor(limit / 2));
  expect(bench.gate.view(bench.now).baselineMs).toBe(baselineMs);
});

test('so it does where its share of the instances’ caps is told only afterwards', () => {
  const bench = new Bench();
  bench.run(5000, { callers: 200, latencyMs: slots(1000) });
  const { limit } = bench.gate.view(bench.now);
  bench.gate.configure({ ...POLICY, workers: 2 }, bench.now);
  bench.gate.setCeiling(500, bench.now);
  expect(bench.limit).toBe(Math.floor(limit / 2));
});
