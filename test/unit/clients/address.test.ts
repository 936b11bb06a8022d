import { expect, test } from 'vitest';
import { addressBucket, clientAddress, parseNetworks } from '../../../src/clients/address.ts';

const PROXIES = parseNetworks(['10.0.0.0/8', '2001:db8:aaaa::/48', '192.0.2.77']);

function xff(peer: string, header: string): string {
  return clientAddress(peer, 'x-forwarded-for', header, PROXIES);
}

function forwarded(peer: string, header: string): string {
  return clientAddress(peer, 'forwarded', header, PROXIES);
}

// The spoofing table: what a caller may write and whose bucket it gets (limits.md, L10).
test.each<[string, string, string, string]>([
  ['nobody is believed without being a proxy of ours', '203.0.113.9', '198.51.100.1', '203.0.113.9'],
  [
    'the entry next to our proxy counts, not the planted one',
    '10.0.0.1',
    '1.1.1.1, 203.0.113.9',
    '203.0.113.9',
  ],
  ['trusted proxies are skipped', '10.0.0.1', '203.0.113.9, 10.2.2.2,192.0.2.77', '203.0.113.9'],
  ['all trusted: the left-most', '10.0.0.1', '10.9.9.9, 10.2.2.2', '10.9.9.9'],
  ['a malformed entry stops at the last good one', '10.0.0.1', '203.0.113.9, junk, 10.3.3.3', '10.3.3.3'],
  ['a malformed right end stops at the peer', '10.0.0.1', '203.0.113.9, <script>', '10.0.0.1'],
  ['an empty entry is malformed', '10.0.0.1', '203.0.113.9, ', '10.0.0.1'],
  ['no header: the peer', '10.0.0.1', '', '10.0.0.1'],
  ['a mapped peer is the IPv4 proxy', '::ffff:10.0.0.1', '203.0.113.9', '203.0.113.9'],
  ['a 6to4 peer is not the proxy it contains', '2002:a00:1::1', '203.0.113.9', '2002:a00:1::1'],
  ['a NAT64 peer is not the proxy it contains', '64:ff9b::10.0.0.1', '203.0.113.9', '64:ff9b::a00:1'],
  ['a mapped entry is IPv4', '10.0.0.1', '::ffff:203.0.113.9', '203.0.113.9'],
  ['a zone id is dropped', '10.0.0.1', 'fe80::1%eth0', 'fe80::1'],
  ['a port is dropped', '10.0.0.1', '203.0.113.9:8080', '203.0.113.9'],
  ['brackets and a port are dropped', '10.0.0.1', '[2001:db8::9]:8080', '2001:db8::9'],
  ['a bare IPv6 address has no port', '10.0.0.1', '2001:db8::9:8080', '2001:db8::9:8080'],
  ['a port out of range is malformed', '10.0.0.1', '203.0.113.9:70000', '10.0.0.1'],
  ['IPv4 in brackets is malformed', '10.0.0.1', '[203.0.113.9]', '10.0.0.1'],
  ['octal-looking IPv4 is malformed', '10.0.0.1', '203.0.113.09', '10.0.0.1'],
  ['a name is malformed', '10.0.0.1', 'localhost', '10.0.0.1'],
  ['quotes mean nothing here', '10.0.0.1', '"203.0.113.9"', '10.0.0.1'],
  ['a log line is no address', '10.0.0.1', '203.0.113.9\\r\\nERROR', '10.0.0.1'],
  ['IPv6 proxies are trusted by prefix', '2001:db8:aaaa:1::1', '203.0.113.9', '203.0.113.9'],
  ['a closed socket has no address', '', '203.0.113.9', 'unknown'],
  ['a peer that is no address is nobody', 'unix', '203.0.113.9', 'unknown'],
])('%s', (_why, peer, header, wanted) => {
  expect(xff(peer, header)).toBe(wanted);
});

/** A caller behind that many proxies of ours, the right-most next to us. */
function chain(proxies: number): string {
  return ['203.0.113.9', ...Array.from({ length: proxies }, (_, index) => `10.1.1.${proxies - index}`)].join(
    ', ',
  );
}

test('the walk ends after 32 entries, at a proxy and not at what was planted behind', () => {
  expect(xff('10.0.0.1', chain(31))).toBe('203.0.113.9');
  expect(xff('10.0.0.1', chain(32))).toBe('10.1.1.32');
});

