import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { loadConfigurationText } from '../../config/load.ts';
import { duration, rate, ratio, size } from '../../config/units-schema.ts';
import { compileRate } from '../../src/limits/gcra.ts';

const REQUIRED = {
  listeners: [{ port: 8080 }],
  services: { shop: { instances: ['http://127.0.0.1:9001'] } },
  routes: [{ path: '/', service: 'shop' }],
};

test('a duration in any unit is that many milliseconds', () => {
  const units = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 24 }),
      fc.constantFrom('ms', 's', 'm', 'h', 'd'),
      (amount, unit) => {
        expect(duration().parse(`${amount}${unit}`)).toBe(amount * units[unit]);
      },
    ),
  );
});

test('a size in any unit is that many bytes', () => {
  const units = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 } as const;
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 1024 }),
      fc.constantFrom('B', 'KiB', 'MiB', 'GiB'),
      (amount, unit) => {
        expect(size().parse(`${amount}${unit}`)).toBe(amount * units[unit]);
      },
    ),
  );
});

test('a rate means the same in every unit of time', () => {
  const seconds = { s: 1, m: 60, h: 3600, d: 86_400 } as const;
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 10_000 }), fc.constantFrom('s', 'm', 'h', 'd'), (amount, unit) => {
      expect(rate().parse(`${amount * seconds[unit]}/${unit}`)).toBeCloseTo(amount, 9);
    }),
  );
});

test('a ratio is between 0 and 1, and more than 100% is refused', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 1000 }), (percent) => {
      const result = ratio().safeParse(`${percent}%`);
      expect(result.success).toBe(percent <= 100);
      if (result.success) expect(result.data).toBeCloseTo(percent / 100, 12);
    }),
  );
});

test('no bare number is taken for anything with a unit', () => {
  fc.assert(
    fc.property(fc.double({ noNaN: true, min: 0, max: 1e9 }), (number) => {
      for (const schema of [duration({ zero: true }), size(), rate(), ratio()]) {
        expect(schema.safeParse(number).success).toBe(false);
        expect(schema.safeParse(String(number)).success).toBe(false);
      }
    }),
  );
});

test('every quota that the configuration accepts is one that the limiter can keep', () => {
  const amount = fc.oneof(
    fc.integer({ min: 0, max: 2_000_000 }),
    fc.constantFrom('0.001', '0.0027', '0.5', '1.5'),
  );
  const burst = fc.option(
    fc.oneof(fc.integer({ min: 1, max: 1000 }), fc.integer({ min: 1, max: 1_000_000_000 })),
    { nil: undefined },
  );
  let accepted = 0;
  fc.assert(
    fc.property(amount, fc.constantFrom('s', 'm', 'h', 'd'), burst, (units, per, most) => {
      const free = { rate: `${units}/${per}`, ...(most === undefined ? {} : { burst: most }) };
      const result = loadConfigurationText(JSON.stringify({ ...REQUIRED, tiers: { free } }), 'test.json', {});
      if (!result.ok) return;
      accepted += 1;
      const tier = result.configuration.tiers['free'];
      expect(() => compileRate(tier?.rate ?? 0, tier?.burst ?? 0)).not.toThrow();
    }),
    { numRuns: 1000 },
  );
  expect(accepted).toBeGreaterThan(250);
});
