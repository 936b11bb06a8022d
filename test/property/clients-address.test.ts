import { BlockList, isIP } from 'node:net';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { addressBucket, clientAddress, parseNetworks } from '../../src/clients/address.ts';
import { formatAddress, parseAddress } from '../../src/clients/ip.ts';
import { seededRandom } from '../../src/kernel/random.ts';

const SEED = 20_260_504;
const HEADERS = ['x-forwarded-for', 'forwarded'] as const;
const PROXIES = parseNetworks(['10.0.0.0/8', 'fd00::/8']);

const v4 = fc.ipV4();
const v6 = fc.ipV6();

/** Pieces of which headers are made, good and bad, so that random headers reach every branch. */
const PIECES = [
  'for=',
  'For=',
  '"',
  '\\',
  ',',
  ';',
  ' ',
  '\t',
  '[',
  ']',
  ':',
  '::',
  '.',
  '%',
  '=',
  '_x',
  'unknown',
  'by=10.0.0.1',
  'proto=https',
  '10.0.0.1',
  '10.2.3.4',
  '203.0.113.9',
  '"[2001:db8::9]:80"',
  '2001:db8::9',
  'fd00::1',
  '::ffff:10.0.0.1',
  '64:ff9b::10.0.0.1',
  '99999',
  '\u00e9',
  '\0',
  '\r\n',
  'x'.repeat(70),
];

test('a hundred thousand random headers: never a throw, always an address', () => {
  const random = seededRandom(SEED);
  const pick = (): string => PIECES[Math.floor(random() * PIECES.length)] ?? '';
  const outcomes = new Map<string, number>();
  for (let round = 0; round < 100_000; round++) {
    const header = Array.from({ length: Math.floor(random() * 14) }, pick).join('');
    for (const name of HEADERS) {
      const address = clientAddress('10.0.0.1', name, header, PROXIES);
      outcomes.set(address, (outcomes.get(address) ?? 0) + 1);
    }
  }
  for (const address of outcomes.keys()) expect([4, 6]).toContain(isIP(address));
  // The pieces do reach the interesting ends: other proxies and callers behind them.
  for (const reached of ['10.0.0.1', '10.2.3.4', '203.0.113.9', '2001:db8::9', 'fd00::1']) {
    expect(outcomes.get(reached) ?? 0).toBeGreaterThan(10);
  }
});

test('any text at all: never a throw', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'binary', maxLength: 200 }),
      fc.string({ unit: 'binary', maxLength: 50 }),
      fc.integer({ min: 1, max: 128 }),
      (header, peer, prefix) => {
        for (const name of HEADERS) {
          expect(isIP(clientAddress('10.0.0.1', name, header, PROXIES))).not.toBe(0);
          const address = clientAddress(peer, name, header, PROXIES);
          if (address !== 'unknown') expect(isIP(address)).not.toBe(0);
        }
        addressBucket(peer, prefix);
      },
    ),
    { seed: SEED, numRuns: 5000 },
  );
});

const planted = fc.oneof(
  fc.string({ maxLength: 60 }),
  fc.array(fc.constantFrom(...PIECES), { maxLength: 12 }).map((pieces) => pieces.join('')),
);

test('nothing planted before it changes what the proxy next to us says', () => {
  fc.assert(
    fc.property(planted, fc.oneof(v4, v6), (junk, caller) => {
      const honest = parseAddress(caller);
      if (honest === undefined || PROXIES.has(honest)) return;
      const wanted = formatAddress(honest);
      const quoted = caller.includes(':') ? `"[${caller}]:443"` : caller;
      expect(clientAddress('10.0.0.1', 'x-forwarded-for', `${junk}, ${caller}`, PROXIES)).toBe(wanted);
      expect(clientAddress('10.0.0.1', 'forwarded', `${junk}, for=${quoted}`, PROXIES)).toBe(wanted);
      expect(clientAddress('10.0.0.1', 'forwarded', `${junk},for=${quoted};host="a,b;\\""`, PROXIES)).toBe(
        wanted,
      );
    }),
    { seed: SEED, numRuns: 10_000 },
  );
});

