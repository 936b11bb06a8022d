import { describe, expect, test } from 'vitest';
import { SlowFlag } from '../../../src/shedding/slow-flag.ts';
import { reading } from './readings.ts';

/** Windows of these medians against a baseline of 50 ms, in which nobody waited and little was in flight. */
function noted(medians: readonly number[], change: { bound?: boolean; calm?: boolean } = {}): SlowFlag {
  const flag = new SlowFlag();
  const { bound = false, calm = true } = change;
  for (const p50Ms of medians) flag.note(reading({ p50Ms, bound }), 50, calm);
  return flag;
}

describe('a service is called slow', () => {
  test('when the governor found it out', () => {
    const flag = new SlowFlag();
    expect(flag.raised).toBe(false);
    flag.raise(50);
    expect(flag.raised).toBe(true);
  });

  test('after two windows in a row 1.8 times as slow as known, and not after one, which may be chance', () => {
    expect(noted([90]).raised).toBe(false);
    expect(noted([90, 90]).raised).toBe(true);
    expect(noted([89, 89, 89]).raised).toBe(false);
    expect(noted([300, 50, 300]).raised).toBe(false);
  });

  test('not while somebody waits for a permit: that may be our load', () => {
    expect(noted([300, 300, 300], { bound: true }).raised).toBe(false);
    const flag = noted([300]);
    flag.note(reading({ p50Ms: 300, bound: true }), 50, false);
    flag.note(reading({ p50Ms: 300, bound: false }), 50, false);
    expect(flag.raised).toBe(false);
  });

  test('not for its first window, before which there is no speed to be slower than', () => {
    const flag = new SlowFlag();
    flag.note(reading({ p50Ms: 50, bound: false }), 0, true);
    flag.note(reading({ p50Ms: 140, bound: false }), 50, true);
    expect(flag.raised).toBe(false);
  });
});

describe('it is slow no more', () => {
  test('after a calm window less than 1.5 times as slow as before', () => {
    const flag = noted([300, 300]);
    flag.note(reading({ p50Ms: 75, bound: false }), 300, true);
    expect(flag.raised).toBe(true);
    flag.note(reading({ p50Ms: 74, bound: false }), 300, true);
    expect(flag.raised).toBe(false);
  });

  test('not by a fast window that was not calm', () => {
    const flag = noted([300, 300]);
    flag.note(reading({ p50Ms: 50, bound: true }), 300, false);
    expect(flag.raised).toBe(true);
  });

  test('measured by the speed before all of the slowness, found out twice or not', () => {
    const flag = noted([300, 300]);
    flag.raise(300);
    flag.note(reading({ p50Ms: 400, bound: false }), 300, true);
    expect(flag.raised).toBe(true);
  });
});
