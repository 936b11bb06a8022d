import { expect, test } from 'vitest';
import type { PriorityRank } from '../../../src/kernel/priority.ts';
import { between, seededRandom } from '../../../src/kernel/random.ts';
import { admission, Bench, Caller, enter } from './fixture.ts';

const SLA = 250;

test('the most important class goes first, and within a class who came first', () => {
  const gate = admission({ limit: 1 });
  let running = enter(gate, 1, 0);
  const names = new Map<Caller, string>();
  for (const [name, rank] of [
    ['background', 3],
    ['default a', 1],
    ['sheddable', 2],
    ['critical', 0],
    ['default b', 1],
  ] as const)
    names.set(enter(gate, rank, 1), name);
  expect(gate.view(1).queueByRank).toEqual([1, 2, 1, 1]);
  const order: string[] = [];
  for (let turn = 0; turn < 5; turn += 1) {
    running.permit?.release(2 + turn);
    const next = [...names.keys()].find((caller) => caller.permit !== undefined);
    if (next === undefined) throw new Error('a release admits the next one');
    order.push(names.get(next) ?? '');
    names.delete(next);
    running = next;
  }
  expect(order).toEqual(['critical', 'default a', 'default b', 'sheddable', 'background']);
});

test('a full queue gives the place of the least important to a more important newcomer', () => {
  const gate = admission({ limit: 1, queue: 2 });
  enter(gate, 1, 0);
  const sheddable = enter(gate, 2, 1);
  const background = enter(gate, 3, 1);
  const critical = enter(gate, 0, 2);
  expect(background.code).toBe('SPW_SHED_QUEUE_FULL');
  expect([sheddable.verdicts, critical.verdicts]).toEqual([0, 0]);
  expect(gate.view(2).queueByRank).toEqual([1, 0, 1, 0]);
});

test('nobody is evicted for an equal or a less important one', () => {
  const gate = admission({ limit: 1, queue: 2 });
  enter(gate, 1, 0);
  const waiting = [enter(gate, 1, 1), enter(gate, 1, 1)];
  expect(enter(gate, 1, 2).code).toBe('SPW_SHED_QUEUE_FULL');
  expect(enter(gate, 3, 2).code).toBe('SPW_SHED_QUEUE_FULL');
  expect(waiting.map((caller) => caller.verdicts)).toEqual([0, 0]);
});

test('a queue of a fixed length holds that many, shared by the workers', () => {
  const gate = admission({ limit: 4, queue: 10, workers: 4 });
  enter(gate, 1, 0);
  const callers = [1, 2, 3].map(() => enter(gate, 1, 0));
  expect(callers.map((caller) => caller.code)).toEqual(['', '', 'SPW_SHED_QUEUE_FULL']);
  expect(gate.view(0).queueDepth).toBe(2);
});

test('a small queue still has one place in each of many workers', () => {
  const gate = admission({ limit: 8, queue: 2, workers: 8 });
  enter(gate, 1, 0);
  expect(enter(gate, 1, 0).verdicts).toBe(0);
  expect(enter(gate, 1, 0).code).toBe('SPW_SHED_QUEUE_FULL');
});

test('with a queue of 0 nobody waits: the refusal comes at once', () => {
  const gate = admission({ limit: 2, queue: 0 });
  enter(gate, 1, 0);
  enter(gate, 1, 0);
  const critical = enter(gate, 0, 0);
  expect(critical.code).toBe('SPW_SHED_CONCURRENCY');
  expect(gate.view(0).queueDepth).toBe(0);
});

test('whoever could not be answered in time even by a calm service is told so at once', () => {
  const bench = new Bench({ limit: 4 });
  bench.run(3000, { callers: 2, latencyMs: () => 60 });
  const { baselineMs } = bench.gate.view(bench.now);
  expect(baselineMs).toBeGreaterThan(40);
  while (bench.gate.view(bench.now).inFlight < 4) enter(bench.gate, 1, bench.now);
  const useless = enter(bench.gate, 0, bench.now, bench.now + baselineMs - 1);
  const useful = enter(bench.gate, 0, bench.now, bench.now + baselineMs + 20);
  expect(useless.code).toBe('SPW_SHED_DEADLINE');
  expect(useful.verdicts).toBe(0);
});

