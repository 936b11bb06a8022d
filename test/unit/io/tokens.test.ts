/** What makes a token good, what makes it bad, and what neither costs more than it should. Keys and signatures are real. */
import { createHmac } from 'node:crypto';
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { tokenDigest } from '../../../src/clients/token.ts';
import { Tokens, type JwtEntry, type TokenVerdict } from '../../../src/io/tokens.ts';
import { AUDIENCE, forge, ISSUER, makeKey, type IssuerKey } from '../../harness/issuer.ts';

const ALGORITHMS = ['RS256', 'PS384', 'ES256', 'ES512', 'EdDSA'] as const;
const URL_OF_KEYS = 'https://issuer.test/jwks.json';

let keys: Readonly<Record<string, IssuerKey>>;
let other: IssuerKey;

beforeAll(async () => {
  const made = await Promise.all(
    ALGORITHMS.map(async (alg) => [alg, await makeKey(alg, `k-${alg}`)] as const),
  );
  keys = Object.fromEntries(made);
  other = await makeKey('ES256', 'k-other');
});

function keyOf(alg: string): IssuerKey {
  const key = keys[alg];
  if (key === undefined) throw new Error(`no key for ${alg}`);
  return key;
}

interface Bench {
  readonly tokens: Tokens;
  readonly asked: string[];
  readonly verdicts: string[];
  readonly verify: (token: string) => Promise<TokenVerdict>;
  /** What is remembered of a token. */
  readonly known: (token: string) => unknown;
  now: number;
}

/** @param change of an entry that accepts all of them from a `jwksUrl` */
function bench(change: Partial<JwtEntry> = {}): Bench {
  const asked: string[] = [];
  const verdicts: string[] = [];
  const tokens = new Tokens({
    now: () => made.now,
    wallMs: () => Date.now(),
    ask: (url) => asked.push(url),
    onVerdict: (kind) => verdicts.push(kind),
  });
  const verifier = tokens.verifierOf({
    header: 'authorization',
    jwksUrl: URL_OF_KEYS,
    keys: null,
    issuer: ISSUER,
    audience: AUDIENCE,
    algorithms: [...ALGORITHMS],
    claim: 'sub',
    tierClaim: 'tier',
    ...change,
  });
  const made: Bench = {
    tokens,
    asked,
    verdicts,
    now: 1000,
    verify: async (token) => await tokens.verify({ verifier, token, digest: tokenDigest(token) }),
    known: (token) => verifier.find(tokenDigest(token), made.now),
  };
  return made;
}

function publish({ tokens }: Bench, ...published: readonly IssuerKey[]): void {
  tokens.take(
    URL_OF_KEYS,
    published.map(({ jwk }) => jwk as never),
    60_000,
  );
}

function published(...of: readonly IssuerKey[]): Bench {
  const made = bench();
  publish(made, ...of);
  return made;
}

const SIGNATURE = { kind: 'bad', reason: 'token: signature' };

describe('a good token', () => {
  test.each(ALGORITHMS)('signed with %s names its client and tier', async (alg) => {
    const { verify, known } = published(...Object.values(keys));
    const token = await keyOf(alg).sign({ tier: 'gold' });
    expect(await verify(token)).toMatchObject({ kind: 'good', facts: { client: 'alice', tier: 'gold' } });
    expect(known(token)).toMatchObject({ client: 'alice', tier: 'gold' });
  });

  test('may name no key: those that fit its algorithm are tried', async () => {
    const { verify } = published(other, keyOf('ES256'), keyOf('RS256'));
    const token = await keyOf('ES256').sign({}, { kid: undefined });
    expect((await verify(token)).kind).toBe('good');
  });

  test('is known until it expires, five minutes at most', async () => {
    const made = published(keyOf('ES256'));
    const inSeconds = (seconds: number): number => Math.floor(Date.now() / 1000) + seconds;
    const short = await keyOf('ES256').sign({ exp: inSeconds(60) });
    const long = await keyOf('ES256').sign({ exp: inSeconds(36_000) });
    for (const token of [short, long]) expect((await made.verify(token)).kind).toBe('good');
    made.now = 1000 + 58_000;
    expect([made.known(short) !== undefined, made.known(long) !== undefined]).toEqual([true, true]);
    made.now = 1000 + 61_000;
    expect([made.known(short) !== undefined, made.known(long) !== undefined]).toEqual([false, true]);
    made.now = 1000 + 300_001;
    expect(made.known(long)).toBeUndefined();
  });

  test('of a clock a little ahead is good', async () => {
    const now = Math.floor(Date.now() / 1000);
    const { verify } = published(keyOf('ES256'));
    expect((await verify(await keyOf('ES256').sign({ nbf: now + 3 }))).kind).toBe('good');
    expect((await verify(await keyOf('ES256').sign({ nbf: now + 60 }))).kind).toBe('bad');
  });
});

