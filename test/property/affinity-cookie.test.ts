import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { SessionCookies, stripCookie } from '../../src/affinity/session-cookie.ts';
import { clientBucket } from '../../src/clients/client-name.ts';
import { IdentityChain } from '../../src/clients/identity.ts';
import { seededRandom } from '../../src/kernel/random.ts';

const SEED = 20_260_504;
const NOW = Date.UTC(2026, 4, 4);
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

function cookies(service = 'shop', secret = 'a secret of the test'): SessionCookies {
  return new SessionCookies({
    cookieName: 'spillway',
    keys: [
      { id: 'k2', secret },
      { id: 'k1', secret: `${secret}, older` },
    ],
    idleMs: 1_800_000,
    absoluteMs: 28_800_000,
    service,
  });
}

function valueOf(jar: SessionCookies, uid: string): string {
  return (
    jar.issue(jar.tagOf(uid), '', NOW, undefined, true).cookie.split(';')[0]?.slice('spillway='.length) ?? ''
  );
}

test('no bit flip of a cookie verifies, not even in the unused bits of a character', () => {
  const jar = cookies();
  let flips = 0;
  for (let cookie = 0; cookie < 20; cookie++) {
    const value = valueOf(jar, `10.0.0.${cookie}:9001`);
    expect(jar.read(`spillway=${value}`, NOW).result).toBe('hit');
    for (let at = 0; at < value.length; at++) {
      for (let bit = 0; bit < 16; bit++) {
        const flipped = String.fromCharCode(value.charCodeAt(at) ^ (1 << bit));
        const { pin } = jar.read(`spillway=${value.slice(0, at)}${flipped}${value.slice(at + 1)}`, NOW);
        expect(pin).toBeUndefined();
        flips++;
      }
    }
  }
  expect(flips).toBeGreaterThan(20_000);
});

test('no other character in any place verifies', () => {
  const jar = cookies();
  const value = valueOf(jar, 'a:1');
  for (let at = 0; at < value.length; at++) {
    for (const letter of ALPHABET) {
      if (letter === value[at]) continue;
      expect(
        jar.read(`spillway=${value.slice(0, at)}${letter}${value.slice(at + 1)}`, NOW).pin,
      ).toBeUndefined();
    }
  }
});

test('a million forged and foreign cookies choose no instance', () => {
  const jar = cookies();
  const random = seededRandom(SEED);
  const bytes = Buffer.alloc(48);
  const letters = (length: number): string => {
    for (let at = 0; at < length; at += 4) bytes.writeUInt32LE(Math.floor(random() * 2 ** 32), at);
    return bytes.toString('base64url').slice(0, length);
  };
  const good = valueOf(jar, 'a:1').split('.');
  let genuine = 0;
  const foreign = [cookies('stock'), cookies('shop', 'another secret')].map((other) => valueOf(other, 'a:1'));
  for (let round = 0; round < 1_000_000; round++) {
    const forged = [
      `v1.k2.${letters(43)}.${letters(22)}`,
      `v1.k1.${good[2]}.${letters(22)}`,
      // The service's mark is right, so only the signature can tell.
      `v1.k2.${good[2]?.slice(0, 6)}${letters(37)}.${good[3]}`,
      `v1.${letters(2)}.${good[2]}.${good[3]}`,
      foreign[round & 1] ?? '',
    ][round % 5];
    // Two random letters are now and then the right key id, and then this is the cookie that we signed.
    if (forged === good.join('.')) {
      genuine++;
      continue;
    }
    const reading = jar.read(`spillway=${forged}`, NOW);
    if (reading.result !== 'invalid') expect([forged, reading]).toEqual([forged, { result: 'invalid' }]);
  }
  expect(genuine).toBeLessThan(150);
});

test('any text is read without a throw', () => {
  const jar = cookies();
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 300 }), (text) => {
      for (const header of [text, `spillway=${text}`, `spillway=v1.k2.${text}`]) {
        expect(['none', 'invalid']).toContain(jar.read(header, NOW).result);
      }
    }),
    { seed: SEED, numRuns: 5000 },
  );
});

