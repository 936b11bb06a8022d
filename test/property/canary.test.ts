/** Whom a canary gets: the share that its weight says, the same everywhere, and nobody comes back when it is raised. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { canaryOf, canaryPlace } from '../../src/affinity/canary.ts';

const weights = fc.double({ min: 0, max: 1, noNaN: true });
const ids = Array.from({ length: 40_000 }, (_, index) =>
  (index * 2_654_435_761).toString(16).padStart(16, '0'),
);

describe('a canary', () => {
  test('keeps everybody it has when its weight grows, whatever else runs', () => {
    fc.assert(
      fc.property(
        fc.string(),
        fc.string(),
        fc.string(),
        weights,
        weights,
        weights,
        (id, service, v, a, b, other) => {
          const [low, high] = a <= b ? [a, b] : [b, a];
          const others = [{ version: `${v}x`, weight: other }];
          const before = canaryOf(id, service, [...others, { version: v, weight: low }]);
          const after = canaryOf(id, service, [...others, { version: v, weight: high }]);
          if (before !== '') expect(after).toBe(before);
        },
      ),
      { numRuns: 2000 },
    );
  });

  test('from 10 to 50 %: of 40 000 sessions none moves back, and each share is met', () => {
    const at = (weight: number): Set<string> =>
      new Set(ids.filter((id) => canaryOf(id, 'shop', [{ version: 'v2', weight }]) === 'v2'));
    const [ten, fifty] = [at(0.1), at(0.5)];
    expect([...ten].filter((id) => !fifty.has(id))).toEqual([]);
    expect(ten.size / ids.length).toBeCloseTo(0.1, 2);
    expect(fifty.size / ids.length).toBeCloseTo(0.5, 2);
    expect([at(0).size, at(1).size]).toEqual([0, ids.length]);
  });

  test('has other callers than the one before it, and than that of another service', () => {
    const at = (service: string, version: string): Set<string> =>
      new Set(ids.filter((id) => canaryPlace(id, service, version) < 0.1));
    const own = at('shop', 'v2');
    for (const other of [at('shop', 'v3'), at('stock', 'v2')])
      expect([...own].filter((id) => other.has(id)).length / own.size).toBeCloseTo(0.1, 1);
  });

  test('of several canaries each gets its share of what those before it left', () => {
    const shares = [
      { version: 'v2', weight: 0.2 },
      { version: 'v3', weight: 0.5 },
    ];
    const counts = new Map<string, number>();
    for (const id of ids) {
      const version = canaryOf(id, 'shop', shares);
      counts.set(version, (counts.get(version) ?? 0) + 1);
    }
    expect((counts.get('v2') ?? 0) / ids.length).toBeCloseTo(0.2, 2);
    expect((counts.get('v3') ?? 0) / ids.length).toBeCloseTo(0.4, 2);
    expect((counts.get('') ?? 0) / ids.length).toBeCloseTo(0.4, 2);
  });
});
