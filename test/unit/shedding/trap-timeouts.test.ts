/**
 * Trap 4 of the design and its way back. Bounds, stated before: a service that takes requests and answers none for three
 * seconds, time limit 1 s, no breaker, at 0.7 of the capacity: the limit does not grow meanwhile, and two seconds after
 * the service answers again 95 % of what is offered is in time (I5). That leaves no room for a window that waits twice
 * the length of a timeout: a second after the answers are back the last window's median is theirs.
 */
import { expect, test } from 'vitest';
import { CAPACITY, DEFAULT, ORIGIN } from '../../simulation/loads.ts';
import { World } from '../../simulation/model.ts';
import { Bench } from './fixture.ts';

const SILENT_MS = 8000;
const BACK_MS = 11_000;
const END_MS = 16_000;

test.each([1, 2, 3, 4, 5])('stable timeouts are drops, and do not stretch the way back (seed %i)', (seed) => {
  const world = new World({ ...ORIGIN, seed, timeoutMs: 1000 });
  const { service } = world;
  const limit = (): number => world.workers[0]?.gate.view(world.clock.now).limit ?? 0;
  world.poisson(DEFAULT, 0.7 * CAPACITY, 0, END_MS);
  world.clock.at(SILENT_MS, () => service.setSlots(0));
  world.clock.at(BACK_MS, () => service.setSlots(ORIGIN.slots));
  world.run(SILENT_MS);
  const before = limit();
  world.run(BACK_MS);
  expect(limit()).toBeLessThanOrEqual(before);
  world.run(END_MS + 500);
  const after = world.report.tally(BACK_MS + 2000, END_MS);
  expect(after.good / after.offered).toBeGreaterThanOrEqual(0.95);
});

test('a window full of quick answers does not wait for the length of the timeouts before it', () => {
  // Wherever in its window the service comes back.
  for (let phaseMs = 0; phaseMs < 2000; phaseMs += 250) {
    const bench = new Bench();
    bench.run(3000, { callers: 14, latencyMs: () => 50 });
    bench.run(6000 + phaseMs, { callers: 14, latencyMs: () => 1000, outcome: 'drop' });
    expect(bench.gate.view(bench.now).p50Ms).toBeGreaterThan(500);
    // Those under way end as they began; then a second of quick answers, hundreds of them.
    bench.run(1100, { callers: 14, latencyMs: () => 50, outcome: 'drop' });
    bench.run(1000, { callers: 14, latencyMs: () => 50 });
    expect([phaseMs, bench.gate.view(bench.now).p50Ms < 75]).toEqual([phaseMs, true]);
  }
});
