import { describe, expect, test } from 'vitest';

import { usedShare, worstWindow } from '../../../loadtest/limits/checker.ts';
import type { Admission } from '../../../loadtest/limits/checker.ts';
import { contractRows, keptBy } from '../../../loadtest/limits/contract.ts';
import { decisionRows as cpuRows } from '../../../loadtest/limits/decision.ts';
import type { DecisionTurn } from '../../../loadtest/limits/decision-child.ts';
import type { Recorded } from '../../../loadtest/limits/fleet.ts';
import { decisionRows, fleetRows } from '../../../loadtest/limits/hang.ts';
import { latencyRows } from '../../../loadtest/limits/latency.ts';
import { outcomeOf } from '../../../loadtest/overload/rows.ts';
import type { Row } from '../../../loadtest/overload/rows.ts';

/** Answers that came at these moments, each within `tookMs`. */
function admissions(moments: readonly number[], tookMs = 0): Admission[] {
  return moments.map((untilMs) => ({ fromMs: untilMs - tookMs, untilMs }));
}

function every(stepMs: number, count: number, fromMs = 0): number[] {
  return Array.from({ length: count }, (_, index) => fromMs + index * stepMs);
}

function answers(moments: readonly number[], code = ''): Recorded[] {
  return moments.map((untilMs) => ({
    gateway: 0,
    load: 0,
    fate: code === '' ? 'served' : 'refused',
    code,
    fromMs: untilMs,
    untilMs,
  }));
}

function outcomes(rows: readonly Row[]): Record<string, string> {
  return Object.fromEntries(rows.map((row) => [row.what, outcomeOf(row)]));
}

describe('the sliding checker', () => {
  test('finds a burst and the rate kept, to the unit', () => {
    // 10/s, burst 5: five at once, then one each 100 ms.
    const kept = admissions([0, 0, 0, 0, 0, ...every(100, 50, 100)]);
    expect(worstWindow(kept, 10, 5).excess).toBeCloseTo(0);
    expect(worstWindow([...kept, { fromMs: 2000, untilMs: 2000 }], 10, 5).excess).toBeCloseTo(1);
  });

  test('finds the double burst at the edge of a fixed window, and where', () => {
    // 10 in each second: ten at the end of one and ten at the start of the next.
    const { excess, windowMs, admitted } = worstWindow(
      admissions([...every(1, 10, 990), ...every(1, 10, 1000)]),
      10,
      0,
    );
    expect(admitted).toBe(20);
    expect(windowMs).toBeCloseTo(19);
    expect(excess).toBeCloseTo(20 - 0.19);
  });

  test('counts only what lies in a window for certain', () => {
    const slow = admissions([100, 100, 100], 100);
    expect(worstWindow(slow, 10, 1).excess).toBeCloseTo(3 - 1 - 1);
    const one = worstWindow([{ fromMs: 0, untilMs: 500 }], 10, 1);
    expect(one.admitted).toBe(1);
    expect(one.excess).toBeCloseTo(-5);
  });

  test('does not depend on the order of the record', () => {
    const mixed = admissions([300, 0, 200, 100, 0]);
    expect(worstWindow(mixed, 10, 1)).toEqual(worstWindow(mixed.toReversed(), 10, 1));
  });

  test('use is what came in a time ÷ what the rate gives in it', () => {
    expect(usedShare(admissions(every(10, 1000)), 100, 2000, 7000)).toBeCloseTo(1);
    expect(usedShare(admissions(every(20, 500)), 100, 2000, 7000)).toBeCloseTo(0.5);
  });
});

describe('the verdict on a tier', () => {
  const tier = { name: 'gold', rate: 100, burst: 10, perGatewayPerSecond: 200 };
  const full = [...every(0, 10), ...every(10, 1000, 10)];

  test('exact may not be one unit above, leased 5 % of a second and the burst', () => {
    const one = [...full, 5000, 5000];
    const [exactOver] = contractRows([keptBy(tier, 'exact', answers(one), 10_000)]);
    const [leasedOver] = contractRows([keptBy(tier, 'auto', answers(one), 10_000)]);
    const [leasedFar] = contractRows([keptBy(tier, 'auto', answers([...one, ...every(0, 5, 5000)]), 10_000)]);
    expect([exactOver, leasedOver, leasedFar].map((row) => outcomeOf(row as Row))).toEqual([
      'missed',
      'kept',
      'missed',
    ]);
  });

  test('a limit that gives too little is missed too', () => {
    const [, used] = contractRows([keptBy(tier, 'exact', answers(every(10.5, 952)), 10_000)]);
    expect(outcomeOf(used as Row)).toBe('missed');
    const [, enough] = contractRows([keptBy(tier, 'exact', answers(full), 10_000)]);
    expect(outcomeOf(enough as Row)).toBe('kept');
  });

  test('refusals are no admissions', () => {
    const { admitted, offered } = keptBy(
      tier,
      'exact',
      [...answers([1]), ...answers([2], 'SPW_RATE_CLIENT')],
      10_000,
    );
    expect([admitted, offered]).toEqual([1, 2]);
  });
});

