/** What measures make of their turns: figures written by hand, for which the verdict is known. */
import { describe, expect, test } from 'vitest';

import { addedRow } from '../../../loadtest/cost/paced-turns.ts';
import { refusalRows, refusedShare } from '../../../loadtest/cost/refusal.ts';
import { ratioRows } from '../../../loadtest/cost/request.ts';
import { pausedRows } from '../../../loadtest/cost/workers.ts';
import { wrkScript } from '../../../loadtest/flat-out.ts';
import { measureLines } from '../../../loadtest/measure-lines.ts';
import { judged } from '../../../loadtest/measure.ts';
import { outcomeOf } from '../../../loadtest/overload/rows.ts';
import type { Row } from '../../../loadtest/overload/rows.ts';
import { loadPage } from '../../../loadtest/page.ts';
import { inTurns, median, quantile, ratios, spread } from '../../../loadtest/turns.ts';

const outcomes = (rows: readonly Row[]): Record<string, string> =>
  Object.fromEntries(rows.map((row) => [row.what, outcomeOf(row)]));

const turnsOf = (figures: Readonly<Record<string, readonly number[]>>) => ({
  cpuUs: (name: string): readonly number[] => figures[name] ?? [],
});

describe('turns', () => {
  test('everybody is measured once a round, in an order that turns', async () => {
    const order: string[] = [];
    const results = await inTurns('a title', 3, ['a', 'b', 'c'], String, (who, round) => {
      order.push(who);
      return Promise.resolve(`${who}${round}`);
    });
    expect(order.join('')).toBe('abccbaabc');
    expect(results.get('b')).toEqual(['b1', 'b2', 'b3']);
  });

  test('are told by their median, with least and most beside it', () => {
    expect(median([9, 1, 5])).toBe(5);
    expect(median([1, 2, 4, 9])).toBe(3);
    expect(median([])).toBeNaN();
    expect(spread([2, 1, 3], 1)).toBe('1.0–3.0');
    expect(quantile([5, 1, 4, 2, 3], 0.5)).toBe(3);
    expect(
      quantile(
        Array.from({ length: 100 }, (_, index) => index + 1),
        0.99,
      ),
    ).toBe(99);
  });

  test('a ratio is taken within its round, so a slow second of the machine takes no side', () => {
    expect(ratios([50, 100, 55], [100, 200, 110])).toEqual([0.5, 0.5, 0.5]);
    expect(median([50, 100, 55]) / median([100, 200, 90])).not.toBe(0.5);
  });
});

describe('the cost of a request', () => {
  const bare = [100, 100, 100];

  test('is kept at 0.6 of the bare proxy, its goal at 0.5', () => {
    const verdict = (cpu: number): string | undefined =>
      outcomes(ratioRows(turnsOf({ gateway: [cpu, cpu, cpu], 'bare proxy': bare })))[
        'CPU a request ÷ that of a bare @fastify/http-proxy'
      ];
    expect([verdict(50), verdict(60), verdict(60.1)]).toEqual(['kept', 'goal missed', 'missed']);
  });

  test('Caddy is a goal alone, the others are shown, and who was not measured has no row', () => {
    const rows = ratioRows(
      turnsOf({ gateway: [50, 50, 50], 'bare proxy': bare, Caddy: [80, 80, 80], nginx: [10, 10, 10] }),
    );
    expect(Object.values(outcomes(rows))).toEqual(['kept', 'goal missed', 'shown']);
  });

  test('callers with sessions are sent in turn, whatever stands in their headers', () => {
    const script = wrkScript([
      { path: '/a?b="c"', headers: { cookie: 'x=1', 'x-api-key': 'k' } },
      { path: '/d', headers: {} },
    ]);
    expect(script).toContain(
      'wrk.format("GET", "/a?b=\\"c\\"", { ["cookie"] = "x=1", ["x-api-key"] = "k" })',
    );
    expect(script).toContain('wrk.format("GET", "/d", {  })');
  });
});

