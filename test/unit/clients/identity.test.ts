import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { clientBucket } from '../../../src/clients/client-name.ts';
import {
  IdentityChain,
  type IdentityInput,
  type IdentityPolicy,
  type TokenVerifier,
} from '../../../src/clients/identity.ts';
import type { TokenFacts } from '../../../src/clients/token-memory.ts';
import { tokenDigest } from '../../../src/clients/token.ts';
import { IDENTITY_POLICY } from './identity-policy.ts';

const POLICY: IdentityPolicy = {
  ...IDENTITY_POLICY,
  chain: [
    { kind: 'header', name: 'X-Api-Key' },
    { kind: 'cookie', name: 'key' },
    { kind: 'ip', ipv6Prefix: 64 },
  ],
  keys: [
    { key: 'acme-1', client: 'acme', tier: 'gold' },
    {
      key: `sha256:${createHash('sha256').update('acme-2').digest('hex').toUpperCase()}`,
      client: 'acme',
      tier: 'gold',
    },
    { key: 'bolt-1', client: 'bolt', tier: 'free' },
    { key: 'schlüssel', client: 'umlaut', tier: 'free' },
  ],
};

interface Sent {
  readonly key?: string | readonly string[];
  readonly cookie?: string;
  readonly address?: string;
  /** Lines of `authorization`. */
  readonly token?: string | readonly string[];
  readonly subject?: string;
}

function request({ key, cookie = '', address = '203.0.113.9', token, subject = '' }: Sent): IdentityInput {
  const fields: Readonly<Record<string, readonly string[]>> = {
    'x-api-key': key === undefined ? [] : [key].flat(),
    authorization: token === undefined ? [] : [token].flat(),
  };
  const linesOf = (name: string): readonly string[] => fields[name] ?? [];
  return {
    address,
    facts: {
      lookup: (name) => (linesOf(name).length > 0 ? linesOf(name).join(', ') : undefined),
      isRepeated: (name) => linesOf(name).length > 1,
      cookie,
    },
    connection: { subject },
    startedMs: 1000,
  };
}

function chain(change: Partial<IdentityPolicy> = {}): IdentityChain {
  return new IdentityChain({ ...POLICY, ...change });
}

test('a known key names its client, however it was configured', () => {
  for (const key of ['acme-1', 'acme-2']) {
    expect(chain().identify(request({ key }))).toMatchObject({
      kind: 'client',
      code: '',
      client: 'acme',
      tier: 'gold',
    });
  }
});

test('keys of one client share one bucket, other clients have their own', () => {
  const identities = chain();
  const [first, second, other] = ['acme-1', 'acme-2', 'bolt-1'].map(
    (key) => identities.identify(request({ key })).bucket,
  );
  expect(first).toBe(second);
  expect(first).not.toBe(other);
  expect(first).toMatch(/^[A-Za-z0-9_-]{22}$/);
});

test('a key is compared as the bytes that were sent', () => {
  const sent = Buffer.from('schlüssel', 'utf8').toString('latin1');
  expect(chain().identify(request({ key: sent })).client).toBe('umlaut');
});

test('the first entry of the chain that names a client wins', () => {
  expect(chain().identify(request({ key: 'acme-1', cookie: 'key=bolt-1' })).client).toBe('acme');
  expect(chain().identify(request({ cookie: 'a=b; key=bolt-1' })).client).toBe('bolt');
  expect(chain().identify(request({ cookie: 'a=b' })).client).toMatch(/^ip:/);
});

test('entries behind the address are never reached', () => {
  const identities = chain({
    chain: [
      { kind: 'ip', ipv6Prefix: 64 },
      { kind: 'header', name: 'x-api-key' },
    ],
  });
  expect(identities.identify(request({ key: 'acme-1' })).client).toMatch(/^ip:/);
});

