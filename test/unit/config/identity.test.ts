/** How callers are recognised, as `check` judges it: keys of tokens, certificates nobody asks for, and the keys file read again. */
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { formatFinding } from '../../../config/findings.ts';
import { readKeysAgain } from '../../../config/keys-again.ts';
import { loadConfigurationText } from '../../../config/load.ts';

const FOLDER = mkdtempSync(join(tmpdir(), 'spillway-identity-'));

afterAll(() => {
  rmSync(FOLDER, { recursive: true });
});

function load(clients: string, more = ''): ReturnType<typeof loadConfigurationText> {
  const text = `listeners: [{ port: 8080 }]
services: { shop: { instances: [http://127.0.0.1:9001] } }
routes: [{ path: /, service: shop }]
clients: { ${clients} }
${more}`;
  return loadConfigurationText(text, join(FOLDER, 'spillway.yaml'), {});
}

/** Errors and warnings, without the place. */
function said(clients: string, more = ''): string[] {
  const result = load(clients, more);
  const findings = result.ok ? result.warnings : [...result.faults, ...result.warnings];
  return findings.map((finding) => formatFinding(finding).replace(/^.*?: (error|warning): /, '$1: '));
}

function jwk(type: 'ed25519' | 'rsa' | 'ec', bits = 2048, secret = false): string {
  const pair =
    type === 'rsa'
      ? generateKeyPairSync('rsa', { modulusLength: bits })
      : type === 'ec'
        ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
        : generateKeyPairSync('ed25519');
  return JSON.stringify((secret ? pair.privateKey : pair.publicKey).export({ format: 'jwk' }));
}

function entry(keys: string, algorithms = 'ES256'): string {
  return `identify: [{ jwt: { ${keys}, issuer: i, audience: a, algorithms: [${algorithms}] } }]`;
}

/** A public key that says more of itself. */
function jwkWith(type: Parameters<typeof jwk>[0], more: object): string {
  return JSON.stringify({ ...(JSON.parse(jwk(type)) as object), ...more });
}

describe('a jwt entry', () => {
  test.each([
    ['ed25519', 'EdDSA', {}],
    ['ed25519', 'ES256, EdDSA', { alg: 'Ed25519' }],
    ['ec', 'ES256', { use: 'sig', key_ops: ['verify'] }],
    ['rsa', 'PS512', { alg: 'PS512' }],
  ] as const)('takes public keys: %s for %s', (type, algorithms, more) => {
    expect(said(entry(`keys: [${jwkWith(type, more)}]`, algorithms))).toEqual([]);
  });

  test.each<[string, string, RegExp]>([
    ['is for encryption', jwkWith('ec', { use: 'enc' }), /is not for signatures \(`use`\)/],
    ['may sign only', jwkWith('ec', { key_ops: ['sign'] }), /is not for verifying \(`key_ops`\)/],
    [
      'is for an algorithm of encryption',
      jwkWith('rsa', { alg: 'RSA-OAEP' }),
      /no signature is made with here/,
    ],
    ['is of another type', jwk('ed25519'), /is of a type, curve or `alg` for none of `algorithms`/],
    ['is for another algorithm', jwkWith('rsa', { alg: 'RS384' }), /for none of `algorithms`/],
    [
      'is on a curve for no signature',
      JSON.stringify(generateKeyPairSync('x25519').publicKey.export({ format: 'jwk' })),
      /no signature is made with here/,
    ],
  ])('whose key %s is told so: an error alone, a warning beside one that verifies', (_why, key, message) => {
    const [alone = '', ...others] = said(entry(`keys: [${key}]`, 'ES256, RS256'));
    expect(alone).toMatch(
      /^error: .*: no token is verified with it, at clients\.identify\[0\]\.jwt\.keys\[0\]$/,
    );
    expect(alone).toMatch(message);
    expect(others).toEqual([]);
    expect(said(entry(`keys: [${jwk('ec')}, ${key}]`, 'ES256, RS256'))).toEqual([
      alone.replace('error', 'warning').replace('keys[0]', 'keys[1]'),
    ]);
  });

  test.each<[string, string, RegExp]>([
    [
      'has neither',
      'claim: sub',
      /^error: needs exactly one of `jwksUrl` and `keys`, at clients\.identify\[0\]\.jwt$/,
    ],
    ['has both', `jwksUrl: https://i.test/k, keys: [${jwk('ec')}]`, /exactly one/],
    ['has a list without keys', 'keys: []', /no token could be verified/],
    ['has a private key', `keys: [${jwk('ec', 0, true)}]`, /is a private key: only its public members/],
    ['has a shared secret', 'keys: [{ kty: oct, k: c2VjcmV0 }]', /is a shared secret/],
    [
      'has a key that is none',
      'keys: [{ kty: RSA, n: x }]',
      /is no public key \(JWK\), at clients\.identify\[0\]\.jwt\.keys\[0\]/,
    ],
    ['has a short key', `keys: [${jwk('rsa', 1024)}]`, /less than 2048 bits/],
    ['fetches from a file', 'jwksUrl: file:///etc/keys', /is no http or https address/],
    ['shows a password', 'jwksUrl: https://me:pw@i.test/k', /holds a name or a password/],
    ['fetches in the open', 'jwksUrl: http://i.test/k', /^warning: is not encrypted/],
  ])('that %s is told so', (_why, keys, message) => {
    const [first = '', ...others] = said(entry(keys));
    expect(first).toMatch(message);
    expect(others).toEqual([]);
    expect(first).not.toContain('pw');
  });

  test.each(['http://127.0.0.1:80/k', 'http://[::1]/k', 'https://i.test/k'])('may fetch from %s', (url) => {
    expect(said(entry(`jwksUrl: "${url}"`))).toEqual([]);
  });

  test('none and shared secrets are no algorithms', () => {
    for (const algorithm of ['none', 'HS256'])
      expect(said(entry('jwksUrl: https://i.test/k').replace('ES256', algorithm))[0]).toMatch(/^error: /);
  });
});