test.each<[string, string, string]>([
  ['a token', 'for=203.0.113.9', '203.0.113.9'],
  ['names of parameters have no case', 'For=203.0.113.9;PROTO=https', '203.0.113.9'],
  ['other parameters before it', 'by=10.0.0.1; proto=http ;for="203.0.113.9:1"', '203.0.113.9'],
  ['quoted IPv6 with brackets and port', 'for="[2001:db8:cafe::17]:4711"', '2001:db8:cafe::17'],
  ['a hidden port', 'for="[2001:db8::9]:_x"', '2001:db8::9'],
  ['quoted pairs', String.raw`for="203.0.113\.9"`, '203.0.113.9'],
  ['the right-most element', 'for=1.1.1.1, for=203.0.113.9', '203.0.113.9'],
  ['trusted elements are skipped', 'for=203.0.113.9, for="10.2.2.2:80", for=192.0.2.77', '203.0.113.9'],
  ['a comma inside quotes parts nothing', 'for=203.0.113.9;host="a,for=1.1.1.1"', '203.0.113.9'],
  ['an open quote before the honest element', 'for="1.1.1.1, for=203.0.113.9', '203.0.113.9'],
  ['a quote that would close in the honest one', 'for=6.6.6.6;x=", for="[2001:db8::9]:1"', '2001:db8::9'],
  ['an escaped quote before it', String.raw`x="\", for="203.0.113.9"`, '203.0.113.9'],
  ['an escaped quote inside it', String.raw`for=203.0.113.9;x="a\",b"`, '203.0.113.9'],
  ['an escaped backslash at its end', String.raw`for=203.0.113.9;x="a,b\\"`, '203.0.113.9'],
  ['unknown names nobody', 'for=203.0.113.9, for=unknown', '10.0.0.1'],
  ['a hidden name names nobody', 'for=_gazonk', '10.0.0.1'],
  ['no for at all', 'proto=https', '10.0.0.1'],
  ['two for in one element', 'for=203.0.113.9;for=1.1.1.1', '10.0.0.1'],
  ['IPv6 without brackets', 'for="2001:db8::9"', '10.0.0.1'],
  ['IPv6 without quotes', 'for=[2001:db8::9]', '10.0.0.1'],
  ['a quote that never closes', 'for="203.0.113.9', '10.0.0.1'],
  ['text behind the quotes', 'for="203.0.113.9"x', '10.0.0.1'],
  ['an empty value', 'for=', '10.0.0.1'],
  ['an X-Forwarded-For value', '203.0.113.9', '10.0.0.1'],
  ['a semicolon at the end', 'for=203.0.113.9;', '10.0.0.1'],
])('Forwarded: %s', (_why, header, wanted) => {
  expect(forwarded('10.0.0.1', header)).toBe(wanted);
});

test.each<[string, number, string]>([
  ['203.0.113.9', 64, '203.0.113.9'],
  ['::ffff:203.0.113.9', 64, '203.0.113.9'],
  ['64:ff9b::203.0.113.9', 64, '203.0.113.9'],
  ['2002:cb00:7109::1', 64, '203.0.113.9'],
  ['2002:cb00:7109:ffff::2', 16, '203.0.113.9'],
  ['64:ff9b:1::203.0.113.9', 64, '64:ff9b:1::/64'],
  ['2001:db8:1:2:3::4', 64, '2001:db8:1:2::/64'],
  ['2001:db8:1:2:ffff::', 64, '2001:db8:1:2::/64'],
  ['2001:db8:1:2::', 56, '2001:db8:1::/56'],
  ['2001:db8::1', 128, '2001:db8::1/128'],
  ['fe80::1%eth0', 64, 'fe80::/64'],
  ['unknown', 64, 'unknown'],
])('the bucket of %s at /%i is %s', (address, prefix, bucket) => {
  expect(addressBucket(address, prefix)).toBe(bucket);
});

test('two IPv4 callers share no bucket at any prefix length', () => {
  for (const prefix of [1, 32, 48, 64, 95, 96, 128]) {
    const names = [
      '203.0.113.9',
      '198.51.100.1',
      '::ffff:192.0.2.1',
      '64:ff9b::192.0.2.2',
      '2002:c000:203::',
    ];
    expect(new Set(names.map((name) => addressBucket(name, prefix))).size).toBe(5);
  }
});

test('networks hold addresses of their own family only', () => {
  const everyV6 = parseNetworks(['::/0']);
  expect([everyV6.includes('2001:db8::1'), everyV6.includes('10.0.0.1')]).toEqual([true, false]);
  const everyV4 = parseNetworks(['0.0.0.0/0']);
  expect([everyV4.includes('::ffff:8.8.8.8'), everyV4.includes('::1')]).toEqual([true, false]);
  expect(parseNetworks(['::ffff:10.0.0.0/104']).includes('10.1.2.3')).toBe(true);
  expect(parseNetworks(['10.1.2.3/8']).includes('10.200.0.1')).toBe(true);
  expect(parseNetworks(['10.1.2.3']).includes('10.1.2.4')).toBe(false);
  expect(parseNetworks([]).includes('10.1.2.3')).toBe(false);
});

test.each([
  '10.0.0.0/33',
  '::/129',
  '10.0.0.0/',
  '10.0.0.0/-1',
  '10.0.0.0/8x',
  '10.0.0.0/ 8',
  'host/8',
  '',
  '/8',
])('%j is refused as a network', (text) => {
  expect(() => parseNetworks(['10.0.0.0/8', text])).toThrow(RangeError);
});