test('a chain without an address still ends with it', () => {
  const identities = chain({ chain: [{ kind: 'header', name: 'x-api-key' }] });
  const [one, two] = ['2001:db8::1', '2001:db8::2'].map((address) =>
    identities.identify(request({ address })),
  );
  expect(one?.client).toMatch(/^ip:[A-Za-z0-9_-]{22}$/);
  expect(one?.bucket).toBe(two?.bucket);
});

test.each<[string, Sent]>([
  ['nobody has', { key: 'acme-3' }],
  ['differs in case', { key: 'ACME-1' }],
  ['is empty', { key: '' }],
  ['is sent twice', { key: ['acme-1', 'acme-1'] }],
  ['has 513 bytes', { key: 'k'.repeat(513) }],
  ['has a character that is no byte', { key: 'Łcme-1' }],
  ['comes in a cookie that is sent twice', { cookie: 'key=acme-1; key=acme-1' }],
  ['is the digest itself', { key: createHash('sha256').update('acme-1').digest('hex') }],
])('a key that %s is unknown: 401, charged to the address', (_why, sent) => {
  const identities = chain();
  const byAddress = identities.identify(request({}));
  expect(identities.identify(request(sent))).toEqual({
    ...byAddress,
    kind: 'refused',
    code: 'SPW_UNKNOWN_KEY',
    challenge: 'ApiKey realm="api"',
  });
});

test('a character beyond a byte cannot be cut down to a known key', () => {
  // U+0161 cut to one byte is 'a'.
  expect(chain().identify(request({ key: '\u0161cme-1' })).code).toBe('SPW_UNKNOWN_KEY');
});

test('a known key sent twice is unknown, also where the request shows only the first line', () => {
  const once = request({ key: 'acme-1' });
  const twice = { ...once, facts: { ...once.facts, isRepeated: () => true } };
  const identities = chain({ chain: [{ kind: 'header', name: 'x-api-key' }] });
  expect([identities.identify(once).code, identities.identify(twice).code]).toEqual(['', 'SPW_UNKNOWN_KEY']);
});

test('a key of 513 bytes is never known, even if somebody has it', () => {
  const key = 'k'.repeat(513);
  const identities = chain({ keys: [{ key, client: 'long', tier: 'gold' }] });
  expect(identities.identify(request({ key })).code).toBe('SPW_UNKNOWN_KEY');
  expect(identities.identify(request({ cookie: `key=${key}` })).code).toBe('SPW_UNKNOWN_KEY');
});

test('a key of 512 bytes can be known', () => {
  const key = 'k'.repeat(512);
  const identities = chain({ keys: [{ key, client: 'long', tier: 'gold' }] });
  expect(identities.identify(request({ key })).client).toBe('long');
});

test('with defaultTier an unknown key goes on through the chain and gets no bucket of its own', () => {
  const identities = chain({ unknownKeys: 'defaultTier' });
  expect(identities.identify(request({ key: 'nobody', cookie: 'key=bolt-1' })).client).toBe('bolt');
  const buckets = ['nobody', 'no one', ''].map((key) => identities.identify(request({ key })));
  expect(new Set(buckets.map(({ bucket }) => bucket)).size).toBe(1);
  expect(buckets[0]).toMatchObject({ kind: 'client', tier: 'default', client: `ip:${buckets[0]?.bucket}` });
});

test('a denied address is refused whatever key it has, also behind NAT64 and inside an allowed network', () => {
  const identities = chain({ allow: ['203.0.0.0/8'], deny: ['203.0.113.0/24', '2001:db8:bad::/48'] });
  for (const address of ['203.0.113.9', '64:ff9b::203.0.113.9', '2002:cb00:7109::1', '2001:db8:bad::1']) {
    expect(identities.identify(request({ key: 'acme-1', address })).code).toBe('SPW_FORBIDDEN');
  }
  expect(identities.identify(request({ key: 'acme-1', address: '203.0.114.9' })).code).toBe('');
});

