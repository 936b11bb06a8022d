import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { describe, expect, test } from 'vitest';

import { violations } from './rules.ts';
import type { Violation } from './rules.ts';
import { scanSource } from './source-scan.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const ROOMS = ['src', 'plugins', 'config', 'test', 'loadtest'];

/** Every TypeScript file of the project, by its path from the root. */
function projectFiles(): ReadonlyMap<string, string> {
  const files = new Map<string, string>();
  for (const room of ROOMS) {
    for (const entry of readdirSync(join(ROOT, room), { recursive: true, encoding: 'utf8' })) {
      if (!entry.endsWith('.ts')) continue;
      files.set(`${room}/${entry.replaceAll('\\', '/')}`, readFileSync(join(ROOT, room, entry), 'utf8'));
    }
  }
  return files;
}

function rulesBroken(files: Readonly<Record<string, string>>): readonly Violation['rule'][] {
  return [...new Set(violations(new Map(Object.entries(files))).map((each) => each.rule))];
}

const many = 'const a = 1;\n'.repeat(401);

/** [what is planted, its files, the one rule it breaks] */
const PLANTED: readonly (readonly [string, Readonly<Record<string, string>>, Violation['rule']])[] = [
  ['a kernel that imports a feature', { 'src/kernel/a.ts': "import { b } from '../limits/b.ts';" }, 'import'],
  [
    'a kernel that imports a package',
    { 'src/kernel/a.ts': "import { createHash } from 'node:crypto';" },
    'package',
  ],
  [
    'a feature that imports another',
    { 'src/limits/a.ts': "import { b } from '../shedding/b.ts';" },
    'import',
  ],
  [
    'a type of another feature',
    { 'src/limits/a.ts': "import type { B } from '../shedding/b.ts';" },
    'import',
  ],
  ['a feature that imports io', { 'src/limits/a.ts': "import { b } from '../io/b.ts';" }, 'import'],
  ['a feature that imports fastify', { 'src/limits/a.ts': "import fastify from 'fastify';" }, 'package'],
  [
    'a feature that imports http types',
    { 'src/limits/a.ts': "import type { A } from 'node:http';" },
    'package',
  ],
  [
    'an import over several lines',
    { 'src/limits/a.ts': "import {\n  a,\n  b,\n} from 'undici';" },
    'package',
  ],
  ['an import for its effect', { 'src/limits/a.ts': "import 'ioredis';" }, 'package'],
  ['a dynamic import', { 'src/limits/a.ts': "export const a = () => import('ioredis');" }, 'package'],
  [
    'a dynamic import of anything',
    { 'src/limits/a.ts': 'export const a = (x: string) => import(x);' },
    'import',
  ],
  ['a require', { 'src/limits/a.ts': "export const a = () => require('undici');" }, 'package'],
  ['an io that imports a plugin', { 'src/io/a.ts': "import { b } from '../../plugins/b.ts';" }, 'import'],
  ['an io that imports config', { 'src/io/a.ts': "import { b } from '../../config/b.ts';" }, 'import'],
  ['an io that parses YAML', { 'src/io/a.ts': "import { parse } from 'yaml';" }, 'package'],
  [
    'a plugin with a foreign feature',
    { 'plugins/rate-limit.ts': "import { b } from '../src/shedding/b.ts';" },
    'import',
  ],
  ['a plugin that opens pools', { 'plugins/proxy.ts': "import { b } from '../src/io/pools.ts';" }, 'import'],
  ['a plugin that speaks Redis', { 'plugins/rate-limit.ts': "import { Redis } from 'ioredis';" }, 'package'],
  ['a config that imports a feature', { 'config/a.ts': "import { b } from '../src/limits/b.ts';" }, 'import'],
  ['a product that imports tests', { 'src/main.ts': "import { b } from '../test/harness/b.ts';" }, 'import'],
  [
    'a command that imports the load test',
    { 'src/cli/a.ts': "import { b } from '../../loadtest/main.ts';" },
    'import',
  ],
  ['a file outside every room', { 'src/misc/a.ts': 'export const a = 1;' }, 'room'],
  ['a wall clock', { 'src/shedding/a.ts': 'export const a = () => Date.now();' }, 'global'],
  ['a new Date', { 'src/shedding/a.ts': 'export const a = () => new Date();' }, 'global'],
  ['a monotonic clock', { 'src/kernel/a.ts': 'export const a = () => performance.now();' }, 'global'],
  ['a timer', { 'src/limits/a.ts': 'export const a = (b: () => void) => setTimeout(b, 5);' }, 'global'],
  ['chance', { 'src/upstreams/a.ts': 'export const a = () => Math.random();' }, 'global'],
  ['the environment', { 'src/clients/a.ts': 'export const a = () => process.env.HOME;' }, 'global'],
  ['a log line', { 'src/clients/a.ts': "export const a = () => console.log('x');" }, 'global'],
  [
    'a global inside a template',
    { 'src/clients/a.ts': 'export const a = () => `${process.pid}`;' },
    'global',
  ],
  ['an exit outside main', { 'src/io/a.ts': 'export const a = () => process.exit(1);' }, 'exit'],
  [
    'a cycle of two',
    { 'src/io/a.ts': "import { b } from './b.ts';", 'src/io/b.ts': "import { a } from './a.ts';" },
    'cycle',
  ],
  [
    'a cycle of three',
    {
      'src/io/a.ts': "import { b } from './b.ts';",
      'src/io/b.ts': "import { c } from './c.ts';",
      'src/io/c.ts': "import { a } from './a.ts';",
    },
    'cycle',
  ],
  ['a re-export', { 'src/io/a.ts': "export { b } from './b.ts';" }, 'barrel'],
  ['a re-export of all', { 'src/io/a.ts': "export * from './b.ts';" }, 'barrel'],
  ['an index', { 'src/io/index.ts': 'export const a = 1;' }, 'barrel'],
  ['a default export', { 'src/io/a.ts': 'export default function a() {}' }, 'default-export'],
  ['a default export by name', { 'src/io/a.ts': 'const a = 1;\nexport { a as default };' }, 'default-export'],
  [
    'a variable of a module',
    { 'src/io/a.ts': 'let count = 0;\nexport const next = () => (count += 1);' },
    'module-state',
  ],
  ['a cache of a module', { 'src/io/a.ts': 'const seen = new Map<string, number>();' }, 'module-state'],
  ['a list of a module', { 'src/io/a.ts': 'export const all: string[] = [];' }, 'module-state'],
  [
    'a function assigned to a field',
    { 'src/io/a.ts': 'export class A { #end; constructor() { this.#end = (): void => { this.b(); }; } }' },
    'closure-field',
  ],
  [
    'a function for a field of something else',
    { 'src/io/a.ts': 'export const a = (b: { c?: unknown }) => { b.c ??= async (d: string) => d; };' },
    'closure-field',
  ],
  ['a file of 401 lines', { 'src/io/a.ts': many }, 'length'],
  ['an import without its ending', { 'src/io/a.ts': "import { b } from './b';" }, 'extension'],
  ['a name that says nothing', { 'src/io/string-utils.ts': 'export const a = 1;' }, 'name'],
  [
    'a worker that loads the schema',
    {
      'src/gateway.ts': "import { b } from '../config/b.ts';",
      'config/b.ts': "import { c } from './c.ts';",
      'config/c.ts': "import { z } from 'zod';",
    },
    'heavy-worker',
  ],
];