describe('a bad token', () => {
  test.each<[string, () => Promise<string>]>([
    ['has expired', async () => await keyOf('ES256').sign({ exp: Math.floor(Date.now() / 1000) - 1 })],
    ['never expires', async () => await keyOf('ES256').sign({ exp: undefined })],
    ['is of another issuer', async () => await keyOf('ES256').sign({ iss: 'https://evil.test/' })],
    ['is for another audience', async () => await keyOf('ES256').sign({ aud: 'payroll' })],
    ['has no audience', async () => await keyOf('ES256').sign({ aud: undefined })],
    ['names nobody', async () => await keyOf('ES256').sign({ sub: undefined })],
    ['names an empty client', async () => await keyOf('ES256').sign({ sub: '' })],
    ['names somebody by a number', async () => await keyOf('ES256').sign({ sub: 7 })],
    ['names an address', async () => await keyOf('ES256').sign({ sub: 'ip:AAAAAAAAAAAAAAAAAAAAAA' })],
    ['is signed by somebody else', async () => await other.sign({}, { kid: 'k-ES256' })],
    ['demands an unknown extension', async () => await keyOf('ES256').sign({}, { crit: ['x'], x: 1 })],
    [
      'had its claims changed',
      async () => {
        const [header, , signature] = (await keyOf('ES256').sign()).split('.');
        const now = Math.floor(Date.now() / 1000);
        const claims = { iss: ISSUER, aud: AUDIENCE, sub: 'root', exp: now + 300 };
        return `${header}.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.${signature}`;
      },
    ],
  ])('%s', async (_why, make) => {
    let token: string;
    try {
      token = await make();
    } catch {
      // The library refuses to sign an unknown extension.
      token = forge({ alg: 'ES256', kid: 'k-ES256', crit: ['x'], x: 1 }, { sub: 'alice' });
    }
    const { verify, known, verdicts } = published(keyOf('ES256'));
    expect(await verify(token)).toMatchObject({ kind: 'bad', reason: expect.stringMatching(/^token: /) });
    expect([known(token), verdicts]).toEqual([undefined, ['bad']]);
  });

  test.each(['none', 'None', 'HS256', 'HS512', 'ES256K', 'RS1', ''])(
    'asks for the algorithm %j',
    async (alg) => {
      const { verify } = published(...Object.values(keys));
      const now = Math.floor(Date.now() / 1000);
      const claims = { iss: ISSUER, aud: AUDIENCE, sub: 'root', exp: now + 300 };
      for (const signature of ['c2ln', ''])
        expect(await verify(forge({ alg, kid: 'k-RS256' }, claims, signature))).toMatchObject({
          kind: 'bad',
          reason: 'token: algorithm',
        });
    },
  );

  test('is one whose HMAC was made with the public key', async () => {
    const { verify } = published(keyOf('RS256'));
    const body = forge({ alg: 'HS256', kid: 'k-RS256' }, { iss: ISSUER, aud: AUDIENCE, sub: 'root' });
    const signed = body.slice(0, body.lastIndexOf('.'));
    const mac = createHmac('sha256', JSON.stringify(keyOf('RS256').jwk))
      .update(signed)
      .digest('base64url');
    expect((await verify(`${signed}.${mac}`)).kind).toBe('bad');
  });

  test('uses a key of the set with an algorithm that is not configured', async () => {
    const made = bench({ algorithms: ['ES256'] });
    publish(made, keyOf('ES256'), keyOf('RS256'));
    expect(await made.verify(await keyOf('RS256').sign())).toEqual({
      kind: 'bad',
      reason: 'token: algorithm',
    });
  });

  test('uses a key of the set with an algorithm of another kind', async () => {
    const made = published(keyOf('RS256'), keyOf('ES256'));
    // The header says ES256 of the RSA key's id: no key of that id can be it.
    expect((await made.verify(await keyOf('ES256').sign({}, { kid: 'k-RS256' }))).kind).toBe('bad');
  });

  test('brings its own key, and nobody looks at it', async () => {
    const made = published(keyOf('ES256'));
    const headers = [{ jwk: other.jwk }, { jku: 'https://evil.test/jwks' }, { x5u: 'https://evil.test/x' }];
    for (const header of headers)
      expect(await made.verify(await other.sign({}, { ...header, kid: 'k-ES256' }))).toEqual(SIGNATURE);
    expect(made.asked).toEqual([]);
  });

  test('is never remembered', async () => {
    const made = published(keyOf('ES256'));
    const token = await other.sign({}, { kid: 'k-ES256' });
    expect([await made.verify(token), await made.verify(token)]).toEqual([SIGNATURE, SIGNATURE]);
    expect(made.verdicts).toEqual(['bad', 'bad']);
  });
});

