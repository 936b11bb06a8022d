import { expect, test } from 'vitest';
import { Bench, Caller, admission, enter, POLICY } from './fixture.ts';

function fill(gate: ReturnType<typeof admission>, now = 0): Caller[] {
  const callers: Caller[] = [];
  for (let i = 0; i < gate.view(now).limit; i += 1) callers.push(enter(gate, 1, now));
  return callers;
}

test('a free permit is never withheld, and one more than the limit waits', () => {
  const gate = admission();
  const callers = fill(gate);
  expect(callers).toHaveLength(20);
  expect(callers.map((caller) => caller.waitedMs)).toEqual(callers.map(() => 0));
  expect(enter(gate, 1, 0).verdicts).toBe(0);
  expect(gate.view(0)).toMatchObject({ inFlight: 20, queueDepth: 1 });
});

test('a newcomer does not overtake an equal who waits, a more important one has no one to wait for', () => {
  const gate = admission({ limit: 1 });
  const running = enter(gate, 1, 0);
  const first = enter(gate, 1, 0);
  const second = enter(gate, 1, 1);
  running.permit?.release(2);
  expect([first.verdicts, second.verdicts]).toEqual([1, 0]);
});

test('observe admits everybody and counts who would have been shed', () => {
  const gate = admission({ mode: 'observe', limit: 2, queue: 3 });
  const callers = Array.from({ length: 8 }, () => enter(gate, 1, 0));
  expect(callers.every((caller) => caller.permit !== undefined && caller.verdicts === 1)).toBe(true);
  expect(callers.map((caller) => caller.wouldBe)).toEqual([
    '',
    '',
    '',
    '',
    '',
    'SPW_SHED_QUEUE_FULL',
    'SPW_SHED_QUEUE_FULL',
    'SPW_SHED_QUEUE_FULL',
  ]);
  expect(gate.view(0)).toMatchObject({ inFlight: 8, queueDepth: 0 });
  gate.tick(1000);
  expect(gate.view(1000).pressure).toBe(3 / 8);
});

test('observe without a queue says what enforce would say', () => {
  const gate = admission({ mode: 'observe', limit: 1, queue: 0 });
  enter(gate, 1, 0);
  expect(enter(gate, 1, 0).wouldBe).toBe('SPW_SHED_CONCURRENCY');
});

test('observe counts against a given limit all who hold a permit, as enforce would', () => {
  const gate = admission({ mode: 'observe', limit: 2, queue: 0 });
  const readers = [enter(gate, 1, 0), enter(gate, 1, 0)];
  for (const { permit } of readers) {
    permit?.attempt(0);
    permit?.head(10, 'sample');
  }
  expect(enter(gate, 1, 11).wouldBe).toBe('SPW_SHED_CONCURRENCY');
});

test('off judges nothing: permits are counted, nothing is learnt, nobody is said to be shed', () => {
  const bench = new Bench({ mode: 'off', limit: 2, queue: 0 });
  bench.run(3000, { callers: 50, latencyMs: () => 60 });
  expect(bench.gate.view(bench.now)).toMatchObject({
    inFlight: 50,
    verdict: 'cold',
    baselineMs: 0,
    p50Ms: 0,
    pressure: 0,
  });
  const caller = enter(bench.gate, 3, bench.now);
  expect([caller.permit !== undefined, caller.wouldBe]).toEqual([true, '']);
});

test.each(['observe', 'off'] as const)('a change from enforce to %s admits whoever waits', (mode) => {
  const gate = admission({ limit: 1 });
  enter(gate, 1, 0);
  const waiting = [enter(gate, 3, 1), enter(gate, 0, 2)];
  gate.configure({ ...POLICY, limit: 1, mode }, 12);
  expect(waiting.map((caller) => caller.waitedMs)).toEqual([11, 10]);
  expect(gate.view(12)).toMatchObject({ inFlight: 3, queueDepth: 0 });
});

test('a change to enforce withholds permits until what is too much has ended', () => {
  const gate = admission({ mode: 'off', limit: 2 });
  const callers = [0, 1, 2, 3].map(() => enter(gate, 1, 0));
  gate.configure({ ...POLICY, limit: 2 }, 1);
  const waiting = enter(gate, 1, 1);
  callers[0]?.permit?.release(2);
  callers[1]?.permit?.release(2);
  expect(waiting.verdicts).toBe(0);
  callers[2]?.permit?.release(3);
  expect(waiting.waitedMs).toBe(2);
});

test('a raised fixed limit admits whoever waits at once', () => {
  const gate = admission({ limit: 1 });
  enter(gate, 1, 0);
  const waiting = [enter(gate, 1, 0), enter(gate, 1, 0)];
  gate.configure({ ...POLICY, limit: 2 }, 4);
  expect(waiting.map((caller) => caller.verdicts)).toEqual([1, 0]);
});

