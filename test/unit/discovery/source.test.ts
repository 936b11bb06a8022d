import { expect, test } from 'vitest';

import { refreshMs, retryMs } from '../../../src/discovery/pauses.ts';
import { instanceOrigin } from '../../../src/discovery/source.ts';
import { seededRandom } from '../../../src/kernel/random.ts';

test('an address is written as the configuration writes it', () => {
  expect(instanceOrigin('http', '10.0.0.1', 8080)).toBe('http://10.0.0.1:8080');
  expect(instanceOrigin('http', '10.0.0.1', 80)).toBe('http://10.0.0.1');
  expect(instanceOrigin('https', 'fd00::1', 8443)).toBe('https://[fd00::1]:8443');
  expect(instanceOrigin('https', 'Shop-1.Example.', 443)).toBe('https://shop-1.example.');
});

test.each([
  ['', 80],
  ['10.0.0.1', 0],
  ['10.0.0.1', 65_536],
  ['10.0.0.1', 80.5],
  ['user@10.0.0.1', 80],
  ['10.0.0.1/x', 80],
  ['10.0.0.1?x', 80],
  ['10.0.0.1#x', 80],
  ['a b', 80],
  ['::1::', 80],
])('no address comes of %j and %j', (host, port) => {
  expect(instanceOrigin('http', host, port)).toBeUndefined();
});

test('an answer is asked for again when it ends, between one and twenty seconds, spread by a tenth', () => {
  const random = seededRandom(1);
  for (const [ttl, low, high] of [
    [0, 900, 1100],
    [10, 9000, 11_000],
    [86_400, 18_000, 22_000],
    [undefined, 4500, 5500],
  ] as const) {
    const pauses = Array.from({ length: 200 }, () => refreshMs(ttl, random));
    expect(Math.min(...pauses)).toBeGreaterThanOrEqual(low);
    expect(Math.max(...pauses)).toBeLessThanOrEqual(high);
    expect(Math.max(...pauses) - Math.min(...pauses)).toBeGreaterThan((high - low) * 0.8);
  }
});

test('after a fault it is asked again within 250 ms, then ever more slowly, at least every five and a half seconds', () => {
  for (const chance of [0, 0.999999]) {
    const pauses = [1, 2, 3, 4, 5, 6, 1000].map((failures) => retryMs(failures, () => chance));
    expect(pauses[0]).toBeLessThanOrEqual(250);
    expect(pauses).toEqual([...pauses].sort((a, b) => a - b));
    expect(pauses.at(-1)).toBeLessThanOrEqual(5500);
  }
});
