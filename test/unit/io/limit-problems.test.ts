import { expect, test } from 'vitest';
import { LimitProblems } from '../../../src/io/limit-problems.ts';
import { formatProblem } from '../../../src/kernel/problem.ts';
import { compileRate } from '../../../src/limits/gcra.ts';
import { charge } from '../limits/fixtures.ts';

const client = charge('client', compileRate(10 / 60, 5));
const route = charge('route', compileRate(2, 2));
const global = charge('global', compileRate(1000, 1000));
const charges = [client, route, global];

function detailOf(
  problem: ReturnType<LimitProblems['of']>,
  code: 'SPW_RATE_CLIENT' | 'SPW_RATE_ROUTE',
): string {
  const { body } = formatProblem(code, 'id', '', false, '', undefined, problem);
  return (JSON.parse(body) as { detail: string }).detail;
}

test('a refusal tells the figures of the limit that refused, and of its cost', () => {
  const problems = new LimitProblems();
  expect(detailOf(problems.of('client', charges, 1), 'SPW_RATE_CLIENT')).toBe(
    'This client may ask 10 times a minute.',
  );
  expect(detailOf(problems.of('route', charges, 1), 'SPW_RATE_ROUTE')).toBe(
    'This client may ask 2 times a second on this route.',
  );
  expect(detailOf(problems.of('client', charges, 5), 'SPW_RATE_CLIENT')).toBe(
    'This client may use 10 units a minute, and this request costs 5.',
  );
});

test('a flood of refusals makes its body once, whoever the client is', () => {
  const problems = new LimitProblems();
  const first = problems.of('client', charges, 1);
  expect(problems.of('client', [{ ...client, key: 'another' }], 1)).toBe(first);
  expect(problems.ofConcurrency(50)).toBe(problems.ofConcurrency(50));
  expect(problems.ofConcurrency(50).detail).toBe('This client may have 50 requests in flight.');
});

test("what many share is told in the table's words", () => {
  const problems = new LimitProblems();
  expect(problems.of('global', charges, 1)).toBeUndefined();
  expect(problems.of('', charges, 1)).toBeUndefined();
  const { body } = formatProblem('SPW_RATE_GLOBAL', 'id', '', false, '', undefined, undefined);
  expect(body).not.toMatch(/\d{4}/);
});