describe('the verdict on a Redis that stands still', () => {
  const calm = { memoryMs: [0.01], awayMs: 1, resumedMs: 2000 };
  const one = (atMs: number, tookMs: number, path: 'store' | 'fallback' = 'fallback') => ({
    atMs,
    tookMs,
    path,
    ok: true,
  });
  const later = every(10, 180, 100).map((atMs) => one(atMs, 0.02));
  const waits = every(10, 180, 100).map((atMs) => one(atMs, 0.2));

  test('is kept by a first wait of 27 ms, and none after', () => {
    const rows = decisionRows({ ...calm, decisions: [one(1, 27), ...later, one(2500, 0.3, 'store')] });
    expect(Object.values(outcomes(rows))).toEqual(['kept', 'kept', 'kept', 'shown', 'kept']);
  });

  test('is missed by a first wait of 31 ms, by waits after, and by a store that stays away', () => {
    const rows = decisionRows({ ...calm, decisions: [one(1, 31), ...waits] });
    expect(Object.values(outcomes(rows))).toEqual(['missed', 'missed', 'missed', 'shown', 'missed']);
  });

  test('says nothing of a machine that did not run the process, and that is told', () => {
    const decisions = [one(1, 45), ...waits, one(2500, 1, 'store')];
    const rows = decisionRows({ decisions, memoryMs: [0.3], awayMs: 20, resumedMs: 2000 });
    expect(rows.map((row) => outcomeOf(row)).slice(0, 3)).toEqual(['not judged', 'missed', 'not judged']);
  });

  test('one 5xx, or more than the fair share, is missed', () => {
    const served = answers(every(10, 400));
    const kept = outcomes(fleetRows(served, 1000, 3000));
    expect(Object.values(kept)).toEqual(['kept', 'kept', 'kept']);
    const broken = [...served, ...answers([1500], 'SPW_RATE_STORE_DOWN')];
    expect(Object.values(outcomes(fleetRows(broken, 1000, 3000)))[0]).toBe('missed');
    const twice = [...served, ...answers(every(10, 400))];
    expect(Object.values(outcomes(fleetRows(twice, 1000, 3000))).slice(1)).toEqual(['missed', 'missed']);
  });
});

describe('the verdict on what limits add', () => {
  const turn = (p50Ms: number, p99Ms: number) => ({ p50Ms, p99Ms, answers: 1, lost: 0, lateP99Ms: 0 });
  const ways = {
    off: [turn(1, 3), turn(2, 5)],
    exact: [turn(1.4, 4.9), turn(2.4, 6.9)],
    auto: [turn(1, 3), turn(2, 5)],
  };

  test('is taken round by round', () => {
    const rows = latencyRows((way) => ways[way], 1);
    expect(rows[0]?.value).toBeCloseTo(0.4);
    expect(rows[1]?.value).toBeCloseTo(1.9);
    expect(rows.slice(0, 2).map((row) => outcomeOf(row))).toEqual(['kept', 'kept']);
  });

  test('a late sender leaves p99 unjudged', () => {
    expect(outcomeOf(latencyRows((way) => ways[way], 8)[1] as Row)).toBe('not judged');
  });
});

test('the CPU of a decision is without what an empty wave costs, and judged on busy turns', () => {
  const turn = (name: string, cpuUs: number, wave = 16): DecisionTurn => ({
    name,
    wave,
    cpuUs,
    decisions: 100,
    calls: 300,
  });
  const turns = [
    turn('nothing', 1),
    turn('leased', 3.5),
    turn('leased', 50, 1),
    turn('exact', 32),
    turn('union of three', 80),
  ];
  const rows = cpuRows(turns);
  expect(rows[0]?.value).toBeCloseTo(2.5);
  expect(rows.map((row) => outcomeOf(row))).toEqual(['kept', 'missed', 'shown', 'shown']);
});