test('an allowed address is exempt with and without a key, an address that only contains it is not', () => {
  const identities = chain({ allow: ['10.0.0.0/8'] });
  const exempt = (sent: Sent): boolean => identities.identify(request(sent)).exempt;
  expect(exempt({ address: '10.1.1.1' })).toBe(true);
  expect(exempt({ address: '10.1.1.1', key: 'acme-1' })).toBe(true);
  expect(exempt({ address: '203.0.113.9', key: 'acme-1' })).toBe(false);
  expect(exempt({ address: '2002:a01:101::1' })).toBe(false);
  expect(exempt({ address: '64:ff9b::10.1.1.1' })).toBe(false);
});

test('a known caller is answered with the same object again', () => {
  const identities = chain();
  for (const sent of [{ key: 'acme-1' }, { address: '2001:db8::1' }, { subject: 'CN=shop' }]) {
    expect(identities.identify(request(sent))).toBe(identities.identify(request(sent)));
  }
});

test('all answers have one shape', () => {
  const identities = chain({ deny: ['192.0.2.0/24'] });
  const shapes = [{ key: 'acme-1' }, {}, { key: 'nobody' }, { address: '192.0.2.1' }].map((sent) =>
    Object.keys(identities.identify(request(sent))).join(),
  );
  expect(new Set(shapes).size).toBe(1);
});

test('buckets tell neither name nor address, and another secret makes others', () => {
  const bucket = clientBucket('one', 'ip', '203.0.113.9');
  expect(bucket).not.toBe(clientBucket('two', 'ip', '203.0.113.9'));
  expect(bucket).not.toBe(clientBucket('one', 'client', '203.0.113.9'));
});

test('a digest that is none is refused without showing it', () => {
  expect(() => chain({ keys: [{ key: 'sha256:abc', client: 'a', tier: 't' }] })).toThrow(/64 hex digits/);
});

// Tokens and certificates ------------------------------------------------------------------------------------------

const GOOD = 'aaa.bbb.ccc';

/** Knows one token of each client. */
function verifier(issuer: string, known: Readonly<Record<string, TokenFacts>>): TokenVerifier {
  const byDigest = new Map(Object.entries(known).map(([token, facts]) => [tokenDigest(token), facts]));
  return { issuer, find: (digest) => byDigest.get(digest) };
}

function tokenChain(change: Partial<IdentityPolicy> = {}): IdentityChain {
  const one = verifier('one', {
    [GOOD]: { client: 'alice', tier: 'gold' },
    'x.y.z': { client: 'acme', tier: '' },
  });
  return chain({
    chain: [
      { kind: 'jwt', header: 'Authorization', verifier: one },
      { kind: 'header', name: 'x-api-key' },
    ],
    ...change,
  });
}

test('a token that is known names client and tier at once; one that is not is pending, as a stranger', () => {
  const identities = tokenChain();
  const alice = identities.identify(request({ token: `Bearer ${GOOD}` }));
  expect(alice).toMatchObject({ kind: 'client', client: 'alice', tier: 'gold' });
  expect(identities.identify(request({ token: GOOD }))).toBe(alice);
  const stranger = identities.identify(request({}));
  expect(identities.identify(request({ token: 'Bearer new.new.new' }))).toEqual({
    ...stranger,
    kind: 'pending',
  });
  expect(identities.unverified(request({ token: 'Bearer new.new.new' }))?.token).toBe('new.new.new');
});

test('a token never falls through to something weaker, whatever unknownKeys says', () => {
  const identities = tokenChain({ unknownKeys: 'defaultTier' });
  for (const token of ['Bearer', 'Bearer nothing', 'a.b', 'a.b.c.d', 'Bearer a..c', ['a.b.c', 'a.b.c']])
    expect(identities.identify(request({ token, key: 'acme-1' }))).toMatchObject({
      kind: 'refused',
      code: 'SPW_UNKNOWN_KEY',
      challenge: 'Bearer realm="api", error="invalid_token"',
    });
  expect(identities.identify(request({ token: 'Basic YTpi', key: 'acme-1' })).client).toBe('acme');
});