/** What looks like a violation and is none. */
const INNOCENT: Readonly<Record<string, string>> = {
  'src/kernel/a.ts':
    "/** Date and process in a comment. */\nexport const a = 'Date.now() process.env'; // Math.random()",
  'src/limits/a.ts': [
    "import { createHash } from 'node:crypto';",
    "import { between } from '../kernel/random.ts';",
    "import type { Store } from './store.ts';",
    'export interface Clock { readonly Date: number; process?: string }',
    'const RANKS: ReadonlyMap<string, number> = new Map([["a", 1]]);',
    'export const b = (clock: Clock): string => `${clock.process} import x from "fastify" ${/process|`/.test("")}`;',
    'export function c(): number { let inner = 0; const all = []; const seen = new Map(); return inner; }',
    'export class D { readonly #seen = new Map<string, number>(); readonly #end = (): void => {}; }',
    'export const e = (f: { g: unknown }, h: () => void): void => { f.g = h; f.g = [1].map((i) => i); };',
    'export const ratio = (x: number, y: number): number => x / y / 2;',
  ].join('\n'),
  'plugins/rate-limit.ts':
    "import { a } from '../src/limits/a.ts';\nimport type { E } from '../src/io/exchange.ts';",
  'src/io/b.ts': "import { c } from './c.ts';",
  'src/io/c.ts': "import type { B } from './b.ts';\nimport type { Config } from '../../config/schema.ts';",
  'src/gateway.ts': "import type { Config } from '../config/schema.ts';",
  'config/schema.ts': "import { z } from 'zod';",
  'src/main.ts':
    "export const end = () => process.exit(0);\nexport const a = async () => import('./gateway.ts');",
};

describe('the rules of the house', () => {
  test.each(PLANTED)('%s is reported', (_, files, rule) => {
    expect(rulesBroken(files)).toEqual([rule]);
  });

  test('words in comments, strings, keys and inner scopes are no violation', () => {
    expect(violations(new Map(Object.entries(INNOCENT)))).toEqual([]);
  });

  test('a violation names its file and line', () => {
    const [found] = violations(
      new Map([['src/kernel/a.ts', '// one\n\nexport const a = () => Date.now();\n']]),
    );
    expect(found).toMatchObject({ file: 'src/kernel/a.ts', line: 3 });
  });

  test('the scanner keeps the length and the lines of what it reads', () => {
    for (const [file, text] of projectFiles()) {
      const { code } = scanSource(text);
      expect(code.length, file).toBe(text.length);
      expect(code.split('\n').length, file).toBe(text.split('\n').length);
    }
  });

  test('the scanner finds every import that the runtime would', () => {
    // Differential: a plain look at lines that begin with `import` and end a statement with a quoted module.
    for (const [file, text] of projectFiles()) {
      if (file.startsWith('test/architecture/')) continue;
      const plain = [...text.matchAll(/^(?:import|\} from) ?[^'\n]*'([^']+)';$/gm)].map((match) => match[1]);
      const scanned = scanSource(text).imports.map((each) => each.specifier);
      expect(scanned, file).toEqual(expect.arrayContaining(plain));
    }
  });

  test('the project keeps them', () => {
    const files = projectFiles();
    expect(files.size).toBeGreaterThan(20);
    const lines = violations(files).map((each) => `${each.file}:${each.line} ${each.rule}: ${each.what}`);
    expect(lines).toEqual([]);
  });
});
