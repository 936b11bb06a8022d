/**
 * Clauses of the timer wheel: at most a slot late, never early, whatever the loop missed and whatever fires does to others.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Wheel, WheelEntry } from '../../../src/io/wheel.ts';

const SLOT_MS = 10;
const ROUND_MS = 5120;

class Alarm extends WheelEntry {
  readonly firedAt: number[] = [];
  readonly #onExpired: ((now: number) => void) | undefined;

  constructor(onExpired?: (now: number) => void) {
    super();
    this.#onExpired = onExpired;
  }

  override expired(now: number): void {
    this.firedAt.push(now);
    this.#onExpired?.(now);
  }
}

/** Turns the wheel in steps like the worker's interval. */
function run(wheel: Wheel, fromMs: number, toMs: number, stepMs = SLOT_MS): void {
  for (let now = fromMs; now <= toMs; now += stepMs) wheel.turn(now);
}

describe('an entry', () => {
  test('fires once, at most one slot late and never early', () => {
    for (const dueMs of [1000.5, 1001, 1009.9, 1010, 1234, 6119, 6120, 20_000]) {
      const wheel = new Wheel(1000);
      const alarm = new Alarm();
      wheel.arm(alarm, dueMs);
      run(wheel, 1000, dueMs + 3 * ROUND_MS);
      expect(alarm.firedAt).toHaveLength(1);
      const [firedMs = 0] = alarm.firedAt;
      expect(firedMs).toBeGreaterThanOrEqual(dueMs);
      expect(firedMs - dueMs).toBeLessThanOrEqual(2 * SLOT_MS);
      expect([alarm.dueMs, alarm.wheelSlot, wheel.size]).toEqual([0, -1, 0]);
    }
  });

  test('further away than a round waits for its own', () => {
    const wheel = new Wheel(0);
    const alarm = new Alarm();
    wheel.arm(alarm, 3 * ROUND_MS + 500);
    run(wheel, 0, 3 * ROUND_MS + 490);
    expect([alarm.firedAt, wheel.size]).toEqual([[], 1]);
    run(wheel, 3 * ROUND_MS + 500, 3 * ROUND_MS + 520);
    expect(alarm.firedAt).toHaveLength(1);
  });

  test('of the past fires at the next turn', () => {
    const wheel = new Wheel(50_000);
    const alarm = new Alarm();
    wheel.arm(alarm, 3);
    wheel.turn(50_010);
    expect(alarm.firedAt).toEqual([50_010]);
  });

  test('moved fires at the new moment only, wherever it stood', () => {
    const wheel = new Wheel(0);
    const alarm = new Alarm();
    wheel.arm(alarm, 100);
    wheel.arm(alarm, 300);
    wheel.arm(alarm, 200);
    expect(wheel.size).toBe(1);
    run(wheel, 0, 1000);
    expect(alarm.firedAt).toEqual([210]);
  });

  test('disarmed never fires; disarming twice is once', () => {
    const wheel = new Wheel(0);
    const alarm = new Alarm();
    wheel.arm(alarm, 100);
    wheel.disarm(alarm);
    wheel.disarm(alarm);
    expect(wheel.size).toBe(0);
    run(wheel, 0, 2 * ROUND_MS);
    expect(alarm.firedAt).toEqual([]);
  });
});

describe('a loop that was blocked', () => {
  test.each([15, 500, ROUND_MS - 10, ROUND_MS, ROUND_MS + 10, 10 * ROUND_MS])(
    'for %i ms fires what became due meanwhile, once, and nothing that did not',
    (blockedMs) => {
      const wheel = new Wheel(0);
      const due = Array.from({ length: 50 }, (_, index) => {
        const alarm = new Alarm();
        wheel.arm(alarm, (blockedMs * index) / 50 + 1);
        return alarm;
      });
      const later = new Alarm();
      wheel.arm(later, blockedMs + 2 * SLOT_MS);
      wheel.turn(blockedMs + SLOT_MS);
      for (const alarm of due) expect(alarm.firedAt).toEqual([blockedMs + SLOT_MS]);
      expect(later.firedAt).toEqual([]);
      run(wheel, blockedMs + 2 * SLOT_MS, blockedMs + 5 * SLOT_MS);
      expect(later.firedAt).toHaveLength(1);
    },
  );

  test('turned back in time does nothing', () => {
    const wheel = new Wheel(1000);
    const alarm = new Alarm();
    wheel.arm(alarm, 1100);
    wheel.turn(500);
    expect([alarm.firedAt, wheel.size]).toEqual([[], 1]);
    wheel.turn(1110);
    expect(alarm.firedAt).toEqual([1110]);
  });
});