test('who is called the same by key, token and certificate is one client, with the tier of its keys', () => {
  const identities = tokenChain({
    chain: [...tokenChainSteps(), { kind: 'mtls' }],
    keys: [{ key: 'acme-1', client: 'acme', tier: 'free' }],
  });
  const byToken = identities.identify(request({ token: 'x.y.z' }));
  expect(byToken).toEqual(identities.identify(request({ key: 'acme-1' })));
  expect(byToken.tier).toBe('free');
});

test('a client that no key belongs to has the tier of its row by token and certificate, and no key of any kind is it', () => {
  const identities = tokenChain({
    chain: [...tokenChainSteps(), { kind: 'mtls' }],
    keys: [
      { client: 'acme', tier: 'free' },
      { client: 'CN=shop', tier: 'gold' },
    ],
  });
  expect(identities.identify(request({ token: 'x.y.z' }))).toMatchObject({ client: 'acme', tier: 'free' });
  expect(identities.identify(request({ subject: 'CN=shop' })).tier).toBe('gold');
  expect(identities.tierOfClient('CN=shop')).toBe('gold');
  for (const key of ['', 'undefined', 'CN=shop'])
    expect(identities.identify(request({ key })).code).toBe('SPW_UNKNOWN_KEY');
});

function tokenChainSteps(): IdentityPolicy['chain'] {
  const one = verifier('one', { 'x.y.z': { client: 'acme', tier: 'platinum' } });
  return [
    { kind: 'jwt', header: 'authorization', verifier: one },
    { kind: 'header', name: 'x-api-key' },
  ];
}

test('entries with one header are one step: the token is for the issuer that it names, else for the first', () => {
  const [one, two] = [verifier('one', {}), verifier('two', { [GOOD]: { client: 'bob', tier: '' } })];
  const identities = chain({
    chain: [
      { kind: 'jwt', header: 'authorization', verifier: one },
      { kind: 'header', name: 'x-api-key' },
      { kind: 'jwt', header: 'Authorization', verifier: two },
    ],
  });
  expect(identities.identify(request({ token: GOOD })).client).toBe('bob');
  const of = (iss: string): unknown => {
    const claims = Buffer.from(JSON.stringify({ iss })).toString('base64url');
    return identities.unverified(request({ token: `e30.${claims}.sig` }))?.verifier.issuer;
  };
  expect([of('one'), of('two'), of('three')]).toEqual(['one', 'two', 'one']);
});

test('a verified token is exempt at an allowed address and nowhere else', () => {
  const identities = tokenChain({ allow: ['10.0.0.0/8'] });
  const facts = { client: 'carol', tier: 'gold' };
  expect(identities.verified(facts, '10.0.0.1')).toMatchObject({ client: 'carol', exempt: true });
  expect(identities.verified(facts, '203.0.113.9')).toMatchObject({ client: 'carol', exempt: false });
  expect(identities.verified(facts, '203.0.113.9')).toBe(identities.verified(facts, '203.0.113.9'));
});

test('a certificate names its subject; without one the chain goes on', () => {
  const identities = chain({ chain: [{ kind: 'mtls' }, { kind: 'header', name: 'x-api-key' }] });
  const subject = 'CN=shop,O=Acme';
  expect(identities.identify(request({ subject, key: 'acme-1' }))).toMatchObject({
    client: subject,
    tier: 'default',
  });
  expect(identities.identify(request({ key: 'acme-1' })).client).toBe('acme');
});