describe('keys', () => {
  test('of the configuration need nobody to fetch them', async () => {
    const made = bench({ jwksUrl: null, keys: [keyOf('EdDSA').jwk] });
    expect((await made.verify(await keyOf('EdDSA').sign())).kind).toBe('good');
    expect((await made.verify(await keyOf('EdDSA').sign({}, { kid: 'new' }))).kind).toBe('bad');
    expect(made.asked).toEqual([]);
  });

  test('a key that is not in the set is asked for once, for all tokens that wait', async () => {
    const made = published(keyOf('ES256'));
    made.now += 60_001;
    const waiting = Promise.all(
      [await other.sign(), await other.sign(), await other.sign()].map(made.verify),
    );
    await Promise.resolve();
    expect(made.asked).toEqual([URL_OF_KEYS]);
    publish(made, keyOf('ES256'), other);
    expect((await waiting).map(({ kind }) => kind)).toEqual(['good', 'good', 'good']);
  });

  test('within the time that the supervisor named nobody asks again', async () => {
    const made = published(keyOf('ES256'));
    for (let turn = 0; turn < 5; turn++) expect((await made.verify(await other.sign())).kind).toBe('bad');
    expect(made.asked).toEqual([]);
    made.now += 60_001;
    const verdict = made.verify(await other.sign());
    await Promise.resolve();
    publish(made, keyOf('ES256'));
    expect(await verdict).toEqual({ kind: 'bad', reason: 'token: unknown key' });
    expect(made.asked).toHaveLength(1);
  });

  test('a known key is not held up by the search for an unknown one', async () => {
    const made = published(keyOf('ES256'));
    made.now += 60_001;
    const waiting = made.verify(await other.sign());
    expect((await made.verify(await keyOf('ES256').sign())).kind).toBe('good');
    publish(made, keyOf('ES256'));
    expect((await waiting).kind).toBe('bad');
  });

  test('before the first set nobody can tell: no fault of the token', async () => {
    const made = bench();
    const token = await keyOf('ES256').sign();
    const waiting = made.verify(token);
    await Promise.resolve();
    expect(made.asked).toHaveLength(1);
    made.tokens.take(URL_OF_KEYS, null, 1000);
    expect(await waiting).toMatchObject({ kind: 'undecided', code: 'SPW_TOKEN_KEYS_DOWN' });
    expect(await made.verify(token)).toMatchObject({ kind: 'undecided' });
    expect(made.asked).toHaveLength(1);
    publish(made, keyOf('ES256'));
    expect((await made.verify(token)).kind).toBe('good');
  });

  describe('when the supervisor does not answer', () => {
    afterEach(() => {
      vi.useRealTimers();
    });

    test('nobody waits longer than for a fetch, and then nobody asks again for a moment', async () => {
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
      const made = bench();
      const tokens = await Promise.all(Array.from({ length: 300 }, async () => await keyOf('ES256').sign()));
      const waiting = Promise.all(tokens.map(made.verify));
      await Promise.resolve();
      vi.advanceTimersByTime(6000);
      const codes = (await waiting).map((verdict) => (verdict.kind === 'undecided' ? verdict.code : ''));
      expect(new Set(codes)).toEqual(new Set(['SPW_TOKEN_KEYS_DOWN']));
      expect((await made.verify(await keyOf('ES256').sign())).kind).toBe('undecided');
      expect(made.asked).toHaveLength(1);
      made.now += 1000;
      const again = made.verify(await keyOf('ES256').sign());
      await Promise.resolve();
      expect(made.asked).toHaveLength(2);
      publish(made, keyOf('ES256'));
      expect((await again).kind).toBe('good');
      // The answer has ended the wait: nothing is left that could end the next one early.
      expect(vi.getTimerCount()).toBe(0);
    });

    test('a key that is not in the last set is unknown, as where a fetch fails', async () => {
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
      const made = published(keyOf('ES256'));
      made.now += 60_001;
      const waiting = made.verify(await other.sign());
      await Promise.resolve();
      vi.advanceTimersByTime(6000);
      expect(await waiting).toEqual({ kind: 'bad', reason: 'token: unknown key' });
      expect((await made.verify(await keyOf('ES256').sign())).kind).toBe('good');
    });
  });

  test('a set that lost a key forgets the tokens, one that only gained some does not', async () => {
    const made = published(keyOf('ES256'));
    const token = await keyOf('ES256').sign();
    expect((await made.verify(token)).kind).toBe('good');
    publish(made, keyOf('ES256'), other);
    expect(made.known(token)).toBeDefined();
    publish(made, other);
    expect(made.known(token)).toBeUndefined();
    expect((await made.verify(token)).kind).toBe('bad');
  });

  test('a reload with the same entry keeps what was verified, another entry begins anew', async () => {
    const { tokens } = bench();
    const entry = {
      header: 'authorization',
      jwksUrl: URL_OF_KEYS,
      keys: null,
      issuer: ISSUER,
      audience: AUDIENCE,
      algorithms: ['ES256' as const],
      claim: 'sub',
      tierClaim: null,
    };
    const first = tokens.verifierOf(entry);
    expect(tokens.verifierOf({ ...entry })).toBe(first);
    expect(tokens.verifierOf({ ...entry, audience: 'other' })).not.toBe(first);
    tokens.keepOnly({ clients: { identify: [] } } as never);
    expect(tokens.verifierOf(entry)).not.toBe(first);
  });
});