const name = fc.constantFrom('a', 'b', 'spillway2', 'xspillway', 'Spillway', 'spill', '');
const value = fc
  .oneof(fc.string({ maxLength: 12 }), fc.constantFrom('spillway', 'spillway=1', '"q"', '='))
  .map((text) => text.replaceAll(';', ''));
const other = fc
  .tuple(name, value)
  .map(([left, right]) => `${left}=${right}`.trim())
  .filter((pair) => !/^\s*spillway\s*=/.test(pair));
const ours = value.map((text) => `spillway=${text}`);

function isOurs(pair: string): boolean {
  return /^[ \t]*spillway[ \t]*=/.test(pair);
}

function trimmed(pair: string): string {
  return pair.replaceAll(/^[ \t]+|[ \t]+$/g, '');
}

function cookiesOf(pairs: readonly string[]): string[] {
  return pairs.map(trimmed).filter((pair) => pair !== '');
}

test('taking our cookie out leaves every other one byte for byte, and none of ours', () => {
  let stripped = 0;
  fc.assert(
    fc.property(
      fc.array(fc.oneof({ weight: 3, arbitrary: other }, { weight: 2, arbitrary: ours }), { maxLength: 10 }),
      fc.constantFrom('; ', ';', ' ; ', ';\t'),
      (pairs, separator) => {
        const header = pairs.join(separator);
        const left = stripCookie(header, 'spillway');
        const kept = header.split(';').filter((pair) => !isOurs(pair));
        expect(cookiesOf(left.split(';'))).toEqual(cookiesOf(kept));
        if (kept.length === pairs.length) expect(left).toBe(header);
        else stripped++;
        expect(stripCookie(left, 'spillway')).toBe(left);
      },
    ),
    { seed: SEED, numRuns: 10_000 },
  );
  expect(stripped).toBeGreaterThan(3000);
});

test('any header is stripped without a throw, never grows, and has none of ours left', () => {
  const jar = cookies();
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom('spillway', '=', ';', ' ', '\t', 'a', '"', '\u00e9', 'x=1'), {
        maxLength: 30,
      }),
      (pieces) => {
        const header = pieces.join('');
        const left = stripCookie(header, 'spillway');
        expect(left.length).toBeLessThanOrEqual(header.length);
        expect(jar.read(left, NOW)).toEqual({ result: 'none' });
      },
    ),
    { seed: SEED, numRuns: 10_000 },
  );
});

test('a spray of keys and addresses keeps giving the answer that a fresh chain gives', () => {
  const policy = {
    chain: [{ kind: 'header', name: 'x-api-key' }] as const,
    keys: [{ key: 'known', client: 'acme', tier: 'gold' }],
    unknownKeys: 'defaultTier',
    defaultTier: 'default',
    allow: ['10.0.0.0/9'],
    deny: ['10.192.0.0/10'],
    tiers: new Set<string>(),
    hashSecret: 'x',
    isHeld: () => false,
  } as const;
  const chain = new IdentityChain(policy);
  const random = seededRandom(SEED);
  for (let round = 0; round < 30_000; round++) {
    const second = Math.floor(random() * 256);
    const address = `10.${second}.${Math.floor(random() * 256)}.1`;
    const key = random() < 0.2 ? 'known' : `unknown ${round}`;
    const facts = { lookup: () => key, isRepeated: () => false, cookie: '' };
    const input = { address, facts, connection: { subject: '' }, startedMs: 0 };
    const identity = chain.identify(input);
    expect(identity.code).toBe(second >= 192 ? 'SPW_FORBIDDEN' : '');
    expect(identity.exempt).toBe(second < 128);
    const byKey = key === 'known' && second < 192;
    expect(identity.bucket).toBe(
      byKey ? clientBucket('x', 'client', 'acme') : clientBucket('x', 'ip', address),
    );
  }
});
