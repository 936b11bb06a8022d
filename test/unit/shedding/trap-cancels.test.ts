/**
 * Traps 7 and 9 of the design, by name. Bounds, stated before: a thousand early cancels leave limit and median where they
 * were; cancels that come late move the median past the tolerance within two seconds. Three answers of a hundred that
 * take twenty times as long lift the mean past the tolerance and cost the limit nothing.
 */
import { expect, test } from 'vitest';
import { admission, Bench, enter } from './fixture.ts';

const STEP_MS = 5;

/** Sixteen callers at a time; each is admitted, asks, and after `lifeMs` is answered or leaves. Returns the moment of the end. */
function rounds(
  gate: ReturnType<typeof admission>,
  fromMs: number,
  untilMs: number,
  lifeMs: number,
  ends: 'answered' | 'leaves',
): number {
  let now = fromMs;
  while (now < untilMs) {
    const callers = Array.from({ length: 16 }, () => enter(gate, 1, now));
    for (const { permit } of callers) permit?.attempt(now);
    for (const endMs = now + lifeMs; now < endMs; now += STEP_MS) gate.tick(now);
    for (const caller of callers) {
      if (ends === 'answered') caller.permit?.head(now, 'sample');
      caller.permit?.release(now);
      gate.leave(caller, now);
    }
    gate.tick(now);
  }
  return now;
}

test('early cancels shrink nobody, late ones count', () => {
  const gate = admission();
  let now = rounds(gate, 0, 3000, 50, 'answered');
  const before = gate.view(now);
  expect(before.p50Ms).toBeGreaterThan(40);
  now = rounds(gate, now, now + 2000, 10, 'leaves');
  const early = gate.view(now);
  expect(early.limit).toBe(before.limit);
  expect(early.p50Ms).toBe(before.p50Ms);
  expect(early.baselineMs).toBe(before.baselineMs);
  now = rounds(gate, now, now + 2000, 150, 'leaves');
  const late = gate.view(now);
  expect(late.p50Ms).toBeGreaterThanOrEqual(140);
  expect(late.congested).toBe(true);
});

test('the median steers, not the mean', () => {
  const bench = new Bench();
  bench.run(3000, { callers: 10, latencyMs: () => 50 });
  const before = bench.limit;
  let count = 0;
  // Mean 78 ms; tolerated are 75.
  const latencyMs = (): number => {
    count += 1;
    return count % 34 === 0 ? 1000 : 50;
  };
  bench.run(20_000, { callers: 18, latencyMs });
  expect(bench.limit).toBeGreaterThanOrEqual(before);
  expect(bench.shed).toBe(0);
});