describe('what it costs', () => {
  test('requests with one unseen token wait for one verification', async () => {
    const made = published(keyOf('ES256'));
    const token = await keyOf('ES256').sign();
    const verdicts = await Promise.all(Array.from({ length: 1000 }, async () => await made.verify(token)));
    const facts = new Set(verdicts.map((verdict) => (verdict.kind === 'good' ? verdict.facts : undefined)));
    expect(facts.size).toBe(1);
  });

  test('of a thousand forged tokens at once 256 are verified, the others are refused as overload', async () => {
    const made = published(keyOf('ES256'));
    const now = Math.floor(Date.now() / 1000);
    const claims = { iss: ISSUER, aud: AUDIENCE, exp: now + 300 };
    const forged = Array.from({ length: 1000 }, (_, index) =>
      forge({ alg: 'ES256', kid: 'k-ES256' }, { ...claims, sub: `s${index}` }, 'A'.repeat(86)),
    );
    const kinds = (await Promise.all(forged.map(made.verify))).map((verdict) =>
      verdict.kind === 'undecided' ? verdict.code : verdict.kind,
    );
    expect(kinds.filter((kind) => kind === 'bad')).toHaveLength(256);
    expect(kinds.filter((kind) => kind === 'SPW_SHED_OVERLOAD')).toHaveLength(744);
    // And what was refused costs the next one nothing.
    expect((await made.verify(await keyOf('ES256').sign())).kind).toBe('good');
  });

  test('of a thousand that wait for a key 256 wait, the others are bad at once', async () => {
    const made = published(keyOf('ES256'));
    made.now += 60_001;
    const forged = Array.from({ length: 1000 }, (_, index) =>
      forge({ alg: 'ES256', kid: `k${index}` }, { sub: 'x' }),
    );
    let settled = 0;
    const all = forged.map(async (token) => {
      await made.verify(token);
      settled++;
    });
    await Promise.all(all.slice(256));
    expect(settled).toBe(744);
    publish(made, keyOf('ES256'));
    await Promise.all(all);
    expect(made.asked).toHaveLength(1);
  });
});
