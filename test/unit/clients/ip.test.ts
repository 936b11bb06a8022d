import { expect, test } from 'vitest';
import { cutTo, formatAddress, parseAddress } from '../../../src/clients/ip.ts';

function written(text: string): string | undefined {
  const address = parseAddress(text);
  return address === undefined ? undefined : formatAddress(address);
}

test.each([
  ['192.0.2.1', '192.0.2.1'],
  ['0.0.0.0', '0.0.0.0'],
  ['255.255.255.255', '255.255.255.255'],
  ['::ffff:192.0.2.1', '192.0.2.1'],
  ['::FFFF:c000:0201', '192.0.2.1'],
  ['::', '::'],
  ['::1', '::1'],
  ['1::', '1::'],
  ['2001:DB8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
  ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
  ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
  ['::2:3:4:5:6:7:8', '0:2:3:4:5:6:7:8'],
  ['fe80::1%eth0', 'fe80::1'],
  ['::1.2.3.4', '::102:304'],
  ['1:2:3:4:5:6:1.2.3.4', '1:2:3:4:5:6:102:304'],
])('%s is an address, written %s', (text, canonical) => {
  expect(written(text)).toBe(canonical);
});

test.each([
  '',
  '1',
  '1.2.3',
  '1.2.3.4.5',
  '1.2.3.256',
  '01.2.3.4',
  '1.2.3.04',
  '1.2.3.',
  '.1.2.3.4',
  '1..2.3',
  '1.2.3.4 ',
  '0x1.2.3.4',
  '１.2.3.4',
  '1.2.3.4%eth0',
  ':',
  ':::',
  '1:2',
  '1::2::3',
  '1:2:3:4:5:6:7:8:9',
  '1:2:3:4:5:6:7:8::',
  '::1:2:3:4:5:6:7:8',
  '1:2:3:4:5:6:7:',
  ':1:2:3:4:5:6:7',
  '12345::',
  'g::',
  '1:2:3:4:5:6:7:1.2.3.4',
  '::1.2.3',
  '::1.2.3.4:5',
  'fe80::1%',
  '[::1]',
  '::1]',
  `::${'0'.repeat(70)}1`,
])('%j is none', (text) => {
  expect(parseAddress(text)).toBeUndefined();
});

test('an address is cut within a group as well as between two', () => {
  const address = parseAddress('2001:db8:ffff:ffff:ffff::1') ?? [];
  expect([0, 1, 20, 48, 56, 64, 127, 128].map((bits) => formatAddress(cutTo(address, bits)))).toEqual([
    '::',
    '::',
    '2001::',
    '2001:db8:ffff::',
    '2001:db8:ffff:ff00::',
    '2001:db8:ffff:ffff::',
    '2001:db8:ffff:ffff:ffff::',
    '2001:db8:ffff:ffff:ffff::1',
  ]);
});
