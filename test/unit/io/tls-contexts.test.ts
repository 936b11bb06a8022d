import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { TlsContexts, type TlsMaterial } from '../../../src/io/tls-contexts.ts';
import { issueCertificate, makeAuthority, type CertificateFiles } from '../../harness/certificates.ts';

let folder = '';
let authority: CertificateFiles;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-tls-'));
  authority = makeAuthority(folder);
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

function pair(file: string, names: readonly string[]): { cert: string; key: string } {
  const { cert, key } = issueCertificate(folder, authority, file, names);
  return { cert: readFileSync(cert, 'latin1'), key: readFileSync(key, 'latin1') };
}

function material(certificates: TlsMaterial['certificates'], more: Partial<TlsMaterial> = {}): TlsMaterial {
  const ticketKeys = randomBytes(48).toString('base64');
  return { certificates, clientCa: '', ticketKeys, fault: '', ...more };
}

describe('the certificate for a name', () => {
  let contexts: TlsContexts;
  beforeAll(() => {
    contexts = new TlsContexts(
      material([
        pair('first', ['first.test']),
        pair('wild', ['*.wild.test', 'Wild.Test']),
        pair('exact', ['a.wild.test', 'first.test']),
      ]),
      'TLSv1.2',
    );
  });

  test('is the exact one, in any case, before a wildcard', () => {
    const exact = contexts.pick('a.wild.test');
    expect(contexts.pick('A.WILD.test')).toBe(exact);
    expect(contexts.pick('b.wild.test')).not.toBe(exact);
    expect(contexts.pick('wild.test')).toBe(contexts.pick('b.wild.test'));
  });

  test('is that of the wildcard for one label only', () => {
    const first = contexts.pick('first.test');
    expect(contexts.pick('b.wild.test')).not.toBe(first);
    expect(contexts.pick('c.b.wild.test')).toBe(first);
    expect(contexts.pick('.wild.test')).toBe(first);
    expect(contexts.pick('*.wild.test')).toBe(contexts.pick('b.wild.test'));
  });

  test('is the first of two for one name, and the first of all for a name nobody has', () => {
    const first = contexts.pick('first.test');
    expect(contexts.pick('unknown.test')).toBe(first);
    for (const odd of ['', '.', '..', '__proto__', 'constructor', '\0', 'ü.test', 'x'.repeat(70_000)])
      expect(contexts.pick(odd)).toBe(first);
  });
});

describe('what cannot be used is told when it is built', () => {
  test.each([
    ['no certificate', () => material([])],
    ['the fault of who read it', () => material([], { fault: 'no such file' })],
    ['a certificate that is none', () => material([{ ...pair('one', ['one.test']), cert: 'text' }])],
    [
      "another's key",
      () => material([{ ...pair('two', ['two.test']), key: pair('three', ['three.test']).key }]),
    ],
  ])('%s', (_, made) => {
    expect(() => new TlsContexts(made(), 'TLSv1.2')).toThrow();
  });
});

test('what has not changed is not built again', () => {
  const [stays, old, renewed] = ['stays', 'old', 'renewed'].map((file) => pair(file, [`${file}.test`]));
  if (stays === undefined || old === undefined || renewed === undefined) throw new Error('no pairs');
  const before = new TlsContexts(material([stays, old]), 'TLSv1.2');
  const after = new TlsContexts(material([stays, renewed]), 'TLSv1.2', before);
  expect(after.pick('stays.test')).toBe(before.pick('stays.test'));
  expect(after.pick('renewed.test')).not.toBe(before.pick('old.test'));
  const asking = new TlsContexts(material([stays], { clientCa: stays.cert }), 'TLSv1.2', after);
  expect(asking.pick('stays.test')).not.toBe(after.pick('stays.test'));
  const newer = new TlsContexts(material([stays]), 'TLSv1.3', after);
  expect(newer.pick('stays.test')).not.toBe(after.pick('stays.test'));
});

test('the common name counts where there is no other', () => {
  const { cert, key } = authority;
  const own = { cert: readFileSync(cert, 'latin1'), key: readFileSync(key, 'latin1') };
  const contexts = new TlsContexts(material([pair('four', ['four.test']), own]), 'TLSv1.3');
  expect(contexts.pick('authority')).not.toBe(contexts.pick('four.test'));
});
