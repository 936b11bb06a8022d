import { expect, test } from 'vitest';
import {
  clientKey,
  globalKey,
  routeDigest,
  routeKey,
  routeTotalKey,
  tierKey,
} from '../../../src/limits/keys.ts';

test('all buckets of one client have one hash tag, and all shared ones another', () => {
  const route = routeDigest('POST /checkout');
  expect(route).toMatch(/^[\w-]{8}$/);
  expect(clientKey('HASH')).toBe('spw:{c.HASH}:t');
  expect(routeKey('HASH', route)).toBe(`spw:{c.HASH}:r.${route}`);
  expect([globalKey(), tierKey('gold'), routeTotalKey(route)]).toEqual([
    'spw:{g}:global',
    'spw:{g}:tier.gold',
    `spw:{g}:rt.${route}`,
  ]);
});

test('two routes have two digests, and one route always the same', () => {
  expect(routeDigest('/a')).not.toBe(routeDigest('/b'));
  expect(routeDigest('/a')).toBe(routeDigest('/a'));
});
