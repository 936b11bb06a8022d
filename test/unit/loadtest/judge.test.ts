import { describe, expect, test } from 'vitest';

import type { CaseRun } from '../../../loadtest/overload/case.ts';
import { caseLines } from '../../../loadtest/overload/lines.ts';
import { judgeCase, pooledRow, worstOf } from '../../../loadtest/overload/judge.ts';
import { formatted, outcomeOf, senderTooLate, wanted } from '../../../loadtest/overload/rows.ts';
import type { Row } from '../../../loadtest/overload/rows.ts';

const least = (value: number | undefined, more: Partial<Row> = {}): Row => ({
  what: 'goodput',
  unit: 'ratio',
  value,
  bound: { least: 0.97 },
  goal: { least: 0.98 },
  ...more,
});

function run(rows: readonly Row[], more: Partial<CaseRun> = {}): CaseRun {
  return {
    target: 'gateway',
    workers: 1,
    seed: 1,
    rows,
    recorded: [],
    codes: {},
    senderLagP99Ms: 1,
    notes: [],
    ...more,
  };
}

describe('a row', () => {
  test('is kept at its bound and missed below it; a missed goal is told apart', () => {
    expect(outcomeOf(least(0.98))).toBe('kept');
    expect(outcomeOf(least(0.97))).toBe('goal missed');
    expect(outcomeOf(least(0.969))).toBe('missed');
    expect(outcomeOf(least(251, { bound: { most: 250 }, goal: { most: 200 } }))).toBe('missed');
    expect(outcomeOf({ what: 'a', unit: 'ms', value: 3 })).toBe('shown');
  });

  test('whose figure could not be counted is missed, without a figure it is not judged', () => {
    expect(outcomeOf(least(Number.NaN))).toBe('missed');
    expect(outcomeOf(least(Infinity, { bound: { most: 2000 } }))).toBe('missed');
    expect(outcomeOf(least(undefined))).toBe('not judged');
  });

  test('that a late sender spoilt is not judged; one that is kept all the same is kept', () => {
    const excuse = senderTooLate(4) ?? '';
    expect(excuse).toContain('4.0 ms late');
    expect(senderTooLate(1)).toBeUndefined();
    expect(outcomeOf(least(0.5, { excuse }))).toBe('not judged');
    expect(outcomeOf(least(0.99, { excuse }))).toBe('kept');
  });

  test('is written with its unit', () => {
    expect(wanted(least(1))).toBe('≥ 0.970, goal ≥ 0.980');
    expect(formatted(0.9995, 'share')).toBe('99.95 %');
    expect(formatted(0.5, 'share')).toBe('50.0 %');
    expect(formatted(Infinity, 'seconds')).toBe('never');
    expect(formatted(Number.NaN, 'ms')).toBe('–');
    expect(formatted(7.25, 'ms')).toBe('7.3 ms');
  });
});

describe('several rounds', () => {
  test('are as good as the worst of them, in the direction of the bound', () => {
    expect(worstOf([[least(0.99)], [least(0.9)], [least(1)]])[0]?.value).toBe(0.9);
    const most = (value: number): Row => ({ ...least(value), bound: { most: 10 } });
    expect(worstOf([[most(3)], [most(12)], [most(5)]])[0]?.value).toBe(12);
    expect(worstOf([[least(0.99)], [least(Number.NaN)], [least(1)]])[0]?.value).toBeNaN();
    expect(worstOf([[least(undefined)], [least(1)]])[0]?.value).toBe(1);
  });

  test('are pooled only where ten thousand critical requests were sent', () => {
    const pool = { criticalOffered: 6000, criticalInTime: 5999 };
    expect(pooledRow([run([])])).toBeUndefined();
    expect(pooledRow([run([], { pool })])).toMatchObject({ value: undefined });
    expect(pooledRow([run([], { pool }), run([], { pool })])?.value).toBeCloseTo(11_998 / 12_000, 9);
    const judged = judgeCase([run([least(1)], { pool }), run([least(0.9)], { pool })]);
    expect(judged.map(({ outcome }) => outcome)).toEqual(['missed', 'kept']);
  });

  test('are told in one table with what they are compared with', () => {
    const runs = [run([least(1)]), run([least(0.03)], { target: 'nginx', notes: ['a note'] })];
    const text = caseLines({ name: 'surge', about: 'much', runs, judged: judgeCase(runs.slice(0, 1)) });
    expect(text.split('\n')[2]).toMatch(/^kept +goodput +1\.000 +0\.030 +≥ 0\.970/);
    expect(text).toContain('nginx: a note');
  });
});
