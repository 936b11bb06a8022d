import { describe, expect, test } from 'vitest';

import { MEASURE_GROUPS, MEASURES } from '../../../loadtest/measures.ts';
import { planFrom } from '../../../loadtest/plan.ts';
import type { Plan } from '../../../loadtest/plan.ts';

function plan(...args: string[]): Plan {
  const read = planFrom(args);
  if (typeof read === 'string') throw new Error(read);
  return read;
}

describe('the words of the load test', () => {
  test('without a name everything runs', () => {
    const { scenarios, cases, measures, targets, peers } = plan();
    expect(scenarios).toEqual(['noisy']);
    expect(cases).toHaveLength(11);
    expect(measures).toEqual(Object.keys(MEASURES));
    expect(targets).toHaveLength(6);
    expect([...peers]).toEqual(['Caddy', 'nginx', 'HAProxy']);
  });

  test('overload is all of its cases, and a case can be named', () => {
    expect(plan('overload')).toMatchObject({ scenarios: [], measures: [], quick: false });
    expect(plan('overload').cases).toHaveLength(11);
    expect(plan('moving', 'surge', '--quick')).toMatchObject({ cases: ['surge', 'moving'], quick: true });
    expect(plan('noisy', 'idle')).toMatchObject({ scenarios: ['noisy'], cases: ['idle'] });
  });

  test('cost is what a request costs in CPU, time and memory, and each can be named', () => {
    expect(plan('cost')).toMatchObject({
      scenarios: [],
      cases: [],
      measures: [...(MEASURE_GROUPS['cost'] ?? [])],
    });
    expect(plan('cost').measures).toContain('big-bodies');
    expect(plan('detour', 'cost-refusal').measures).toEqual(['cost-refusal', 'detour']);
    expect(plan('start', 'cost').measures).toEqual(plan('cost').measures);
  });

  test('limits is all of its parts, and each can be named', () => {
    expect(plan('limits')).toMatchObject({
      scenarios: [],
      cases: [],
      measures: [...(MEASURE_GROUPS['limits'] ?? [])],
    });
    expect(plan('limits').measures).toHaveLength(7);
    expect(plan('limits-keys', 'limits-trips').measures).toEqual(['limits-trips', 'limits-keys']);
  });

  test('a target leaves out what the bounds of measures do not need', () => {
    expect([...plan('cost', '--target', 'caddy').peers]).toEqual(['Caddy']);
    expect(plan('cost', '--target', 'gateway')).toMatchObject({ targets: ['gateway'], peers: new Set() });
  });

  test('seconds and rounds that are not said are left to each', () => {
    expect(plan('cost')).toMatchObject({ seconds: undefined, rounds: undefined, before: undefined });
    expect(plan('cost', '--seconds', '3', '--before', '/old')).toMatchObject({ seconds: 3, before: '/old' });
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
    [['--target', 'varnish'], '--target'],
    [['--loud'], 'loud'],
  ])('%j is not understood, and the answer says why', (args, why) => {
    expect(planFrom(args)).toContain(why);
  });
});