test('a fixed limit stays whatever the latency does, is shared by the workers and within the caps', () => {
  const bench = new Bench({ limit: 24 });
  bench.run(4000, { callers: 60, latencyMs: (inFlight) => 10 * inFlight });
  expect(bench.limit).toBe(24);
  expect(bench.shed).toBeGreaterThan(0);
  expect(admission({ limit: 24, workers: 4 }).view(0).limit).toBe(6);
  expect(admission({ limit: 2, workers: 4 }).view(0).limit).toBe(1);
  expect(admission({ limit: 24, maxInFlight: 10, evenInFlight: 10 }).view(0).limit).toBe(10);
});

test('the ceiling scales the limit in proportion, by half to twofold', () => {
  const bench = new Bench({ maxInFlight: 80, evenInFlight: 80 });
  bench.run(10_000, { callers: 70, latencyMs: () => 30 });
  const grown = bench.limit;
  expect(grown).toBeGreaterThan(60);
  bench.gate.setCeiling(60, bench.now);
  expect(bench.limit).toBe(Math.floor(grown * 0.75));
  bench.gate.setCeiling(6, bench.now);
  expect(bench.limit).toBe(6);
});

test('no ready instance keeps the limit', () => {
  const gate = admission({ maxInFlight: 80, evenInFlight: 80 });
  gate.setCeiling(0, 1);
  expect(gate.view(1).limit).toBe(20);
  gate.setCeiling(80, 2);
  expect(gate.view(2).limit).toBe(20);
});

test('a raised ceiling admits whoever waits for it', () => {
  const gate = admission({ maxInFlight: 2, evenInFlight: 2, limit: 20 });
  enter(gate, 1, 0);
  enter(gate, 1, 0);
  const waiting = enter(gate, 1, 0);
  gate.setCeiling(3, 5);
  expect(waiting.waitedMs).toBe(5);
});

/** One runs, one waits, and the process stands still for 230 ms, more than anybody waits. @returns who waits */
function stall(gate: ReturnType<typeof admission>, at: number): Caller {
  gate.tick(at);
  const running = enter(gate, 1, at);
  const waiting = enter(gate, 1, at);
  gate.tick(at + 5);
  gate.tick(at + 235);
  if (waiting.verdicts === 0) running.permit?.release(at + 236);
  return waiting;
}

test('a young process that stood still has kept nobody waiting; an old one is too small for its load', () => {
  const gate = admission({ limit: 1 });
  const early = stall(gate, 0);
  expect(early.permit).toBeDefined();
  early.permit?.release(240);
  for (let at = 300; at < 10_400; at += 2) enter(gate, 1, at).permit?.release(at + 1);
  expect(stall(gate, 20_000).code).toBe('SPW_SHED_QUEUE_TIMEOUT');
});

test('the first answer after a stall comes before the late beat, and is not too late either', () => {
  const gate = admission({ limit: 1 });
  gate.tick(0);
  const running = enter(gate, 1, 0);
  const waiting = enter(gate, 1, 0);
  running.permit?.release(230);
  expect(waiting.permit).toBeDefined();
});

test('what a young process forgives ends where the answer is of no use any more', () => {
  const gate = admission({ limit: 1 });
  enter(gate, 1, 0);
  const waiting = enter(gate, 1, 0);
  gate.tick(5);
  gate.tick(10_000);
  expect(waiting.code).toBe('SPW_SHED_QUEUE_TIMEOUT');
});

test('each admittee has exactly one verdict, through reloads, evictions and timeouts', () => {
  const gate = admission({ limit: 3, queue: 5 });
  const callers: Caller[] = [];
  const released = new Set<Caller>();
  for (let now = 0; now < 3000; now += 5) {
    callers.push(enter(gate, ((now / 5) % 4) as 0 | 1 | 2 | 3, now));
    gate.tick(now);
    const oldest = callers.find((caller) => caller.permit !== undefined && !released.has(caller));
    if (now % 25 === 0 && oldest !== undefined) {
      released.add(oldest);
      oldest.permit?.release(now);
    }
    if (now === 1500) gate.configure({ ...POLICY, limit: 5, queue: 'auto' }, now);
    if (now === 2500) gate.configure({ ...POLICY, mode: 'observe' }, now);
  }
  expect(callers.map((caller) => caller.verdicts)).toEqual(callers.map(() => 1));
  expect(callers.filter((caller) => caller.code !== '').length).toBeGreaterThan(100);
});

test('an admittee that releases inside its verdict passes the permit on without recursion', () => {
  const gate = admission({ limit: 1 });
  const running = enter(gate, 1, 0);
  let served = 0;
  const brief = (): Caller =>
    new (class extends Caller {
      override admitted(...given: Parameters<Caller['admitted']>): void {
        super.admitted(...given);
        served += 1;
        given[0].release(1);
      }
    })(1);
  for (let i = 0; i < 900; i += 1) gate.enter(brief(), 0);
  running.permit?.release(1);
  expect(served).toBe(900);
  expect(gate.view(1)).toMatchObject({ inFlight: 0, queueDepth: 0 });
});
