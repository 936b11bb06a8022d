import { expect, test } from 'vitest';
import { maySetCookie } from '../../../src/affinity/policy.ts';

type Wanted = 'never' | 'plain' | 'private';

function verdict(status: number, cacheControl: string | undefined): Wanted {
  const { allowed, makePrivate } = maySetCookie(status, cacheControl);
  if (!allowed) return 'never';
  return makePrivate ? 'private' : 'plain';
}

test.each<[number, string | undefined, Wanted]>([
  [200, undefined, 'private'],
  [200, '', 'private'],
  [200, 'no-store', 'plain'],
  [200, 'private, max-age=60', 'plain'],
  [200, 'max-age=0, must-revalidate', 'plain'],
  [200, 'public, max-age=60', 'never'],
  [200, 'max-age=60,PUBLIC', 'never'],
  [200, 'max-age=60, s-maxage=600', 'never'],
  [200, 'S-MaxAge = 600', 'never'],
  [200, 'max-age=31536000, immutable', 'never'],
  [200, 'no-public, x-immutable, s-maxages=1', 'plain'],
  [200, 'x="public"', 'plain'],
  [200, 'private="set-cookie, public"', 'plain'],
  [200, ', ,', 'plain'],
  [302, undefined, 'private'],
  [404, 'no-cache', 'plain'],
  [500, undefined, 'private'],
  [304, undefined, 'never'],
  [304, 'private', 'never'],
  [100, undefined, 'never'],
  [101, 'private', 'never'],
  [103, undefined, 'never'],
])('%i with cache-control %j: %s', (status, cacheControl, wanted) => {
  expect(verdict(status, cacheControl)).toBe(wanted);
});
