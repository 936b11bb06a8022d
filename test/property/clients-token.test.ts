/**
 * Whatever stands where a token is expected: reading it never throws, never yields anything but a client, a refusal or a
 * question for the verifier, and takes time in proportion to what may be sent at all.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { IdentityChain, type IdentityInput } from '../../src/clients/identity.ts';
import { factsOf, TokenMemory } from '../../src/clients/token-memory.ts';
import { isTokenShaped, tokenDigest, tokenHeader, tokenIn, tokenIssuer } from '../../src/clients/token.ts';
import { Tokens } from '../../src/io/tokens.ts';

const SEED = 20_261_121;

/** Text, bytes as Node shows them in a header, and things that nearly are tokens. */
const part = fc.oneof(
  fc.string({ maxLength: 40 }),
  fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes).toString('base64url')),
  fc.json({ maxDepth: 4 }).map((text) => Buffer.from(text).toString('base64url')),
  fc
    .record({
      alg: fc.oneof(fc.constantFrom('ES256', 'none', 'RS256'), fc.jsonValue()),
      kid: fc.jsonValue(),
      typ: fc.jsonValue(),
    })
    .map((header) => Buffer.from(JSON.stringify(header)).toString('base64url')),
);
const nearly = fc.array(part, { minLength: 1, maxLength: 5 }).map((parts) => parts.join('.'));
const latin1 = fc.uint8Array({ maxLength: 200 }).map((bytes) =>
  Buffer.from(bytes)
    .toString('latin1')
    .replaceAll(/[\r\n\0]/g, ''),
);
const value = fc
  .tuple(
    fc.constantFrom('', 'Bearer ', 'bearer  ', 'BEARER\t', 'Basic ', ' ', 'Bearer'),
    fc.oneof(nearly, latin1, fc.string()),
  )
  .map(([scheme, rest]) => scheme + rest);

function tokensOf(): Tokens {
  return new Tokens({ now: () => 0, wallMs: () => 1e12, ask: () => undefined, onVerdict: () => undefined });
}

const ENTRY = {
  header: 'authorization',
  jwksUrl: null,
  keys: [{ kty: 'OKP', crv: 'Ed25519', kid: 'k1', x: 'MNnJeySDC5INVIGSq1w4u4JBkRvb6s6jt7ifJlWHxIc' }],
  issuer: 'i',
  audience: 'a',
  algorithms: ['EdDSA' as const, 'ES256' as const],
  claim: 'sub',
  tierClaim: null,
};

function inputOf(authorization: string): IdentityInput {
  return {
    address: '203.0.113.9',
    facts: {
      lookup: (name) => (name === 'authorization' ? authorization : undefined),
      isRepeated: () => false,
      cookie: '',
    },
    connection: { subject: '' },
    startedMs: 0,
  };
}

test('nothing that is sent makes the readers throw, and they agree on what can be a token', () => {
  fc.assert(
    fc.property(value, (sent) => {
      const token = tokenIn(sent);
      if (token === undefined) return;
      const header = tokenHeader(token);
      if (header !== undefined) expect([typeof header.alg, typeof header.kid]).toEqual(['string', 'string']);
      expect(typeof tokenIssuer(token)).toBe('string');
      expect(isTokenShaped(token)).toBe(/^[\w-]+\.[\w-]+\.[\w-]+$/.test(token));
      expect(token.length).toBeLessThanOrEqual(8192);
      expect(tokenDigest(token)).toHaveLength(43);
    }),
    { seed: SEED, numRuns: 5000 },
  );
});