describe('what fires', () => {
  test('may disarm its neighbours of the same slot', () => {
    const wheel = new Wheel(0);
    const others = [new Alarm(), new Alarm(), new Alarm()];
    const first = new Alarm(() => {
      for (const other of others) wheel.disarm(other);
    });
    for (const other of others) wheel.arm(other, 105);
    // The last armed is visited first.
    wheel.arm(first, 105);
    run(wheel, 0, 2 * ROUND_MS);
    expect(first.firedAt).toHaveLength(1);
    for (const other of others) expect(other.firedAt).toEqual([]);
    expect(wheel.size).toBe(0);
  });

  test('may move its neighbour to another slot without losing the rest of the chain', () => {
    const wheel = new Wheel(0);
    const rest = new Alarm();
    const moved = new Alarm();
    const first = new Alarm(() => {
      wheel.arm(moved, 400);
    });
    wheel.arm(rest, 105);
    wheel.arm(moved, 105);
    wheel.arm(first, 105);
    run(wheel, 0, 1000);
    expect([first.firedAt, moved.firedAt, rest.firedAt]).toEqual([[110], [410], [110]]);
  });

  test('may arm itself again, for now and for later', () => {
    const wheel = new Wheel(0);
    const again: Alarm = new Alarm((now) => {
      if (again.firedAt.length < 5) wheel.arm(again, again.firedAt.length % 2 === 0 ? now : now + 100);
    });
    wheel.arm(again, 100);
    run(wheel, 0, 2000);
    expect(again.firedAt).toHaveLength(5);
    for (const [index, at] of again.firedAt.entries()) {
      const before = again.firedAt[index - 1];
      if (before !== undefined) expect(at).toBeGreaterThan(before);
    }
  });

  test('may arm another for a moment that has passed: the next turn has it, not the next round', () => {
    const wheel = new Wheel(0);
    const late = new Alarm();
    const first = new Alarm(() => {
      wheel.arm(late, 15);
    });
    wheel.arm(first, 80);
    // One turn after a block of 100 ms: the slot of 15 ms has been left when `first` fires.
    wheel.turn(100);
    wheel.turn(110);
    expect([first.firedAt, late.firedAt]).toEqual([[100], [110]]);
  });
});

test('any mix of arming, moving and disarming fires exactly what is armed, in time', () => {
  const step = fc.oneof(
    fc.record({
      kind: fc.constant('arm' as const),
      entry: fc.nat(9),
      inMs: fc.integer({ min: -50, max: 12_000 }),
    }),
    fc.record({ kind: fc.constant('disarm' as const), entry: fc.nat(9) }),
    fc.record({ kind: fc.constant('turn' as const), byMs: fc.integer({ min: 1, max: 7000 }) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      let now = 1000;
      const wheel = new Wheel(now);
      const alarms = Array.from({ length: 10 }, () => new Alarm());
      const due = new Map<Alarm, number>();
      const check = (): void => {
        for (const [alarm, dueMs] of due) {
          const fired = alarm.firedAt.at(-1) === now && alarm.wheelSlot < 0;
          // Due by the last whole slot: fired. Not yet due: still there.
          if (dueMs + 2 * SLOT_MS <= now) expect(fired).toBe(true);
          if (dueMs > now) expect(alarm.wheelSlot).toBeGreaterThanOrEqual(0);
          if (fired) due.delete(alarm);
        }
      };
      for (const each of steps) {
        if (each.kind === 'turn') {
          now += each.byMs;
          wheel.turn(now);
          check();
          continue;
        }
        const alarm = alarms[each.entry] as Alarm;
        if (each.kind === 'arm') {
          wheel.arm(alarm, now + each.inMs);
          due.set(alarm, Math.max(now, now + each.inMs));
        } else {
          wheel.disarm(alarm);
          due.delete(alarm);
        }
      }
      expect(wheel.size).toBe(due.size);
    }),
    { numRuns: 500 },
  );
});
