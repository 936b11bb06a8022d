import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { check } from '../../../src/cli/check.ts';
import { openOutput } from '../../../src/cli/output.ts';
import { schema } from '../../../src/cli/schema.ts';

const CONFIG = fileURLToPath(new URL('../../../config/', import.meta.url));
const MINIMAL = `${CONFIG}examples/minimal.yaml`;
const WARNED = `${CONFIG}examples/kubernetes-like.yaml`;

class Collected {
  text = '';
  readonly isTTY: boolean;
  constructor(isTTY = false) {
    this.isTTY = isTTY;
  }
  write(text: string): void {
    this.text += text;
  }
}

function streams(environment: Record<string, string> = {}, isTTY = false) {
  const stdout = new Collected(isTTY);
  const stderr = new Collected(isTTY);
  return { stdout, stderr, output: openOutput(stdout, stderr, environment) };
}

const coloured = async (environment: Record<string, string>, isTTY: boolean): Promise<boolean> => {
  const { stdout, stderr, output } = streams(environment, isTTY);
  await check({ config: WARNED }, output, {});
  return stdout.text.includes('\u001b') && stderr.text.includes('\u001b');
};

describe('check', () => {
  test('says valid and answers 0', async () => {
    const { stdout, stderr, output } = streams();
    expect(await check({ config: MINIMAL }, output, {})).toBe(0);
    expect(stdout.text).toBe(`${MINIMAL}: valid\n`);
    expect(stderr.text).toBe('');
  });

  test('answers 3 and prints each fault on stderr', async () => {
    const { stdout, stderr, output } = streams();
    expect(await check({ config: '/nonexistent.yaml' }, output, {})).toBe(3);
    expect(stderr.text).toBe(
      '/nonexistent.yaml:1:1: error: the configuration cannot be read: there is no such file\n',
    );
    expect(stdout.text).toBe('/nonexistent.yaml: 1 error\n');
  });

  test('warnings answer 0, and 4 under --strict', async () => {
    const { stdout, stderr, output } = streams();
    expect(await check({ config: WARNED }, output, {})).toBe(0);
    expect(stdout.text).toBe(`${WARNED}: valid, 3 warnings\n`);
    expect(stderr.text.match(/: warning: /g)).toHaveLength(3);
    expect(await check({ config: WARNED, strict: true }, output, {})).toBe(4);
    expect(await check({ config: MINIMAL, strict: true }, output, {})).toBe(0);
  });

  test('without a file it looks at spillway.yaml here', async () => {
    const { stderr, output } = streams();
    expect(await check({}, output, {})).toBe(3);
    expect(stderr.text).toMatch(/^spillway\.yaml:1:1: error: /);
  });

  test('--json is one object on stdout and nothing else', async () => {
    const { stdout, stderr, output } = streams();
    expect(await check({ config: WARNED, json: true }, output, {})).toBe(0);
    expect(stderr.text).toBe('');
    const answer: unknown = JSON.parse(stdout.text);
    expect(answer).toMatchObject({
      ok: true,
      file: WARNED,
      faults: [],
      hash: expect.stringMatching(/^[0-9a-f]{12}$/),
    });
    expect(answer).toHaveProperty('warnings.0.line', 17);
  });
});

describe('schema', () => {
  test('prints the text of config/schema.json', () => {
    const { stdout, output } = streams();
    expect(schema(output)).toBe(0);
    expect(stdout.text).toBe(readFileSync(`${CONFIG}schema.json`, 'utf8'));
  });
});

describe('colour', () => {
  test('is for terminals, unless NO_COLOR or a dumb terminal forbids it', async () => {
    expect(await coloured({}, true)).toBe(true);
    expect(await coloured({ NO_COLOR: '' }, true)).toBe(true);
    expect(await coloured({ NO_COLOR: '1' }, true)).toBe(false);
    expect(await coloured({ TERM: 'dumb' }, true)).toBe(false);
    expect(await coloured({}, false)).toBe(false);
  });
});
