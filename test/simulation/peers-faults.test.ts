/**
 * The peers show the faults they are known for, on the arrivals of the reference rows. A simulator that flatters them
 * proves nothing; one that slanders them neither, so each also holds what its description promises.
 *
 * Bounds stated before, from the design's table of peers; each is what the fault is, not what was seen.
 */
import { describe, expect, test } from 'vitest';
import type { GateFactory } from './gate.ts';
import { World } from './model.ts';
import {
  envoy,
  fixed,
  gradient2,
  none,
  prototype,
  slaGradient,
  vegas,
  vegasUnwindowed,
} from './peers/peers.ts';
import { REFERENCE_SCENARIOS } from './scenarios/reference.ts';
import type { Run } from './suite.ts';

const SEED = 211;
const SLA_MS = 250;
const CAPACITY = 1600;

const BLIND: readonly (readonly [string, GateFactory])[] = [
  ['fixed', fixed(40)],
  ['Envoy', envoy],
  ['Gradient2', gradient2],
  ['Vegas', vegas],
];

function row(letter: string, gate?: GateFactory): Run {
  const scenario = REFERENCE_SCENARIOS.find(({ name }) => name.startsWith(`${letter} `));
  if (scenario === undefined) throw new Error(`the reference has a row ${letter}`);
  return scenario.run(SEED, gate);
}

describe('no limit', () => {
  test('serves nothing in time in 2 C, and nothing for twenty seconds after it', () => {
    const world = new World({ slaMs: SLA_MS, slots: 40, meanMs: 25, seed: SEED, gate: none });
    const times = (now: number): number => (now >= 5000 && now < 25_000 ? 2 : 0.7);
    world.poisson(1, (now) => times(now) * CAPACITY, 0, 45_000);
    world.run(45_500);
    expect(world.report.goodput(0, 5000) / CAPACITY).toBeGreaterThan(0.65);
    expect(world.report.goodput(8000, 25_000) / CAPACITY).toBeLessThan(0.01);
    expect(world.report.tally(25_000, 45_000).good).toBe(0);
  });

  test('is the best there is for a service that is slow by itself', () => {
    expect(row('G', none).figures['ofNoLimit']).toBeGreaterThan(0.97);
  });
});

describe('Envoy', () => {
  test('lets its limit drift up in calm, so that a surge meets none: C and J', () => {
    for (const letter of ['C', 'J']) {
      const { figures, world } = row(letter, envoy);
      const before = world.trace.rows().find(({ atMs }) => atMs >= 15_000);
      expect(before?.limit).toBe(1000);
      expect(figures['firstP99Ms']).toBeGreaterThan(SLA_MS);
    }
  });

  test('holds the goodput of a surge once it has come down', () => {
    expect(row('C', envoy).figures.goodput).toBeGreaterThan(0.95);
  });

  test('takes slowness for queueing: G', () => {
    expect(row('G', envoy).figures['ofNoLimit']).toBeLessThan(0.9);
  });
});

describe('Gradient2', () => {
  test('sheds without any overload: A, and F after it has come from 20', () => {
    for (const letter of ['A', 'F']) {
      expect(row(letter, gradient2).figures['shedShare']).toBeGreaterThan(0.01);
      expect(row(letter).figures['shedShare']).toBeLessThan(0.001);
    }
  });

  test('comes back late when the service is fast again: E', () => {
    expect(row('E', gradient2).figures['recoveredMs']).toBeGreaterThan(10_000);
    expect(row('E').figures['recoveredMs']).toBeLessThan(2000);
  });

  test('keeps the tail short in overload, as it promises', () => {
    expect(row('C', gradient2).figures.p99Ms).toBeLessThan(0.5 * SLA_MS);
  });
});

describe('Vegas', () => {
  test('takes slowness for queueing: G', () => {
    expect(row('G', vegas).figures['ofNoLimit']).toBeLessThan(0.8);
  });

  test('without windows one slow answer is evidence, and it sheds most of what is calm: A', () => {
    const { figures } = row('A', vegasUnwindowed);
    expect(figures['shedShare']).toBeGreaterThan(0.5);
  });

  test('holds the goodput of a surge', () => {
    expect(row('B', vegas).figures.goodput).toBeGreaterThan(0.9);
  });
});

describe('a fixed limit', () => {
  test('of exactly the slots sheds at 0.7 C: chance is not even', () => {
    expect(row('A', fixed(40)).figures['shedShare']).toBeGreaterThan(0.001);
  });

  test('holds the goodput of a surge for the capacity it was tuned to', () => {
    expect(row('C', fixed(40)).figures.goodput).toBeGreaterThan(0.95);
  });
});

describe('a gradient straight from SLA ÷ p95', () => {
  test('refuses half of what a slow service could do: G', () => {
    expect(row('G', slaGradient).figures['ofNoLimit']).toBeLessThan(0.6);
    expect(row('G').figures['ofNoLimit']).toBeGreaterThan(0.95);
  });
});

describe('critical requests in 10 C', () => {
  for (const [name, gate] of BLIND) {
    test(`${name} does not know them: one in ten is served, like all`, () => {
      const { critical } = row('C', gate).figures;
      expect(critical).toBeGreaterThan(0.05);
      expect(critical).toBeLessThan(0.15);
    });
  }

  test('ours and the prototype’s live', () => {
    expect(row('C').figures.critical).toBeGreaterThan(0.995);
    expect(row('C', prototype).figures.critical).toBeGreaterThan(0.99);
  });
});