describe('the cost of a refusal', () => {
  test('is kept at 1.7 of answering alone, its goal at 1.4; both kinds are judged', () => {
    const alone = [10, 10, 10];
    const rows = refusalRows(
      turnsOf({ 'node:http alone': alone, 'a 429': [14, 14, 14], 'a shed request': [17.1, 17.1, 17.1] }),
    );
    expect(Object.values(outcomes(rows))).toEqual(['kept', 'missed']);
  });

  test('that was not measured is missed', () => {
    expect(Object.values(outcomes(refusalRows(turnsOf({}))))).toEqual(['missed', 'missed']);
  });

  test('only counts answers that were refusals of its kind', () => {
    const series = (code: string, count: number): string =>
      `spillway_requests_total{route="r",status="429",code="${code}"} ${count}`;
    const page = [series('', 10), series('SPW_RATE_CLIENT', 60), series('SPW_SHED_DEADLINE', 30)].join('\n');
    expect(refusedShare(page, 'SPW_RATE_')).toBe(0.6);
    expect(refusedShare(page, 'SPW_SHED_')).toBe(0.3);
    expect(refusedShare('', 'SPW_SHED_')).toBeNaN();
  });
});

describe('the detour', () => {
  const turn = (p50Ms: number, p99Ms: number) => ({ p50Ms, p99Ms, answers: 1, lost: 0, lateP99Ms: 1 });
  const ways = [
    [turn(0.5, 2), turn(0.6, 3)],
    [turn(0.2, 1), turn(0.4, 3)],
  ] as const;

  test('is what a round adds to the same round directly', () => {
    expect(addedRow('p99', ways, 'p99Ms', 1).value).toBe(0.5);
    expect(addedRow('p50', ways, 'p50Ms', 1).value).toBeCloseTo(0.25, 9);
  });

  test('is not judged at p99 when the sender was late', () => {
    const rows = (['p50Ms', 'p99Ms'] as const).map((figure) => addedRow(figure, ways, figure, 8, 1));
    expect(rows.map(outcomeOf)).toEqual(['kept', 'not judged']);
  });
});

describe('a worker that stands still', () => {
  const calm = Array.from({ length: 1000 }, (_, index) => index / 1000);
  const run = { calmMs: [calm, calm], pausedMs: [calm, calm], newMs: [1, 2], lost: 0, lateP99Ms: 1 };

  test('may cost the callers of the other a tenth of their p99', () => {
    const of = (factor: number) =>
      pausedRows({ ...run, pausedMs: [calm.map((ms) => ms * factor), calm.map((ms) => ms * factor)] });
    expect(of(1.1).map(outcomeOf)).toEqual(['kept', 'kept', 'shown', 'kept']);
    expect(of(1.2).map(outcomeOf)[0]).toBe('missed');
  });

  test('keeps no new caller waiting, and loses nobody', () => {
    expect(pausedRows({ ...run, newMs: [1, Infinity] }).map(outcomeOf)[1]).toBe('missed');
    expect(pausedRows({ ...run, newMs: [] }).map(outcomeOf)[1]).toBe('missed');
    expect(pausedRows({ ...run, lost: 1 }).map(outcomeOf)[3]).toBe('missed');
  });

  test('is not judged by a sender that was late itself', () => {
    expect(pausedRows({ ...run, lateP99Ms: 20 }).map(outcomeOf)[0]).toBe('not judged');
  });
});

describe('a measure', () => {
  const result = judged('start', 'A worker is killed.', {
    rows: [
      { what: 'to its first answer', unit: 'ms', value: 401, bound: { most: 400 }, goal: { most: 250 } },
    ],
    figures: [{ caption: 'medians', head: ['', 'ms'], rows: [['a worker', '401']] }],
    notes: ['a note'],
    html: ['<svg id="flame"></svg>'],
    data: {},
  });

  test('is told as text with its verdict and its figures', () => {
    const text = measureLines(result);
    expect(text).toMatch(/^MISSED +to its first answer +401 ms +≤ 400 ms, goal ≤ 250 ms$/m);
    expect(text).toMatch(/^a worker +401$/m);
    expect(text).toContain('a note');
  });

  test('stands on the page with its charts, and among every bound', () => {
    const machine = { cpu: 'a', cores: 2, memoryGiB: 1, system: 'b', versions: {} };
    const page = loadPage(machine, [], [result], ['caddy is not installed']);
    expect(page).toContain('start: to its first answer');
    expect(page).toContain('401 ms MISSED');
    expect(page).toContain('<svg id="flame">');
    expect(page).toContain('Not measured: caddy is not installed');
  });
});
