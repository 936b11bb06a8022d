import { parseList, serializeList } from 'structured-headers';
import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../../src/kernel/random.ts';
import { addFields, PolicyTexts, retryAfterSeconds, type FieldStyle } from '../../../src/limits/fields.ts';
import { compileRate } from '../../../src/limits/gcra.ts';
import type { Charge, LimitDecision } from '../../../src/limits/decision.ts';
import { Limiter } from '../../../src/limits/limiter.ts';
import { charge, decideNow, ScriptedStore } from './fixtures.ts';

function limiter(): Limiter {
  return new Limiter({
    store: new ScriptedStore(),
    onUnavailable: 'allow',
    workers: 1,
    random: seededRandom(5),
  });
}

/** What is appended, in pairs. */
function limitFields(
  style: FieldStyle,
  charges: readonly Charge[],
  decision: LimitDecision,
): readonly (readonly [name: string, value: string])[] {
  const list: string[] = [];
  addFields(list, style, charges, decision, new PolicyTexts().of(charges));
  const pairs: [string, string][] = [];
  for (let at = 0; at < list.length; at += 2) pairs.push([list[at] ?? '', list[at + 1] ?? '']);
  return pairs;
}

const tenAMinute = charge('client', compileRate(10 / 60, 5));
const twoASecond = charge('route', compileRate(2, 2));

describe('the draft fields', () => {
  test('the example of the design: rate 10/m, burst 5, two used', () => {
    const it = limiter();
    decideNow(it, [tenAMinute], 0);
    expect(limitFields('draft', [tenAMinute], decideNow(it, [tenAMinute], 0))).toEqual([
      ['RateLimit-Policy', '"client";q=5;w=30'],
      ['RateLimit', '"client";r=3;t=12'],
    ]);
  });

  test('requests in flight are a policy without a window, and a refusal for them has no time', () => {
    const slots = { key: 'n', most: 50, enforced: true };
    const policy = new PolicyTexts().of([tenAMinute], slots);
    expect(policy).toBe('"client";q=5;w=30, "concurrency";q=50;qu="concurrent-requests"');
    expect(serializeList(parseList(policy))).toBe(policy);
    expect(new PolicyTexts().of([], slots)).toBe('"concurrency";q=50;qu="concurrent-requests"');
    expect(new PolicyTexts().of([], { ...slots, enforced: false })).toBe('');
    const decision: LimitDecision = {
      ok: false,
      refusedBy: 'concurrency',
      code: 'SPW_CONCURRENCY_CLIENT',
      retryAfterMs: 1000,
      jitterSeconds: 1,
      path: 'hold',
      levels: [],
      observed: [],
    };
    const draft: string[] = [];
    addFields(draft, 'draft', [tenAMinute], decision, policy);
    expect(draft).toEqual(['RateLimit-Policy', policy, 'RateLimit', '"concurrency";r=0']);
    const legacy: string[] = [];
    addFields(legacy, 'legacy', [tenAMinute], decision, policy);
    expect(legacy).toEqual([]);
    const seconds = Array.from({ length: 50 }, (_, i) => retryAfterSeconds(decision, seededRandom(i + 1)));
    expect(new Set(seconds)).toEqual(new Set([1, 2]));
  });

  test('refused: t is the wait of this cost', () => {
    const it = limiter();
    for (let i = 0; i < 5; i++) decideNow(it, [tenAMinute], 0);
    const refused = decideNow(it, [tenAMinute], 3500);
    expect(limitFields('draft', [tenAMinute], refused)[1]).toEqual(['RateLimit', '"client";r=0;t=3']);
    expect(refused.retryAfterMs).toBe(2500);
  });

  test('refused at a dear cost: what is left is told, and when it would fit', () => {
    const it = limiter();
    decideNow(it, [tenAMinute], 0, 2);
    expect(limitFields('draft', [tenAMinute], decideNow(it, [tenAMinute], 0, 4))[1]?.[1]).toBe(
      '"client";r=3;t=6',
    );
  });

  test('of two policies the one nearest to empty is told', () => {
    const it = limiter();
    const both = [tenAMinute, twoASecond];
    expect(limitFields('draft', both, decideNow(it, both, 0))).toEqual([
      ['RateLimit-Policy', '"client";q=5;w=30, "route";q=2;w=1'],
      ['RateLimit', '"route";r=1;t=1'],
    ]);
  });

  test("shared and observed levels are nobody's business", () => {
    const it = limiter();
    const hidden = [charge('global', compileRate(5, 5)), charge('route', compileRate(5, 5), false)];
    expect(limitFields('draft', hidden, decideNow(it, hidden, 0))).toEqual([]);
    expect(limitFields('legacy', hidden, decideNow(it, hidden, 0))).toEqual([]);
  });

  test('refused by a shared limit: the own figures stand, not a wait that is not theirs', () => {
    const it = limiter();
    const charges = [tenAMinute, charge('global', compileRate(0.01, 1))];
    decideNow(it, charges, 0);
    const refused = limitFields('draft', charges, decideNow(it, charges, 0));
    expect(refused[1]).toEqual(['RateLimit', '"client";r=4;t=6']);
  });

  test('where nothing was asked, only the policy is told', () => {
    const decision = decideNow(limiter(), [tenAMinute], 0, 0);
    expect(limitFields('draft', [tenAMinute], decision)).toEqual([['RateLimit-Policy', '"client";q=5;w=30']]);
    expect(limitFields('legacy', [tenAMinute], decision)).toEqual([]);
  });

  test('byte for byte what structured-headers writes, for any limits', () => {
    const random = seededRandom(3);
    const it = limiter();
    for (let i = 0; i < 500; i++) {
      const charges = (['client', 'route'] as const).map((level) =>
        charge(
          level,
          compileRate(10 ** (random() * 6 - 2), 1 + Math.floor(random() * 999)),
          true,
          `${level}${i}`,
        ),
      );
      let decision = decideNow(it, charges, 0);
      for (let n = Math.floor(random() * 20); n > 0; n--) decision = decideNow(it, charges, 0);
      for (const [, text] of limitFields('draft', charges, decision)) {
        expect(serializeList(parseList(text))).toBe(text);
        for (const [name, parameters] of parseList(text)) {
          expect(typeof name).toBe('string');
          for (const value of parameters.values())
            expect(Number.isSafeInteger(value) && Number(value) >= 0).toBe(true);
        }
      }
    }
  });
});

