/** What chaos makes of its experiments: figures written by hand, for which it is known which hypothesis they keep. */
import { describe, expect, test } from 'vitest';

import { EXPERIMENTS } from '../../../loadtest/rolling/chaos-faults.ts';
import { checksOf, PHASES } from '../../../loadtest/rolling/chaos-verdict.ts';
import type { Found, Hypothesis } from '../../../loadtest/rolling/chaos-verdict.ts';
import { Ledger } from '../../../loadtest/rolling/ledger.ts';
import type { PhaseFigures } from '../../../loadtest/rolling/ledger.ts';
import { outcomeOf } from '../../../loadtest/overload/rows.ts';
import { soundRows } from '../../../loadtest/rolling/verdict.ts';

const HYPOTHESIS: Hypothesis = {
  gets: 0,
  posts: 1,
  laterShare: 0,
  laterP99Ms: 500,
  out: { state: 'down', withinMs: 600 },
  never: ['ejected'],
  changes: 4,
  backMs: 800,
};

const CALM: PhaseFigures = {
  phase: PHASES.later,
  sent: 100,
  gets: 90,
  posts: 10,
  failed: 0,
  failedGets: 0,
  duplicated: 0,
  unfounded: 0,
  moved: { 'with the instance': 0, spill: 0, 'without a cause': 0 },
  p50Ms: 80,
  p99Ms: 300,
  failedP99Ms: Number.NaN,
  faults: {},
};

function missed(changes: Partial<Found>, hypothesis: Partial<Hypothesis> = {}): readonly string[] {
  const found: Found = {
    figures: [CALM],
    outMs: 400,
    backMs: 700,
    seen: new Set(['ready', 'down']),
    changes: 2,
    metrics: '',
    ...changes,
  };
  return checksOf({ ...HYPOTHESIS, ...hypothesis }, found)
    .filter(({ kept }) => !kept)
    .map(({ what }) => what);
}

const later = (changes: Partial<PhaseFigures>): Partial<Found> => ({ figures: [{ ...CALM, ...changes }] });

describe('a hypothesis', () => {
  test('is kept by figures at its bounds', () => {
    expect(missed({})).toEqual([]);
    expect(missed({ outMs: 600, backMs: 800, changes: 4 })).toEqual([]);
    expect(missed({ figures: [CALM, { ...CALM, phase: PHASES.first, failed: 1 }] })).toEqual([]);
  });

  test('is missed by whatever is beyond one of them', () => {
    expect(missed({ outMs: 601 })).toEqual(['down']);
    expect(missed({ outMs: Infinity, backMs: Infinity })).toEqual(['back', 'down']);
    expect(missed({ seen: new Set(['ejected']) })).toEqual(['states']);
    expect(missed({ changes: 5 })).toEqual(['changes of state']);
    expect(missed(later({ failed: 2, failedGets: 1 }))).toEqual(['GETs failed', 'failed later']);
    expect(missed(later({ failed: 2 }))).toEqual(['POSTs failed', 'failed later']);
    expect(missed(later({ duplicated: 1 }))).toEqual(['POSTs run twice']);
    expect(missed(later({ unfounded: 1 }))).toEqual(['POSTs run twice']);
    expect(missed(later({ moved: { ...CALM.moved, 'without a cause': 1 } }))).toEqual(['moved']);
    expect(missed(later({ p99Ms: 501 }))).toEqual(['p99 later']);
  });

  test('is missed where nothing was measured', () => {
    expect(missed({ figures: [] })).toEqual(['failed later', 'p99 later']);
    expect(missed(later({ p99Ms: Number.NaN }))).toEqual(['p99 later']);
  });

  test('that callers are refused with one code is missed by another, by none, and by a late one', () => {
    const refusal = { code: 'SPW_DEPENDENCY_DOWN', p99Ms: 5 };
    const refused: Partial<Hypothesis> = { gets: Infinity, posts: Infinity, laterShare: 1, refusal };
    const told = (faults: Readonly<Record<string, number>>, failedP99Ms = 2): readonly string[] =>
      missed(later({ failed: 100, faults, failedP99Ms }), refused);
    expect(told({ 'GET 503 SPW_DEPENDENCY_DOWN': 90, 'POST 503 SPW_DEPENDENCY_DOWN': 10 })).toEqual([]);
    expect(told({ 'GET 503 SPW_DEPENDENCY_DOWN': 99, 'GET 500': 1 })).toEqual(['told later']);
    expect(told({ 'GET 503 SPW_DEPENDENCY_DOWN': 100 }, 6)).toEqual(['told later']);
    expect(missed({}, refused)).toEqual(['told later', 'told later']);
  });

  test('about the figures of the gateway is missed where they are silent', () => {
    const figure = /^faults_total [1-9]/m;
    expect(missed({ metrics: 'a 1\nfaults_total 2\n' }, { figure })).toEqual([]);
    expect(missed({ metrics: 'faults_total 0\n' }, { figure })).toEqual(['figures']);
  });
});

describe('the faults', () => {
  test('have names of their own, and hypotheses that can be missed', () => {
    expect(new Set(EXPERIMENTS.map(({ fault }) => fault)).size).toBe(EXPERIMENTS.length);
    for (const { fault, hypothesis } of EXPERIMENTS) {
      const { backMs, gets, never, refusal, out } = hypothesis;
      expect(backMs, fault).toBeLessThan(9000);
      // One that lets everything fail says how, or what must not happen meanwhile.
      expect(gets < Infinity || refusal !== undefined || never.length > 0, fault).toBe(true);
      expect(out === undefined || out.withinMs < 2500, fault).toBe(true);
    }
  });
});

describe('rows of a roll', () => {
  const failedOf = (figures: readonly PhaseFigures[], stood: string): string =>
    outcomeOf(soundRows(figures, stood)[0] ?? { what: '', unit: 'count', value: 0 });

  test('a failure is a miss, unless the sender itself stood still; nothing sent always is', () => {
    const lost = [{ ...CALM, failed: 1 }];
    expect([failedOf([CALM], ''), failedOf(lost, ''), failedOf(lost, 'it stood still')]).toEqual([
      'kept',
      'missed',
      'not judged',
    ]);
    expect([failedOf([], ''), failedOf([], 'it stood still')]).toEqual(['missed', 'missed']);
  });
});

describe('the ledger', () => {
  test('tells how soon after their sending failures were told, apart from the answers, which count from when they were due', () => {
    const ledger = new Ledger();
    for (let request = 0; request < 10; request += 1)
      ledger.add({ phase: 'a', method: 'GET', id: '', tookMs: 100 + request, toldMs: 99, fault: '' });
    const fault = '503 SPW_DEPENDENCY_DOWN';
    ledger.add({ phase: 'a', method: 'GET', id: '', tookMs: 5, toldMs: 3, fault });
    expect(ledger.figures(new Map())).toMatchObject([{ p99Ms: 109, failedP99Ms: 3, failed: 1, sent: 11 }]);
  });
});