test('nothing that is not signed is ever a client: refused, or refused after a look', async () => {
  const tokens = tokensOf();
  const chain = new IdentityChain({
    chain: [
      { kind: 'jwt', header: 'Authorization', verifier: tokens.verifierOf(ENTRY) },
      { kind: 'ip', ipv6Prefix: 64 },
    ],
    keys: [],
    unknownKeys: 'defaultTier',
    defaultTier: 'default',
    tiers: new Set(['default']),
    allow: [],
    deny: [],
    hashSecret: 's',
    isHeld: () => false,
  });
  await fc.assert(
    fc.asyncProperty(value, async (sent) => {
      const input = inputOf(sent);
      const identity = chain.identify(input);
      expect(identity.client).toMatch(/^ip:/);
      if (identity.kind !== 'pending') {
        expect([identity.kind, identity.code]).toEqual(
          tokenIn(sent) === undefined ? ['client', ''] : ['refused', 'SPW_UNKNOWN_KEY'],
        );
        return;
      }
      const unverified = chain.unverified(input);
      if (unverified === undefined) throw new Error('pending, and nothing to verify');
      expect((await tokens.verify(unverified)).kind).toBe('bad');
    }),
    { seed: SEED, numRuns: 3000 },
  );
});

test('names are read from claims of their own only, whatever they are called', () => {
  fc.assert(
    fc.property(
      fc.dictionary(fc.string(), fc.jsonValue()),
      fc.string(),
      fc.string(),
      (claims, claim, tierClaim) => {
        const facts = factsOf(claims, claim, tierClaim);
        const named = Object.hasOwn(claims, claim) ? claims[claim] : undefined;
        if (facts === undefined) return;
        expect(facts.client).toBe(named);
        expect(typeof facts.tier).toBe('string');
      },
    ),
    { seed: SEED, numRuns: 2000 },
  );
  expect(factsOf({}, 'constructor', 'toString')).toBeUndefined();
  expect(factsOf({ sub: 'a' }, 'sub', 'toString')).toEqual({ client: 'a', tier: '' });
  // Nothing longer than a name may be is kept of a token.
  expect(factsOf({ sub: 'a'.repeat(257) }, 'sub', '')).toBeUndefined();
  expect(factsOf({ sub: 'a', plan: 'p'.repeat(257) }, 'sub', 'plan')).toEqual({ client: 'a', tier: '' });
});

test('the longest header there is costs no more than its length: deep, wide and many-dotted tokens', () => {
  const deep = Buffer.from('['.repeat(700)).toString('base64url');
  const shapes = [
    `${deep}.${deep}.x`,
    '.'.repeat(8192),
    'a'.repeat(8192),
    `${'a.'.repeat(4000)}a`,
    `${' '.repeat(8000)}a.b.c`,
  ];
  for (const shape of shapes) {
    for (const sent of [shape, `Bearer ${shape}`]) {
      const token = tokenIn(sent) ?? '';
      expect(tokenHeader(token)).toBeUndefined();
      expect(tokenIssuer(token)).toBe('');
    }
  }
  expect(tokenIn('x'.repeat(8193))).toBe('');
  expect(tokenIn(`Bearer ${'x'.repeat(8193)}`)).toBe('');
});

test('ten times as many tokens as are kept leave no more than are kept, whoever verified them', () => {
  const memory = new TokenMemory();
  const eras = [{}, {}, {}];
  const eraOf = (index: number): object => eras[index % eras.length] ?? {};
  for (let index = 0; index < 100_000; index++)
    memory.keep(`d${index}`, eraOf(index), { client: 'c', tier: '' }, 60_000, 0);
  let kept = 0;
  for (let index = 0; index < 100_000; index++)
    if (memory.find(`d${index}`, eraOf(index), 1) !== undefined) kept++;
  expect(kept).toBeGreaterThan(0);
  expect(kept).toBeLessThanOrEqual(10_000);
  expect(memory.find('d99999', eraOf(99_999), 1)).toEqual(expect.objectContaining({ client: 'c' }));
  // Good for one of them is not good for another.
  expect(memory.find('d99999', eraOf(1), 1)).toBe(undefined);
  expect(memory.find('d99999', {}, 1)).toBe(undefined);
});
