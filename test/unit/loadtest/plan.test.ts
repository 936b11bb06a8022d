import { describe, expect, test } from 'vitest';

import { planFrom } from '../../../loadtest/plan.ts';
import type { Plan } from '../../../loadtest/plan.ts';

function plan(...args: string[]): Plan {
  const read = planFrom(args);
  if (typeof read === 'string') throw new Error(read);
  return read;
}

describe('the words of the load test', () => {
  test('without a name everything runs', () => {
    const { scenarios, cases, targets } = plan();
    expect(scenarios).toEqual(['baseline', 'noisy']);
    expect(cases).toHaveLength(11);
    expect(targets).toHaveLength(6);
  });

  test('overload is all of its cases, and a case can be named', () => {
    expect(plan('overload')).toMatchObject({ scenarios: [], quick: false });
    expect(plan('overload').cases).toHaveLength(11);
    expect(plan('moving', 'surge', '--quick')).toMatchObject({ cases: ['surge', 'moving'], quick: true });
    expect(plan('noisy', 'idle')).toMatchObject({ scenarios: ['noisy'], cases: ['idle'] });
  });

  test('rounds, seed, targets and files are taken as given', () => {
    const given = plan(
      'surge',
      '--rounds',
      '11',
      '--seed',
      '7',
      '--target',
      'nginx',
      '--html',
      'a',
      '--json',
      'b',
    );
    expect(given).toMatchObject({ rounds: 11, seed: 7, htmlFile: 'a', jsonFile: 'b' });
    expect(given.targets).toEqual(['nginx', 'nginx, tuned']);
  });

  test.each([
    [['surge', 'storm'], 'storm'],
    [['--rounds', '0'], '--rounds'],
    [['--seconds', 'x'], '--seconds'],
    [['--seed', '-1'], 'seed'],
    [['--target', 'caddy'], '--target'],
    [['--loud'], 'loud'],
  ])('%j is not understood, and the answer says why', (args, why) => {
    expect(planFrom(args)).toContain(why);
  });
});
