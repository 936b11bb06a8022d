import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../../src/kernel/random.ts';
import { Flight } from '../../../src/shedding/flight.ts';
import { Governor } from '../../../src/shedding/governor.ts';
import { OwnDelay } from '../../../src/shedding/own-delay.ts';
import { Permit } from '../../../src/shedding/permit.ts';
import { NOBODY } from './fixture.ts';

/** A loop whose turn before the present one, begun at 1000, took so long. */
function afterTurnOf(turnMs: number): OwnDelay {
  const own = new OwnDelay(1000 - turnMs);
  own.turn(1000);
  return own;
}

describe('the loop’s own delay', () => {
  test('is half of the last turn and as much of the present one as has gone by, beyond what an idle loop takes', () => {
    expect(afterTurnOf(60).of(500, 1000)).toBeCloseTo(22.5);
    expect(afterTurnOf(60).of(500, 1040)).toBeCloseTo(62.5);
  });

  test('of an idle loop is nothing', () => {
    for (const sinceMs of [0, 2, 5]) expect(afterTurnOf(5).of(500, 1000 + sinceMs)).toBe(0);
  });

  test('is never more than the answer took', () => {
    expect(afterTurnOf(80).of(3, 1050)).toBe(3);
  });

  test('is told as the mean over a window’s samples, once', () => {
    const own = new OwnDelay(0);
    for (const ms of [10, 20, 30]) own.add(ms);
    expect(own.take(3)).toBe(20);
    expect(own.take(3)).toBe(0);
    own.add(10);
    expect(own.take(0)).toBe(10);
  });

  test('can no longer be told after a turn of more than a tenth of a second', () => {
    const own = new OwnDelay(0);
    expect(own.turn(100)).toBe(false);
    expect(own.turn(201)).toBe(true);
    expect(own.turn(206)).toBe(false);
  });
});

describe('after the process stood still', () => {
  const BLOCK_MS = 400;

  /** Three seconds of 50 ms, then a turn of 400 ms, so many under way since just before it. */
  function stalled(underway = 0): { governor: Governor; now: number; beganAtMs: number } {
    const flight = new Flight(0);
    const settings = { slaMs: 250, workers: 1, fixedLimit: 0, ceiling: 1000, borrowed: 0, observing: false };
    const governor = new Governor(settings, flight, seededRandom(1), 0);
    let now = 0;
    while (now < 3000) {
      now += 5;
      governor.tick(now);
      governor.sample(50, now - 50, now);
      governor.sample(50, now - 50, now);
    }
    for (let i = 0; i < underway; i += 1) {
      const permit = new Permit(NOBODY);
      flight.take(permit, now);
      flight.begin(permit, now);
    }
    const beganAtMs = now;
    now += BLOCK_MS;
    governor.tick(now);
    return { governor, now, beganAtMs };
  }

  /** Beats for half a second, three answers of 50 ms each. */
  function goesOn({ governor, now }: { governor: Governor; now: number }): void {
    for (let at = now + 5; at <= now + 500; at += 5) {
      governor.tick(at);
      for (let i = 0; i < 3; i += 1) governor.sample(50, at - 50, at);
    }
  }

  test('answers to what was under way are no samples', () => {
    const after = stalled();
    for (let i = 0; i < 200; i += 1) after.governor.sample(BLOCK_MS, after.beganAtMs, after.now + 1);
    goesOn(after);
    expect(after.governor.p50Ms).toBeCloseTo(50);
    expect(after.governor.congestedAtMs).toBe(Number.NEGATIVE_INFINITY);
  });

  test('callers who left meanwhile accuse nobody either', () => {
    const after = stalled();
    for (let i = 0; i < 200; i += 1) after.governor.cancelled(BLOCK_MS, after.now + 1);
    goesOn(after);
    expect(after.governor.p50Ms).toBeCloseTo(50);
    expect(after.governor.congestedAtMs).toBe(Number.NEGATIVE_INFINITY);
  });

  test('the brake waits for a tenth of a second: what is old then is still to be read', () => {
    const { governor, now } = stalled(20);
    for (let at = now + 5; at <= now + 100; at += 5) governor.tick(at);
    expect(governor.limit).toBe(20);
    governor.tick(now + 105);
    governor.tick(now + 110);
    expect(governor.limit).toBe(15);
  });

  test('a turn of a tenth of a second is no stall: its answers count', () => {
    const { governor, now } = stalled();
    goesOn({ governor, now });
    const end = now + 600;
    governor.tick(end);
    for (let i = 0; i < 200; i += 1) governor.sample(BLOCK_MS, end - BLOCK_MS + 300, end + 1);
    for (let at = end + 5; at <= end + 300; at += 5) governor.tick(at);
    expect(governor.p50Ms).toBeGreaterThan(300);
  });
});
