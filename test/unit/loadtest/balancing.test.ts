/** What the measures of balancing make of their turns: figures written by hand, for which the verdict is known. */
import { expect, test } from 'vitest';

import { pickRows } from '../../../loadtest/balancing/pick.ts';
import { slowTwoRows } from '../../../loadtest/balancing/slow-two.ts';
import { outcomeOf } from '../../../loadtest/overload/rows.ts';
import type { Row } from '../../../loadtest/overload/rows.ts';

function verdicts(rows: readonly Row[]): string[] {
  return rows.map((row) => outcomeOf(row));
}

const turn = (p99Ms: number, slowShare: number, failed = 0) => ({
  p50Ms: 28,
  p99Ms,
  failed,
  slowShare,
  senderLagP99Ms: 1,
});

test('two slow ones may raise p99 by 15 %, round by round, and fail nobody', () => {
  const fast = [turn(180, 1), turn(200, 1), turn(190, 1)];
  expect(verdicts(slowTwoRows(fast, [turn(200, 0.1), turn(222, 0.1), turn(260, 0.1)]))).toEqual([
    'kept',
    'shown',
    'kept',
    'kept',
  ]);
  expect(verdicts(slowTwoRows(fast, [turn(230, 0.4), turn(250, 0.4), turn(230, 0.4, 1)]))).toEqual([
    'missed',
    'shown',
    'missed',
    'missed',
  ]);
});

test('a pick is judged by the dearer of two thousands, in time and in bytes', () => {
  const stretch = (what: string, nsEach: number, bytesEach: number) => ({ what, nsEach, bytesEach });
  const of = (ns: number, bytes: number, refused = 0): string[] =>
    verdicts(
      pickRows({
        stretches: [
          stretch('10', 5000, 500),
          stretch('1000', 100, 0),
          stretch('1000, a tenth slow or failing', ns, bytes),
          stretch('breaker', 100, 0),
        ],
        refused,
      }),
    );
  expect(of(900, 0.1)).toEqual(['kept', 'kept', 'kept', 'kept']);
  expect(of(1100, 16, 1)).toEqual(['missed', 'missed', 'kept', 'missed']);
});