test('without a trusted peer no header moves anybody', () => {
  fc.assert(
    fc.property(planted, fc.oneof(v4, v6), (header, peer) => {
      const parsed = parseAddress(peer);
      if (parsed === undefined || PROXIES.has(parsed)) return;
      for (const name of HEADERS)
        expect(clientAddress(peer, name, header, PROXIES)).toBe(formatAddress(parsed));
    }),
    { seed: SEED, numRuns: 5000 },
  );
});

/** Nearly addresses: one character of a good one changed, dropped or doubled. */
const nearly = fc
  .tuple(fc.oneof(v4, v6), fc.nat(), fc.constantFrom('', '0', '1', 'f', 'g', '.', ':', '::', '256', ' '))
  .map(([text, at, piece]) => {
    const index = at % (text.length + 1);
    return text.slice(0, index) + piece + text.slice(index + (at % 2));
  });

test('what node takes for an address is one, and the other way round', () => {
  let good = 0;
  let bad = 0;
  fc.assert(
    fc.property(fc.oneof(v4, v6, nearly, nearly), (text) => {
      const known = isIP(text) !== 0;
      if (known) good++;
      else bad++;
      expect([text, parseAddress(text) !== undefined]).toEqual([text, known]);
    }),
    { seed: SEED, numRuns: 20_000 },
  );
  expect(Math.min(good, bad)).toBeGreaterThan(2000);
});

test('IPv6 is written as browsers write it, and reading it again changes nothing', () => {
  fc.assert(
    fc.property(v6, (text) => {
      const parsed = parseAddress(text) ?? [];
      const written = formatAddress(parsed);
      expect(parseAddress(written)).toEqual(parsed);
      if (written.includes(':')) expect(written).toBe(new URL(`http://[${text}]/`).hostname.slice(1, -1));
    }),
    { seed: SEED, numRuns: 5000 },
  );
});

test('networks hold what node says they hold', () => {
  let held = 0;
  const network = fc.oneof(
    fc.tuple(v4, fc.integer({ min: 0, max: 32 })),
    fc.tuple(v6, fc.integer({ min: 0, max: 128 })),
  );
  fc.assert(
    fc.property(network, fc.oneof(v4, v6), fc.nat({ max: 128 }), ([base, bits], other, shared) => {
      const parsedBase = parseAddress(base) ?? [];
      // Mapped networks have two spellings, of which node's list knows one; the unit tests have the other.
      if (base.includes(':') && formatAddress(parsedBase).includes('.')) return;
      // Half of the time the address shares the first bits with the network, or none would ever be held.
      const address = shared % 2 === 0 ? base : other;
      if (address.includes(':') && formatAddress(parseAddress(address) ?? []).includes('.')) return;
      const list = new BlockList();
      list.addSubnet(base, bits, base.includes(':') ? 'ipv6' : 'ipv4');
      const wanted = list.check(address, address.includes(':') ? 'ipv6' : 'ipv4');
      // node lets ::/0 hold mapped IPv4; families are kept apart here.
      if (wanted && base.includes(':') !== address.includes(':')) return;
      if (wanted) held++;
      expect(parseNetworks([`${base}/${bits}`]).includes(address)).toBe(wanted);
    }),
    { seed: SEED, numRuns: 5000 },
  );
  expect(held).toBeGreaterThan(500);
});

function bits(text: string): string {
  return (parseAddress(text) ?? []).map((group) => group.toString(2).padStart(16, '0')).join('');
}

test('addresses of one prefix are one bucket, addresses that differ in it are two', () => {
  fc.assert(
    fc.property(v6, v6, fc.integer({ min: 1, max: 128 }), (one, two, prefix) => {
      for (const text of [one, two]) {
        if (formatAddress(parseAddress(text) ?? []).includes('.') || /^(2002|64):/i.test(text)) return;
      }
      const same = bits(one).slice(0, prefix) === bits(two).slice(0, prefix);
      expect(addressBucket(one, prefix) === addressBucket(two, prefix)).toBe(same);
    }),
    { seed: SEED, numRuns: 3000 },
  );
});
