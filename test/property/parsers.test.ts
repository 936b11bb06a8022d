import * as fc from 'fast-check';
import { expect, test } from 'vitest';

import { clientAddress, parseNetworks } from '../../src/clients/address.ts';
import { checkHost } from '../../src/forwarding/host.ts';
import { scanRequest } from '../../src/forwarding/request-head.ts';
import { normalizeTarget } from '../../src/forwarding/target.ts';
import { isLoop } from '../../src/forwarding/via.ts';
import { stripCookie } from '../../src/affinity/session-cookie.ts';
import { PARSERS } from './parsers.ts';

/** Loading a configuration costs a thousand times what the others cost. */
const SLOW: Readonly<Record<string, number>> = { configuration: 1500, answer: 5000 };

test.each(Object.entries(PARSERS))('%s: whatever comes, no throw, and one reading', (name, property) => {
  void fc.assert(property, { numRuns: SLOW[name] ?? 10_000, seed: 20_251_121 });
});

/** A million of what costs most: in linear time a moment, in quadratic time hours. */
const MANY = 1_000_000;
const PROXIES = parseNetworks(['10.0.0.0/8']);

test.each<readonly [string, () => unknown]>([
  ['slashes', () => normalizeTarget('GET', '/'.repeat(8000))],
  ['encoded letters', () => normalizeTarget('GET', `/${'%41'.repeat(2600)}`)],
  ['a huge target', () => normalizeTarget('GET', '/%'.repeat(MANY))],
  ['dots in a Host', () => checkHost('.'.repeat(MANY))],
  [
    'commas in X-Forwarded-For',
    () => clientAddress('10.0.0.1', 'x-forwarded-for', ','.repeat(MANY), PROXIES),
  ],
  ['quotes in Forwarded', () => clientAddress('10.0.0.1', 'forwarded', '"'.repeat(MANY), PROXIES)],
  [
    'backslashes in Forwarded',
    () => clientAddress('10.0.0.1', 'forwarded', `for="${'\\'.repeat(MANY)}`, PROXIES),
  ],
  [
    'proxies without end',
    () => clientAddress('10.0.0.1', 'x-forwarded-for', '10.0.0.1,'.repeat(MANY / 10), PROXIES),
  ],
  ['commas in Connection', () => scanRequest(['Host', 'a', 'Connection', ','.repeat(MANY)], 'GET', 1, 1)],
  ['blanks in Connection', () => scanRequest(['Host', 'a', 'Connection', ' '.repeat(MANY)], 'GET', 1, 1)],
  ['commas in Via', () => isLoop(','.repeat(MANY), 'gw')],
  ['semicolons in Cookie', () => stripCookie(';'.repeat(MANY), 'spillway')],
  ['our cookie over and over', () => stripCookie('spillway=a; '.repeat(MANY / 10), 'spillway')],
])(
  '%s are read in linear time',
  (_, read) => {
    expect(read).not.toThrow();
  },
  20_000,
);