test('usefulness is asked again at dispatch', () => {
  const bench = new Bench({ limit: 4 });
  bench.run(3000, { callers: 2, latencyMs: () => 60 });
  const { gate, now } = bench;
  const running: Caller[] = [];
  while (gate.view(now).inFlight < 4) running.push(enter(gate, 1, now));
  const { baselineMs } = gate.view(now);
  const waiting = enter(gate, 1, now, now + baselineMs + 10);
  running[0]?.permit?.release(now + 12);
  expect(waiting.code).toBe('SPW_SHED_DEADLINE');
});

test('a caller that leaves is unlinked: its place is free and it hears nothing', () => {
  const gate = admission({ limit: 1, queue: 2 });
  const running = enter(gate, 1, 0);
  const left = enter(gate, 1, 0);
  const stayed = enter(gate, 1, 0);
  gate.leave(left, 1);
  gate.leave(left, 1);
  expect(gate.view(1).queueByRank).toEqual([0, 1, 0, 0]);
  expect(enter(gate, 1, 1).verdicts).toBe(0);
  running.permit?.release(2);
  expect(stayed.waitedMs).toBe(2);
  for (let now = 5; now < 1000; now += 5) gate.tick(now);
  expect(left.verdicts).toBe(0);
});

test('leaving does nothing for one who does not wait', () => {
  const gate = admission({ limit: 1 });
  const running = enter(gate, 1, 0);
  gate.leave(running, 1);
  gate.leave(new Caller(2), 1);
  expect(gate.view(1)).toMatchObject({ inFlight: 1, queueDepth: 0 });
});

test('a caller that leaves inside the refusal of another is not refused as well', () => {
  const gate = admission({ limit: 1 });
  enter(gate, 1, 0);
  const second = new Caller(1);
  const first = new (class extends Caller {
    override shed(code: Parameters<Caller['shed']>[0]): void {
      super.shed(code);
      gate.leave(second, 500);
    }
  })(1);
  gate.enter(first, 0);
  gate.enter(second, 0);
  // One sweep finds both overdue: what the first does must reach the second.
  gate.tick(500);
  expect(first.code).toBe('SPW_SHED_QUEUE_TIMEOUT');
  expect(second.verdicts).toBe(0);
  expect(gate.view(500).queueDepth).toBe(0);
});

test('nobody waits for longer than 0.7 of the SLA and its own patience, whatever the class', () => {
  for (const seed of [1, 2, 3]) {
    const random = seededRandom(seed);
    const gate = admission({ limit: 1 }, seed);
    enter(gate, 0, 0);
    const since = new Map<Caller, number>();
    for (let now = 5; now < 3000; now += 5) {
      since.set(enter(gate, Math.floor(between(random, 0, 4)) as PriorityRank, now), now);
      gate.tick(now);
      for (const [caller, enteredAtMs] of since) {
        if (caller.verdicts > 0) since.delete(caller);
        else expect(now - enteredAtMs).toBeLessThanOrEqual(0.7 * SLA * 1.2 + 5);
      }
    }
  }
});

test('callers who came together are not refused together', () => {
  const gate = admission({ limit: 1 });
  enter(gate, 1, 0);
  const crowd = Array.from({ length: 200 }, () => enter(gate, 1, 0));
  const refusedAtMs = new Set<number>();
  for (let now = 1; now < 400; now += 1) {
    const before = gate.view(now).queueDepth;
    gate.tick(now);
    if (gate.view(now).queueDepth < before) refusedAtMs.add(now);
  }
  expect(crowd.every((caller) => caller.code === 'SPW_SHED_QUEUE_TIMEOUT')).toBe(true);
  expect(refusedAtMs.size).toBeGreaterThan(20);
});
