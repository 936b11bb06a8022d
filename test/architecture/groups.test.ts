/** Which system files have the machine to themselves: `ALONE` of `vitest.system.config.ts` says all that must, and nothing else. */
import { readFileSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { expect, test } from 'vitest';

import { ALONE } from '../vitest.system.config.ts';
import { scanSource } from './source-scan.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** What sends a load at a rate, or stops a process for a given while: its figures are the machine's too. */
const LOADS = new Set(['open-loop.ts', 'callers.ts', 'disturbance.ts', 'load-sender.ts', 'limits-fleet.ts']);

/** Below this a neighbour that holds both cores for a moment may decide. */
const TIGHT_MS = 1000;

function read(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8');
}

const SYSTEM = ['integration', 'faults', 'security', 'e2e'].flatMap((folder) =>
  readdirSync(join(ROOT, 'test', folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => `test/${folder}/${name}`),
);

/** Whether the test judges a load of its own. */
function sendsLoad(text: string): boolean {
  return scanSource(text).imports.some(
    ({ specifier, typeOnly }) => !typeOnly && LOADS.has(basename(specifier)),
  );
}

/** The least span within which it wants something, in ms; a constant is looked up in the same file. */
function tightest(text: string): number {
  const bounds = text.matchAll(/performance\.now\(\)[^;]*?\.toBeLessThan(?:OrEqual)?\(([\w.]+)\)/g);
  return Math.min(
    Infinity,
    ...[...bounds].map(([, bound = '']) => {
      const digits = /^\d/.test(bound) ? bound : new RegExp(`const ${bound} = ([\\d_]+)`).exec(text)?.[1];
      return Number(digits?.replaceAll('_', '') ?? Infinity);
    }),
  );
}

test('every file that a busy neighbour could fail runs alone', () => {
  const missing = SYSTEM.filter((file) => {
    const text = read(file);
    const wantsAll = file.includes('/shedding-') || sendsLoad(text) || tightest(text) < TIGHT_MS;
    return wantsAll && !ALONE.includes(file);
  });
  expect(missing).toEqual([]);
});

test('every file that runs alone exists, and is named once', () => {
  expect([...new Set(ALONE)].filter((file) => SYSTEM.includes(file))).toEqual(ALONE);
});

test('a load and a tight bound are seen', () => {
  const load = "import { runOpenLoop } from '../harness/open-loop.ts';";
  expect([sendsLoad(load), sendsLoad(load.replace('import', 'import type'))]).toEqual([true, false]);
  const bound = 'expect(performance.now() - from).toBeLessThan';
  expect(tightest(`${bound}(50);`)).toBe(50);
  expect(tightest(`const SOON_MS = 2_000;\n${bound}OrEqual(SOON_MS);`)).toBe(2000);
  expect(tightest('expect(count).toBeLessThan(5);')).toBe(Infinity);
});
