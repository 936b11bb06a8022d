/** What `check` says of the host names in a configuration, and what it never asks about. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { check } from '../../../src/cli/check.ts';
import { openOutput } from '../../../src/cli/output.ts';
import { lookUpNames, readAnswers, type LookUp } from '../../../src/cli/resolve-names.ts';

const folder = mkdtempSync(join(tmpdir(), 'spillway-names-'));
const file = join(folder, 'spillway.yaml');
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const HEAD = 'listeners: [{ port: 8080 }]\nroutes: [{ path: /, service: shop }]\n';

async function checked(text: string, lookUp: LookUp, strict = false, resolve = true) {
  writeFileSync(file, HEAD + text);
  const lines: string[] = [];
  const stderr = { write: (line: string) => lines.push(line.replace(`${folder}/`, '').trimEnd()) };
  const asked: string[] = [];
  const asking: LookUp = async (names, limitMs) => {
    asked.push(...names);
    return await lookUp(names, limitMs);
  };
  const output = openOutput({ write: () => undefined }, stderr, {});
  const code = await check({ config: file, strict, resolve }, output, {}, asking);
  return { code, lines, asked };
}

const knows =
  (codes: Record<string, string>): LookUp =>
  async () =>
    new Map(Object.entries(codes));

describe('a host name', () => {
  test('that does not resolve is a warning at each of its places, and fails a strict check', async () => {
    const text = `services:
  shop:
    instances: [http://Gone.example.:1, { url: http://gone.example:2 }, http://there.example:3]
  stock: { instances: ['https://slow.example', 'https://dark.example'] }
`;
    const lookUp = knows({ 'gone.example': 'ENOTFOUND', 'there.example': '', 'dark.example': 'EAI_AGAIN' });
    const { code, lines, asked } = await checked(text, lookUp);
    expect(code).toBe(0);
    expect(asked).toEqual(['gone.example', 'there.example', 'slow.example', 'dark.example']);
    expect(lines.filter((line) => line.includes('resolve'))).toEqual([
      'spillway.yaml:5:17: warning: `gone.example` does not resolve here: there is no such name, at services.shop.instances[0]',
      'spillway.yaml:5:48: warning: `gone.example` does not resolve here: there is no such name, at services.shop.instances[1].url',
      'spillway.yaml:6:24: warning: `slow.example` does not resolve here: no answer within 3 s, at services.stock.instances[0]',
      'spillway.yaml:6:48: warning: `dark.example` does not resolve here: no name server answers, at services.stock.instances[1]',
    ]);
    expect((await checked(text, lookUp, true)).code).toBe(4);
  });

  test('is looked up beside faults, so that one run tells all', async () => {
    const { code, lines } = await checked(
      'services: { shop: { instances: [http://gone.example], sla: 5 } }\n',
      knows({ 'gone.example': 'ENOTFOUND' }),
    );
    expect(code).toBe(3);
    expect(lines).toHaveLength(2);
    expect(lines[1]).toContain('`gone.example` does not resolve here');
  });

  test('is not looked up where that is not wanted', async () => {
    const text = 'services: { shop: { instances: [http://gone.example] } }\n';
    expect(await checked(text, knows({}), true, false)).toEqual({ code: 0, lines: [], asked: [] });
  });

  test('of the store is looked up, and never shown, since its address is a secret', async () => {
    const { lines, asked } = await checked(
      'services: { shop: { instances: [http://127.0.0.1:1] } }\nredis: { url: redis://:pw@store.example:6379, keySecret: a-secret-of-many-characters, gateways: 2 }\n',
      knows({ 'store.example': 'ENOTFOUND' }),
    );
    expect(asked).toEqual(['store.example']);
    expect(lines).toEqual([
      'spillway.yaml:4:15: warning: the host of this address does not resolve here: there is no such name, at redis.url',
    ]);
  });

  test('is what no address and no name of this machine is: those ask nobody', async () => {
    const text = `services:
  shop: { instances: [http://127.0.0.1:1, 'http://[::1]:2', http://localhost:3, http://a.localhost:4, http://10.1:5] }
redis: { url: redis://10.0.0.1:6379, keySecret: a-secret-of-many-characters, gateways: 2 }
`;
    const lookUp: LookUp = async () => {
      throw new Error('nobody may be asked');
    };
    expect(await checked(text, lookUp, true)).toEqual({ code: 0, lines: [], asked: [] });
  });
});

describe('the system', () => {
  test('knows some names and others not', async () => {
    const codes = await lookUpNames(['localhost', '-no.such.name.invalid'], 10_000);
    expect(codes.get('localhost')).toBe('');
    expect(codes.get('-no.such.name.invalid')).toMatch(/^E[A-Z_]+$/);
  });

  test('is not waited for longer than the limit', async () => {
    expect(await lookUpNames(['localhost'], 1)).toEqual(new Map());
  });

  test('may be asked for more names than a command line can hold', async () => {
    const label = 'n'.repeat(60);
    const names = Array.from({ length: 20_000 }, (_, index) => `${index}.${label}.${label}.invalid`);
    expect(names.join(' ').length).toBeGreaterThan(2 * 1024 * 1024);
    expect(await lookUpNames(names, 300)).toBeInstanceOf(Map);
  });

  test('is believed line by line, so that a broken one takes no other with it', () => {
    const text = '["a",""]\nnoise\n\n{"b":1}\n["c"]\n["d","ENOTFOUND"]\n["e","EAI_';
    expect([...readAnswers(text)]).toEqual([
      ['a', ''],
      ['d', 'ENOTFOUND'],
    ]);
  });
});