test('an mtls entry without a listener that asks for certificates is a warning', () => {
  expect(said('identify: [{ mtls: subject }]')[0]).toMatch(
    /^warning: names nobody: no listener asks for certificates .*identify\[0\]\.mtls$/,
  );
});

test('two jwt entries for one header and one issuer are an error, in whatever case the header is', () => {
  const of = (header: string, issuer: string, audience: string): string =>
    `{ jwt: { jwksUrl: "https://i.test/k", header: ${header}, issuer: ${issuer}, audience: ${audience}, algorithms: [ES256] } }`;
  const first = of('authorization', 'i', 'a');
  expect(said(`identify: [${first}, ${of('Authorization', 'i', 'b')}]`)).toEqual([
    expect.stringMatching(/^error: has an entry for the same header before: .*identify\[1\]\.jwt\.issuer$/),
  ]);
  expect(said(`identify: [${first}, ${of('x-token', 'i', 'b')}, ${of('authorization', 'j', 'b')}]`)).toEqual(
    [],
  );
});

test('a key may belong to whom a certificate or a token names, and to no address', () => {
  const of = (client: string): string => `keys: [{ key: k, client: "${client}", tier: default }]`;
  for (const client of ['acme', 'CN=shop,O=Acme Ltd', 'auth0|17', 'a@b.test', 'x'.repeat(256)])
    expect(said(of(client))).toEqual([]);
  for (const client of ['', 'ip:abc', ' a', 'a ', 'ü', 'a\\n', 'x'.repeat(257)])
    expect(said(of(client))[0]).toMatch(/^error: not a client name: .*keys\[0\]\.client$/);
});

test('a row may be without a key where tokens or certificates name clients, and nowhere else', () => {
  const rows = 'keys: [{ client: "CN=shop,O=Acme", tier: default }]';
  const certified = said(`identify: [{ mtls: subject }], ${rows}`).filter((each) => each.startsWith('error'));
  expect([...certified, ...said(`${entry('jwksUrl: https://i.test/k')}, ${rows}`)]).toEqual([]);
  for (const chain of ['', 'identify: [{ header: x-key }],'])
    expect(said(`${chain} ${rows}`)).toEqual([
      expect.stringMatching(/^error: has no `key`, and neither a token nor a certificate .*keys\[0\]\.key$/),
    ]);
  // Left empty is not left out.
  expect(said('identify: [{ mtls: subject }], keys: [{ key: , client: c }]')[0]).toMatch(
    /^error: .*keys\[0\]\.key$/,
  );
});

describe('the keys file, read again', () => {
  const file = join(FOLDER, 'keys.yaml');
  const own = 'keys: [{ key: own-1, client: owner, tier: gold }]';
  const more = 'tiers: { gold: {} }';

  function again(text: string): ReturnType<typeof readKeysAgain> {
    writeFileSync(file, '- { key: file-1, client: filed, tier: gold }\n');
    const loaded = load(`${own}, keysFile: ${file}`, more);
    if (!loaded.ok) throw new Error(loaded.faults.map(formatFinding).join('\n'));
    writeFileSync(file, text);
    return readKeysAgain(loaded.configuration, loaded.ownKeys, {});
  }

  test('gives what a start would have given', () => {
    const text = '- { key: file-2, client: filed, tier: gold }\n- { key: file-3, client: other }\n';
    const renewed = again(text);
    const fresh = load(`${own}, keysFile: ${file}`, more);
    if (!fresh.ok || !renewed.ok) throw new Error('not loaded');
    expect(renewed.keys).toEqual(fresh.configuration.clients.keys);
    expect(renewed.hash).toBe(fresh.hash);
    expect([fresh.ownKeys, renewed.keys.length]).toEqual([1, 3]);
  });

  test.each([
    ['is no YAML', '- { key: ['],
    ['is empty, as a file is that is being written', ''],
    ['names a tier that is not there', '- { key: k, client: c, tier: platinum }'],
    ['has a key twice', '- { key: k, client: c }\n- { key: k, client: d }'],
    ['has a key of the configuration', '- { key: own-1, client: thief, tier: gold }'],
    ['puts a client of the configuration into another tier', '- { key: k, client: owner, tier: default }'],
    ['has a row without a client', '- { key: k-secret }'],
    ['has a row without a key, and nothing else names clients', '- { client: c, tier: gold }'],
  ])('that %s changes nothing, and no key is told', (_why, text) => {
    const renewed = again(text);
    if (renewed.ok) throw new Error('it was taken');
    expect(renewed.faults.length).toBeGreaterThan(0);
    for (const fault of renewed.faults) expect(fault).toMatch(/keys\.yaml:\d+:\d+: error: /);
    expect(renewed.faults.join()).not.toMatch(/own-1|k-secret/);
  });

  test('that is gone is a fault as well', () => {
    rmSync(file, { force: true });
    const loaded = load(own, more);
    if (!loaded.ok) throw new Error('not loaded');
    const clients = { ...loaded.configuration.clients, keysFile: file };
    expect(readKeysAgain({ ...loaded.configuration, clients }, 1, {})).toEqual({
      ok: false,
      faults: [expect.stringContaining('there is no such file')],
    });
  });
});
