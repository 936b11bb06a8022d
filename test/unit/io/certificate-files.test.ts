import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { ListenerConfiguration } from '../../../config/schema.ts';
import { CertificateFiles } from '../../../src/io/certificate-files.ts';
import { issueCertificate, makeAuthority } from '../../harness/certificates.ts';

const TWELVE_HOURS = 12 * 3_600_000;

let folder = '';
/** Two pairs for one name, as a renewal gives them. */
let old: { cert: string; key: string };
let renewed: { cert: string; key: string };
let authority: { cert: string; key: string };

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-files-'));
  authority = makeAuthority(folder);
  old = issueCertificate(folder, authority, 'old', ['a.test']);
  renewed = issueCertificate(folder, authority, 'renewed', ['a.test']);
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

const text = (path: string): string => readFileSync(path, 'latin1');

interface Bench {
  readonly files: CertificateFiles;
  readonly cert: string;
  readonly key: string;
  readonly results: string[];
  readonly lines: { fields: object; message: string }[];
  readonly state: { now: number; changes: number };
  readonly listener: ListenerConfiguration;
  /** The certificate that workers would be given. */
  shown(): string | undefined;
}

let serial = 0;

/** Files of its own, with the old pair in them, which a listener names. */
function bench(more: object = {}): Bench {
  const place = join(folder, `bench-${serial++}`);
  mkdirSync(place);
  const cert = join(place, 'tls.crt');
  const key = join(place, 'tls.key');
  copyFileSync(old.cert, cert);
  copyFileSync(old.key, key);
  const results: string[] = [];
  const lines: { fields: object; message: string }[] = [];
  const state = { now: 0, changes: 0 };
  const log = (fields: object, message: string): void => {
    lines.push({ fields, message });
  };
  const files = new CertificateFiles({
    log: { info: log, warn: log },
    now: () => state.now,
    onResult: (result) => {
      results.push(result);
    },
    onChange: () => {
      state.changes++;
    },
  });
  const listener = {
    host: '::',
    port: 443,
    tls: { certificates: [{ cert, key }], minVersion: 'TLSv1.2', clientCa: null, ...more },
  } as unknown as ListenerConfiguration;
  const shown = (): string | undefined => files.materialOf(listener)?.certificates[0]?.cert;
  return { files, cert, key, results, lines, state, listener, shown };
}

async function looks(files: CertificateFiles, count: number): Promise<void> {
  for (let index = 0; index < count; index++) await files.look();
}

describe('a pair renewed on disk', () => {
  let it: Bench;
  beforeEach(async () => {
    it = bench();
    expect(it.shown()).toBe(text(old.cert));
    await looks(it.files, 3);
    expect([it.results, it.state.changes]).toEqual([[], 0]);
  });

  test('is shown after it stood still for one look', async () => {
    copyFileSync(renewed.cert, it.cert);
    copyFileSync(renewed.key, it.key);
    await it.files.look();
    expect(it.shown()).toBe(text(old.cert));
    await it.files.look();
    expect(it.shown()).toBe(text(renewed.cert));
    await looks(it.files, 3);
    expect([it.results, it.state.changes]).toEqual([['ok'], 1]);
    expect(it.lines).toMatchObject([{ fields: { certificate: it.cert }, message: 'certificate reloaded' }]);
  });

  test('is found when it was replaced by a rename, and half a renewal is told to nobody', async () => {
    for (const [from, to] of [
      [renewed.cert, it.cert],
      [renewed.key, it.key],
    ] as const) {
      copyFileSync(from, `${to}.new`);
      renameSync(`${to}.new`, to);
      // The certificate without its key: still moving.
      await it.files.look();
    }
    await it.files.look();
    expect(it.shown()).toBe(text(renewed.cert));
    expect(it.results).toEqual(['ok']);
  });

  test.each([
    ['does not parse', (): void => writeFileSync(it.cert, 'no certificate')],
    ['is half written', (): void => writeFileSync(it.cert, text(renewed.cert).slice(0, 200))],
    ['does not match', (): void => copyFileSync(renewed.cert, it.cert)],
    ['has no key', (): void => rmSync(it.key)],
  ])('changes nothing when it %s, and is told once', async (_, spoil) => {
    spoil();
    await looks(it.files, 5);
    expect(it.shown()).toBe(text(old.cert));
    expect([it.results, it.state.changes]).toEqual([['refused'], 0]);
    expect(it.lines).toHaveLength(1);
    expect(JSON.stringify(it.lines)).not.toContain('PRIVATE');
    copyFileSync(renewed.cert, it.cert);
    copyFileSync(renewed.key, it.key);
    await looks(it.files, 2);
    expect(it.shown()).toBe(text(renewed.cert));
    expect(it.results).toEqual(['refused', 'ok']);
  });

  test('that is the same again is no renewal', async () => {
    copyFileSync(old.cert, `${it.cert}.new`);
    renameSync(`${it.cert}.new`, it.cert);
    await looks(it.files, 3);
    expect([it.results, it.state.changes]).toEqual([[], 0]);
  });

  test('is taken at once when an operator reloads', async () => {
    copyFileSync(renewed.cert, it.cert);
    copyFileSync(renewed.key, it.key);
    await it.files.configure([it.listener]);
    expect(it.shown()).toBe(text(renewed.cert));
  });

  test('of a listener that nobody has any more is not looked at', async () => {
    await it.files.configure([]);
    writeFileSync(it.cert, 'no certificate');
    await looks(it.files, 3);
    expect(it.results).toEqual([]);
  });
});

