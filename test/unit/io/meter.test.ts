import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Meter } from '../../../src/io/meter.ts';

/** What the dump says of the limited requests: labels, joined, and count. */
function counted(meter: Meter): Record<string, number> {
  const series = meter.dump()['spillway_limited_total'] ?? [];
  return Object.fromEntries(series.map((each) => [each.labels.join('/'), 'value' in each ? each.value : -1]));
}

const labels = (tier: string): readonly string[] => [tier, 'client', 'enforce'];
const isOf =
  (tier: string) =>
  ([first]: readonly string[]): boolean =>
    first === tier;

describe('a series that was forgotten', () => {
  test('begins anew with the next count, which is seen', () => {
    const meter = new Meter();
    meter.add('limited_total', labels('free'), 5);
    meter.forget('limited_total', isOf('free'));
    expect(counted(meter)).toEqual({});
    // Twice: it is remembered as a recent one again after the first time.
    meter.add('limited_total', labels('free'));
    meter.add('limited_total', labels('free'), 2);
    expect(counted(meter)).toEqual({ 'free/client/enforce': 3 });
  });

  test('takes nothing of the others with it', () => {
    const meter = new Meter();
    for (const tier of ['free', 'gold', 'open']) meter.add('limited_total', labels(tier), 5);
    meter.forget('limited_total', isOf('gold'));
    for (const tier of ['free', 'gold', 'open']) meter.add('limited_total', labels(tier));
    expect(counted(meter)).toEqual({
      'free/client/enforce': 6,
      'gold/client/enforce': 1,
      'open/client/enforce': 6,
    });
  });

  test('leaves its slot to whoever kept it, and that counts no more', () => {
    const meter = new Meter();
    const kept = meter.slot('limited_total', labels('free'));
    meter.forget('limited_total', isOf('free'));
    const fresh = meter.slot('limited_total', labels('free'));
    expect(fresh).not.toBe(kept);
    kept.value += 7;
    fresh.value += 1;
    expect(counted(meter)).toEqual({ 'free/client/enforce': 1 });
  });
});

test('the series found last never stand for others: every count is that of a plain map', () => {
  // Labels that begin alike, are empty, or are each other's in another place; more of them than are kept as recent, and
  // few enough that many are found there.
  const value = fc.constantFrom('', 'a', 'ab');
  const step = fc.oneof(
    { weight: 8, arbitrary: fc.record({ add: fc.tuple(value, value, fc.constant('a')), by: fc.nat(9) }) },
    { weight: 1, arbitrary: fc.record({ forget: value }) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const meter = new Meter();
      const model = new Map<string, number>();
      for (const each of steps) {
        if ('forget' in each) {
          meter.forget('limited_total', isOf(each.forget));
          for (const key of model.keys()) if (key.split('/')[0] === each.forget) model.delete(key);
        } else {
          meter.add('limited_total', each.add, each.by);
          const key = each.add.join('/');
          model.set(key, (model.get(key) ?? 0) + each.by);
        }
      }
      expect(counted(meter)).toEqual(Object.fromEntries(model));
    }),
  );
});
