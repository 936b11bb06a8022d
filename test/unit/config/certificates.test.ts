/** Several certificates of one listener: a caller's name finds the first that has it, and whoever wrote another is told. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { issueCertificate, makeAuthority } from '../../harness/certificates.ts';
import type { CertificateFiles } from '../../harness/certificates.ts';
import { makeCertificate } from './certificate.ts';
import { load, REQUIRED, warnings } from './load-text.ts';

let folder = '';
let authority: CertificateFiles;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-certificates-'));
  authority = makeAuthority(folder);
});

afterAll(() => {
  rmSync(folder, { recursive: true });
});

const issued = (file: string, names: readonly string[]): CertificateFiles =>
  issueCertificate(folder, authority, file, names);

function listeners(...certificates: (readonly CertificateFiles[])[]): string {
  const rows = certificates.map((pairs, index) => {
    const list = pairs.map(({ cert, key }) => `\n      - { cert: ${cert}, key: ${key} }`);
    return `\n  - port: ${8443 + index}\n    tls:\n     certificates:${list.join('')}`;
  });
  return REQUIRED.replace('[{ port: 8080 }]', rows.join(''));
}

test('one whose name an earlier one has is a warning at the later, in any spelling', () => {
  const text = listeners([
    issued('first', ['a.example', 'b.example']),
    issued('second', ['c.example', 'A.Example']),
  ]);
  expect(load(text).ok).toBe(true);
  expect(warnings(text)).toEqual([
    '6:9 never shown for `a.example`, which certificates[0] has too, at listeners[0].tls.certificates[1]',
  ]);
});

test('each earlier one is named, and of many names the first two', () => {
  const one = issued('one', ['a.example']);
  const two = issued('two', ['b.example', '*.c.example', 'd.example']);
  const all = issued('all', ['d.example', '*.c.example', 'b.example', 'a.example', 'e.example']);
  expect(warnings(listeners([one, two, all]))).toEqual([
    '7:9 never shown for `d.example`, which certificates[1] has too, and for `*.c.example`, which certificates[1] has too, and for 2 more, at listeners[0].tls.certificates[2]',
  ]);
});

test('one that is there twice, or has a common name only, counts alike', () => {
  const old = makeCertificate(folder, 'old');
  expect(warnings(listeners([old, old]))).toEqual([
    '6:9 never shown for `old.test`, which certificates[0] has too, at listeners[0].tls.certificates[1]',
  ]);
});

test('a wildcard beside an exact name, and the same name at another listener, are no doubt', () => {
  const exact = issued('exact', ['www.w.example']);
  const wild = issued('wild', ['*.w.example']);
  expect(warnings(listeners([wild, exact], [exact, wild]))).toEqual([]);
});