test('a policy is serialized once for a limit, whatever the client and its other limits', () => {
  const texts = new PolicyTexts();
  expect(texts.of([tenAMinute, twoASecond])).toBe('"client";q=5;w=30, "route";q=2;w=1');
  expect(texts.of([{ ...tenAMinute, key: 'another' }])).toBe('"client";q=5;w=30');
  expect(texts.of([{ ...tenAMinute, level: 'route' }])).toBe('"route";q=5;w=30');
  expect(texts.of([{ ...tenAMinute, enforced: false }, twoASecond])).toBe('"route";q=2;w=1');
});

test('the legacy fields say the same in seconds from now', () => {
  const it = limiter();
  decideNow(it, [tenAMinute], 0);
  expect(limitFields('legacy', [tenAMinute], decideNow(it, [tenAMinute], 0))).toEqual([
    ['X-RateLimit-Limit', '5'],
    ['X-RateLimit-Remaining', '3'],
    ['X-RateLimit-Reset', '12'],
  ]);
});

test('retry-after is at least a second, at least t, and spreads evenly', () => {
  const random = seededRandom(9);
  const it = limiter();
  for (let i = 0; i < 5; i++) decideNow(it, [tenAMinute], 0);
  const refused = decideNow(it, [tenAMinute], 2500);
  const seen = new Map<number, number>();
  for (let i = 0; i < 1000; i++) {
    const after = retryAfterSeconds(refused, random);
    seen.set(after, (seen.get(after) ?? 0) + 1);
  }
  expect(new Set(seen.keys())).toEqual(new Set([4, 5]));
  for (const count of seen.values()) expect(count).toBeGreaterThan(400);
});