test.each([
  ['CN=ümlaut', 'CN=%C3%BCmlaut'],
  ['100%', '100%25'],
  ['two words', 'two words'],
  [' lead', '%20lead'],
  ['a\r\nx-admin: 1', 'a%0D%0Ax-admin:%201'],
])('the name %j is shown as %j, which any header field can hold', (subject, shown) => {
  const identities = chain({ chain: [{ kind: 'mtls' }] });
  expect(identities.identify(request({ subject })).client).toBe(shown);
});

test('at an address on hold what is unseen is not looked at, right or wrong; what was seen passes', () => {
  let held = false;
  const identities = tokenChain({ isHeld: () => held, allow: ['10.0.0.0/8'] });
  expect(identities.identify(request({ key: 'acme-1' })).client).toBe('acme');
  held = true;
  const answers = [
    { key: 'acme-2' },
    { key: 'nobody' },
    { token: 'Bearer new.new.new' },
    { token: 'junk' },
  ].map((sent) => identities.identify(request(sent)));
  for (const answer of answers) expect(answer).toMatchObject({ kind: 'refused', code: 'SPW_RATE_CLIENT' });
  expect(identities.identify(request({ key: 'acme-1' })).client).toBe('acme');
  expect(identities.identify(request({ token: GOOD })).client).toBe('alice');
  // Once the limiter says that the hold is over after all, it is looked at.
  expect(identities.identify(request({ key: 'acme-2' }), true).client).toBe('acme');
  expect(identities.identify(request({ address: '10.0.0.1', key: 'bolt-1' })).client).toBe('bolt');
});

test('where unknown keys are let in a key is looked up also at an address on hold; a token is not verified', () => {
  const identities = tokenChain({ isHeld: () => true, unknownKeys: 'defaultTier' });
  expect(identities.identify(request({ key: 'acme-1' }))).toMatchObject({ kind: 'client', client: 'acme' });
  expect(identities.identify(request({ key: 'nobody' }))).toBe(identities.identify(request({})));
  expect(identities.identify(request({ token: 'Bearer new.new.new' })).code).toBe('SPW_RATE_CLIENT');
});

test('a key that was seen and is in the renewed list is no guess; one that went is', () => {
  let held = false;
  const identities = chain({ isHeld: () => held });
  for (const key of ['acme-1', 'bolt-1']) identities.identify(request({ key }));
  held = true;
  const [acme, fresh] = [
    { key: 'acme-1', client: 'acme', tier: 'free' },
    { key: 'new-1', client: 'new', tier: 'free' },
  ];
  identities.replaceKeys([acme, fresh]);
  const codes = ['acme-1', 'bolt-1', 'new-1'].map((key) => identities.identify(request({ key })).code);
  expect(codes).toEqual(['', 'SPW_RATE_CLIENT', 'SPW_RATE_CLIENT']);
  expect(identities.identify(request({ key: 'acme-1' })).tier).toBe('free');
});

test('renewed keys take the place of the old ones in one step, and nothing else changes', () => {
  const identities = tokenChain();
  const before = identities.identify(request({}));
  const alice = identities.identify(request({ token: 'x.y.z' }));
  expect([identities.identify(request({ key: 'acme-1' })).client, alice.tier]).toEqual(['acme', 'gold']);
  identities.replaceKeys([{ key: 'new-1', client: 'acme', tier: 'free' }]);
  expect(identities.identify(request({ key: 'acme-1' })).code).toBe('SPW_UNKNOWN_KEY');
  expect(identities.identify(request({ key: 'new-1' }))).toMatchObject({ client: 'acme', tier: 'free' });
  expect(identities.identify(request({ token: 'x.y.z' })).tier).toBe('free');
  expect(identities.identify(request({}))).toBe(before);
  expect([identities.tierOfClient('acme'), identities.tierOfClient('bolt')]).toEqual(['free', undefined]);
  expect(() => identities.replaceKeys([{ key: 'sha256:bad', client: 'a', tier: 'free' }])).toThrow(
    RangeError,
  );
  expect(identities.identify(request({ key: 'new-1' })).client).toBe('acme');
});
