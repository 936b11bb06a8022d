/** When the keys file is read: after it changed and stood still, once, and never while a configuration is on trial. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, expect, test } from 'vitest';
import type { Configuration } from '../../../config/schema.ts';
import { publicKeys } from '../../../src/io/jwks.ts';
import { KeysFile, type ClientKeys, type RenewedKeys } from '../../../src/io/keys-file.ts';

const FOLDER = mkdtempSync(join(tmpdir(), 'spillway-keys-file-'));
const FILE = join(FOLDER, 'keys.yaml');
const OLD: ClientKeys = [{ key: 'sha256:a', client: 'a', tier: 'default' }];
const NEW: ClientKeys = [{ key: 'sha256:b', client: 'b', tier: 'default' }];

let told: string[] = [];
let reads = 0;
let answer: RenewedKeys;
let current: Configuration | undefined;

beforeEach(() => {
  told = [];
  reads = 0;
  answer = { ok: true, keys: NEW, hash: 'h' };
  current = { clients: { keysFile: FILE, keys: OLD } } as unknown as Configuration;
  writeFileSync(FILE, '1');
});

afterAll(() => {
  rmSync(FOLDER, { recursive: true });
});

function watched(): KeysFile {
  const say = (_fields: object, message: string): void => {
    told.push(message);
  };
  return new KeysFile({
    log: { info: say, warn: say },
    current: () => current,
    read: () => {
      reads++;
      return answer;
    },
    onKeys: (keys, hash) => {
      told.push(`keys of ${keys.map(({ client }) => client).join()} ${hash}`);
      current = { clients: { keysFile: FILE, keys } } as unknown as Configuration;
    },
    onResult: (result) => {
      told.push(result);
    },
  });
}

test('it is read once it stood still for a look, and not again while it stays as it is', async () => {
  const file = watched();
  await file.look();
  expect(reads).toBe(0);
  writeFileSync(FILE, 'still being written');
  await file.look();
  expect(reads).toBe(0);
  await file.look();
  expect([reads, told]).toEqual([1, ['keys of b h', 'ok', 'keys reloaded']]);
  for (let turn = 0; turn < 5; turn++) await file.look();
  expect(reads).toBe(1);
});

test('what says the same as the keys in use is no news', async () => {
  answer = { ok: true, keys: OLD, hash: 'h' };
  const file = watched();
  for (let turn = 0; turn < 3; turn++) await file.look();
  expect([reads, told]).toEqual([1, []]);
});

test('a broken file is told once, and again only when it changed', async () => {
  answer = { ok: false, faults: ['x'] };
  const file = watched();
  for (let turn = 0; turn < 5; turn++) await file.look();
  expect(told).toEqual(['refused', 'keys not reloaded: those in use stay']);
  rmSync(FILE);
  for (let turn = 0; turn < 5; turn++) await file.look();
  expect(reads).toBe(2);
});

test('while a configuration is on trial nothing is read; it is made up for after', async () => {
  const file = watched();
  await file.look();
  const before = current;
  current = undefined;
  for (let turn = 0; turn < 3; turn++) await file.look();
  expect(reads).toBe(0);
  current = before;
  for (let turn = 0; turn < 2; turn++) await file.look();
  expect(reads).toBe(1);
});

test('of a published set only public members of keys that verify are taken', () => {
  const ec = { kty: 'EC', crv: 'P-256', x: 'x', y: 'y', kid: 'k', use: 'sig', key_ops: ['verify'] };
  const set = {
    keys: [
      { ...ec, d: 'secret', x5c: ['long'], jku: 'https://evil.test' },
      { kty: 'oct', k: 's' },
      null,
      7,
      { kid: 'x' },
    ],
  };
  expect(publicKeys(set)).toEqual([ec]);
  // For encryption, for signing, for another algorithm, on a curve that signs nothing: of no use, wherever they stand.
  const idle = [
    { use: 'enc' },
    { key_ops: ['sign'] },
    { key_ops: 5 },
    { alg: 'ECDH-ES' },
    { crv: 'secp256k1' },
  ];
  const others = idle.map((change) => Object.assign({}, ec, change));
  expect(publicKeys({ keys: [...others, { kty: 'OKP', crv: 'X25519', x: 'x' }] })).toEqual([]);
  expect(publicKeys({ keys: [...Array.from({ length: 100 }, () => others[0]), ec] })).toEqual([ec]);
  expect(publicKeys({ keys: Array.from({ length: 1000 }, () => ec) })).toHaveLength(64);
  for (const none of [null, [], {}, 'keys', { keys: {} }])
    expect(() => publicKeys(none)).toThrow('no JWK set');
});