test('a folder that is swapped by its link, as Kubernetes does, is a renewal', async () => {
  const place = join(folder, 'mounted');
  for (const [name, pair] of [
    ['..v1', old],
    ['..v2', renewed],
  ] as const) {
    mkdirSync(join(place, name), { recursive: true });
    copyFileSync(pair.cert, join(place, name, 'tls.crt'));
    copyFileSync(pair.key, join(place, name, 'tls.key'));
  }
  symlinkSync('..v1', join(place, '..data'));
  for (const name of ['tls.crt', 'tls.key']) symlinkSync(join('..data', name), join(place, name));
  const it = bench({ certificates: [{ cert: join(place, 'tls.crt'), key: join(place, 'tls.key') }] });
  expect(it.shown()).toBe(text(old.cert));
  await looks(it.files, 3);
  symlinkSync('..v2', join(place, '..tmp'));
  renameSync(join(place, '..tmp'), join(place, '..data'));
  await looks(it.files, 2);
  expect(it.shown()).toBe(text(renewed.cert));
  expect(it.results).toEqual(['ok']);
});

test('the authority for callers is renewed as well, and one that is none is refused', async () => {
  const ca = join(folder, 'callers.crt');
  copyFileSync(authority.cert, ca);
  const it = bench({ clientCa: ca });
  const shown = (): string | undefined => it.files.materialOf(it.listener)?.clientCa;
  expect(shown()).toBe(text(authority.cert));
  await looks(it.files, 3);
  writeFileSync(ca, 'nobody');
  await looks(it.files, 2);
  expect(shown()).toBe(text(authority.cert));
  copyFileSync(makeAuthority(folder, 'other').cert, ca);
  await looks(it.files, 2);
  expect(shown()).toBe(text(ca));
  expect(it.results).toEqual(['refused', 'ok']);
});

test('text in the configuration itself is passed on and not looked for on disk', async () => {
  const it = bench({ certificates: [{ cert: text(old.cert), key: text(old.key) }] });
  expect(it.shown()).toBe(text(old.cert));
  await looks(it.files, 3);
  expect([it.results, it.state.changes]).toEqual([[], 0]);
});

test('a file that was never there is a fault, and found when it is there', () => {
  const it = bench();
  rmSync(it.cert);
  expect(it.files.materialOf(it.listener)).toMatchObject({
    certificates: [],
    fault: expect.stringContaining('ENOENT') as string,
  });
  copyFileSync(old.cert, it.cert);
  expect(it.files.materialOf(it.listener)).toMatchObject({ fault: '' });
});

describe('ticket keys', () => {
  const keys = ({ files }: Bench, listener: ListenerConfiguration): string =>
    files.materialOf(listener)?.ticketKeys ?? '';

  test('are equal for all workers, and new after twelve hours', async () => {
    const it = bench();
    const first = keys(it, it.listener);
    expect(Buffer.from(first, 'base64')).toHaveLength(48);
    expect(keys(it, it.listener)).toBe(first);
    it.state.now = TWELVE_HOURS - 1;
    await it.files.look();
    expect([keys(it, it.listener), it.state.changes]).toEqual([first, 0]);
    it.state.now = TWELVE_HOURS;
    await it.files.look();
    expect(keys(it, it.listener)).not.toBe(first);
    expect(it.state.changes).toBe(1);
  });

  test('differ between listeners, and with the authority: a session without a certificate opens nothing that asks for one', () => {
    const it = bench();
    const asking = bench({ clientCa: authority.cert }).listener;
    const elsewhere = { ...it.listener, port: 8443 };
    expect(new Set([it.listener, asking, elsewhere].map((listener) => keys(it, listener))).size).toBe(3);
  });
});
