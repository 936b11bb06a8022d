import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Command } from 'commander';
import type { CliContext } from '../../../src/cli/context.ts';
import { openOutput } from '../../../src/cli/output.ts';
import { packageRoot } from '../../../src/cli/package-root.ts';
import { addSuiteCommand } from '../../../src/cli/suite.ts';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'spillway-suite-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

/** Runs `spillway suite …` with a suite of the given text; `undefined` plants none. */
async function suite(source: string | undefined, ...argv: string[]): Promise<{ code: number; err: string }> {
  const main = path.join(folder, 'main.ts');
  if (source !== undefined) await writeFile(main, source);
  let err = '';
  const stdout = { write: () => true };
  const output = openOutput(stdout, { write: (text) => (err += text) }, {});
  const context: CliContext = { deps: { run: async () => 0 }, stdout, output, environment: {}, exitCode: 0 };
  const program = new Command('spillway').enablePositionalOptions().exitOverride();
  addSuiteCommand(program, context, {
    name: 'suite',
    about: 'run',
    main: path.relative(packageRoot(), main),
  });
  await program.parseAsync(['suite', ...argv], { from: 'user' });
  return { code: context.exitCode, err };
}

test('a suite gets every argument as it was given, --help too', async () => {
  const seen = path.join(folder, 'seen.json');
  const source = `import { writeFileSync } from 'node:fs';
const given: string[] = process.argv.slice(2);
writeFileSync(${JSON.stringify(seen)}, JSON.stringify(given));`;
  expect((await suite(source, 'overload', '--help', '--seed=7', '-x', '--', 'y')).code).toBe(0);
  expect(JSON.parse(await readFile(seen, 'utf8'))).toStrictEqual([
    'overload',
    '--help',
    '--seed=7',
    '-x',
    '--',
    'y',
  ]);
});

test('its exit code is the verdict: 6 for a missed threshold', async () => {
  expect((await suite('process.exitCode = 6;')).code).toBe(6);
});

test('a suite that a signal ends has failed', async () => {
  expect((await suite("process.kill(process.pid, 'SIGKILL');")).code).toBe(1);
});

test('without a checkout the message says so', async () => {
  const { code, err } = await suite(undefined);
  expect(code).toBe(1);
  expect(err).toContain('runs from a checkout of Spillway only');
});
