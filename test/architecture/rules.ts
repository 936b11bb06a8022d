/**
 * The rules of the house as a function from source texts to violations: who may import whom, what pure rooms may not
 * touch, and what no file may do. Pure, so that planted violations prove each rule (imports.test.ts).
 */
import { dirname, join } from 'node:path/posix';

import { lineOf, scanSource } from './source-scan.ts';
import type { ImportedModule, ScannedSource } from './source-scan.ts';

export interface Violation {
  readonly rule:
    | 'room'
    | 'import'
    | 'package'
    | 'global'
    | 'exit'
    | 'cycle'
    | 'barrel'
    | 'default-export'
    | 'module-state'
    | 'closure-field'
    | 'length'
    | 'extension'
    | 'name'
    | 'heavy-worker';
  readonly file: string;
  readonly line: number;
  readonly what: string;
}

const FEATURES = [
  'clients',
  'limits',
  'shedding',
  'upstreams',
  'readiness',
  'affinity',
  'forwarding',
  'lifecycle',
  'discovery',
] as const;

type Feature = (typeof FEATURES)[number];

type Room =
  | { readonly kind: 'kernel' | 'io' | 'cli' | 'entry' | 'config' | 'test' | 'loadtest' }
  | { readonly kind: 'feature'; readonly feature: Feature }
  | { readonly kind: 'plugin'; readonly plugin: string };

/** The process entry and the two composition roots. */
const ENTRIES: ReadonlySet<string> = new Set(['src/main.ts', 'src/gateway.ts', 'src/supervisor.ts']);

/** What a plugin may call of io: the exchange, and the steps that need sockets. */
const STEPS: ReadonlySet<string> = new Set([
  'src/io/exchange.ts',
  'src/io/caller.ts',
  'src/io/choose-instance.ts',
  'src/io/forward.ts',
  'src/io/steps.ts',
]);

/** A plugin adapts its own feature; most have one. */
const PLUGIN_FEATURES: Readonly<Record<string, readonly Feature[]>> = {
  'request-context': ['forwarding'],
  'client-identity': ['clients'],
  guard: ['limits'],
  'rate-limit': ['limits'],
  'load-shed': ['shedding'],
  upstream: ['upstreams', 'affinity'],
  affinity: ['affinity'],
  proxy: ['forwarding'],
  outcome: [],
};

const FEATURE_PACKAGES: ReadonlySet<string> = new Set([
  'node:crypto',
  'node:buffer',
  'lru-cache',
  'ipaddr.js',
  'structured-headers',
]);
const CONFIG_PACKAGES: ReadonlySet<string> = new Set(['zod', 'yaml']);
const PLUGIN_PACKAGES: ReadonlySet<string> = new Set(['fastify', 'fastify-plugin', '@fastify/http-proxy']);
/** What no worker loads: it would make its start slow and its memory large. */
const HEAVY_PACKAGES: ReadonlySet<string> = new Set(['zod', 'yaml', 'commander']);

/** Time, chance and the process reach pure rooms as arguments. */
const FORBIDDEN_GLOBALS = [
  'Date',
  'performance',
  'setTimeout',
  'setInterval',
  'setImmediate',
  'clearTimeout',
  'clearInterval',
  'clearImmediate',
  'queueMicrotask',
  'process',
  'console',
  'fetch',
  'globalThis',
];

const LINES_MAX = 400;
const BAD_NAMES = /(^|[-.])(managers?|helpers?|utils?|handlers?|data)(?=[-.])/;

function roomOf(file: string): Room | undefined {
  const [top = '', second = '', third] = file.split('/');
  if (top === 'plugins') return { kind: 'plugin', plugin: second.replace(/\.ts$/, '') };
  if (top === 'config' || top === 'test' || top === 'loadtest') return { kind: top };
  if (top !== 'src') return undefined;
  if (ENTRIES.has(file)) return { kind: 'entry' };
  if (third === undefined) return undefined;
  if (second === 'kernel' || second === 'io' || second === 'cli') return { kind: second };
  const feature = FEATURES.find((each) => each === second);
  return feature === undefined ? undefined : { kind: 'feature', feature };
}

function isPure(room: Room): boolean {
  return room.kind === 'kernel' || room.kind === 'feature';
}

/** Whether a file of `from` may name a file of `to`. */
function mayImport(from: Room, to: Room, toFile: string): boolean {
  switch (from.kind) {
    case 'test':
    case 'loadtest':
      return true;
    case 'kernel':
      return to.kind === 'kernel';
    case 'feature':
      return to.kind === 'kernel' || (to.kind === 'feature' && to.feature === from.feature);
    case 'io':
      return to.kind === 'kernel' || to.kind === 'feature' || to.kind === 'io';
    case 'plugin':
      if (to.kind === 'kernel' || to.kind === 'plugin' || STEPS.has(toFile)) return true;
      return to.kind === 'feature' && (PLUGIN_FEATURES[from.plugin] ?? [to.feature]).includes(to.feature);
    case 'config':
      return to.kind === 'kernel' || to.kind === 'config';
    case 'cli':
      return !['plugin', 'test', 'loadtest'].includes(to.kind);
    case 'entry':
      break;
  }
  return to.kind !== 'test' && to.kind !== 'loadtest';
}

function mayUsePackage(room: Room, name: string): boolean {
  switch (room.kind) {
    case 'kernel':
      return false;
    case 'feature':
      return FEATURE_PACKAGES.has(name);
    case 'config':
      return CONFIG_PACKAGES.has(name) || name.startsWith('node:');
    case 'plugin':
      return PLUGIN_PACKAGES.has(name) || name.startsWith('node:');
    case 'io':
      return !HEAVY_PACKAGES.has(name);
    case 'cli':
    case 'entry':
    case 'test':
    case 'loadtest':
      break;
  }
  return true;
}

/** `@scope/name/deep` → `@scope/name`. */
function packageOf(specifier: string): string {
  if (specifier.startsWith('node:')) return specifier.split('/').slice(0, 1).join('/');
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}

function targetOf(file: string, specifier: string): string {
  return join(dirname(file), specifier);
}

function checkImport(file: string, room: Room, each: ImportedModule): Violation[] {
  const at = (rule: Violation['rule'], what: string): Violation[] => [{ rule, file, line: each.line, what }];
  if (each.specifier === '') {
    return isPure(room) ? at('import', `a ${each.kind} whose target is not a plain string`) : [];
  }
  if (!each.specifier.startsWith('.')) {
    const name = packageOf(each.specifier);
    return mayUsePackage(room, name) ? [] : at('package', `${room.kind} may not use ${name}`);
  }
  const target = targetOf(file, each.specifier);
  if (!/\.(ts|json)$/.test(target)) return at('extension', `${each.specifier} does not end in .ts`);
  if (target.endsWith('.json'))
    return isPure(room) ? at('import', `${room.kind} may not read ${target}`) : [];
  const to = roomOf(target);
  // The configuration's types are erased: whoever lives on it may name them without loading it.
  if (each.typeOnly && to?.kind === 'config' && (room.kind === 'io' || room.kind === 'plugin')) return [];
  if (to === undefined || !mayImport(room, to, target))
    return at('import', `${file} may not import ${target}`);
  return [];
}

/** Matches of a word that is neither a property nor a key. */
function* uses(source: ScannedSource, word: string): Generator<number> {
  const pattern = new RegExp(`(?<![\\w$#]|(?<!\\.\\.)\\.\\s*)${word}(?![\\w$]|\\s*\\??:(?!:))`, 'g');
  for (const match of source.code.matchAll(pattern)) yield match.index;
}

function checkGlobals(file: string, source: ScannedSource): Violation[] {
  const found: Violation[] = [];
  const note = (at: number, what: string): void => {
    found.push({ rule: 'global', file, line: lineOf(source, at), what: `${what} in a pure room` });
  };
  for (const name of FORBIDDEN_GLOBALS) for (const at of uses(source, name)) note(at, name);
  for (const match of source.code.matchAll(/(?<![\w$])Math\s*\.\s*random(?![\w$])/g))
    note(match.index, 'Math.random');
  return found;
}

const MODULE_STATE = [
  { pattern: /(?<![\w$.])(let|var)\s+[\w$]+/g, what: 'a variable' },
  {
    pattern:
      /(?<![\w$.])const\s+[\w$]+\s*(?::(?!\s*Readonly)[^=;\n]*)?=\s*new\s+(Map|Set|WeakMap|WeakSet|LRUCache|Array)(?![\w$])/g,
    what: 'a mutable collection',
  },
] as const;
/** Up to the bracket; whether it is empty is looked up in the code, since the top level shows no insides. */
const LITERAL = /(?<![\w$.])const\s+[\w$]+\s*(?::[^=;\n]*)?=\s*(?=[[{])/g;

/**
 * A function assigned to a field. V8 allocates it in old space, so that all that it closes over outlives every scavenge
 * (src/README.md). An initialiser in a class, a method or a function that has a name first does not.
 */
const CLOSURE_FIELD =
  /[\w$\])]\.#?[\w$]+\s*(?:\?\?|\|\|)?=\s*(?:async\s*)?(?:function\b|[\w$]+\s*=>|\([^()]*\)\s*(?::[^=;{}]*)?=>)/g;

type Note = (rule: Violation['rule'], at: number, what: string) => void;

function checkState(source: ScannedSource, note: Note): void {
  for (const { pattern, what } of MODULE_STATE) {
    for (const match of source.topLevel.matchAll(pattern)) {
      note('module-state', match.index, `${what} at module level`);
    }
  }
  for (const match of source.topLevel.matchAll(LITERAL)) {
    const literal = source.code.slice(match.index + match[0].length);
    if (/^(\[\s*\]|\{\s*\})/.test(literal)) {
      note('module-state', match.index, 'an empty collection at module level');
    }
  }
}

function checkShape(file: string, room: Room, source: ScannedSource): Violation[] {
  const found: Violation[] = [];
  const note: Note = (rule, at, what) => {
    found.push({ rule, file, line: lineOf(source, at), what });
  };
  if (source.lines > LINES_MAX) note('length', source.code.length, `${source.lines} lines`);
  const name = file.slice(file.lastIndexOf('/') + 1);
  if (BAD_NAMES.test(name)) note('name', 0, `${name} says nothing about its subject`);
  if (name === 'index.ts') note('barrel', 0, 'an index.ts');
  for (const each of source.imports) {
    if (each.kind === 'reexport')
      found.push({ rule: 'barrel', file, line: each.line, what: `re-exports ${each.specifier}` });
  }
  if (!/^test\/vitest(\.system)?\.config\.ts$/.test(file)) {
    for (const match of source.topLevel.matchAll(/(?<![\w$.])export\s+default(?![\w$])/g)) {
      note('default-export', match.index, 'a default export');
    }
    for (const match of source.code.matchAll(/(?<![\w$.])export\s*\{[^}]*\bas\s+default\b/g)) {
      note('default-export', match.index, 'a default export');
    }
  }
  if (!file.endsWith('.test.ts')) checkState(source, note);
  if (file !== 'src/main.ts' && room.kind !== 'test' && room.kind !== 'loadtest') {
    for (const match of source.code.matchAll(/(?<![\w$.])process\s*\.\s*exit\s*\(/g)) {
      note('exit', match.index, 'process.exit outside src/main.ts');
    }
    for (const match of source.code.matchAll(CLOSURE_FIELD)) {
      note('closure-field', match.index, 'a function assigned to a field');
    }
  }
  return found;
}

/** Every cycle of what runs (types are erased) once, as the list of its files; each file's imports in the order given. */
function cycles(graph: ReadonlyMap<string, readonly string[]>): string[][] {
  const found: string[][] = [];
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (file: string): void => {
    const at = path.indexOf(file);
    if (at >= 0) {
      found.push(path.slice(at));
      return;
    }
    if (done.has(file)) return;
    path.push(file);
    for (const next of graph.get(file) ?? []) visit(next);
    path.pop();
    done.add(file);
  };
  for (const file of graph.keys()) visit(file);
  return found;
}

/** Files that run when `entry` is loaded, with the packages each of them loads. */
function checkWeight(entry: string, sources: ReadonlyMap<string, ScannedSource>): Violation[] {
  const found: Violation[] = [];
  const seen = new Set([entry]);
  for (const file of seen) {
    for (const each of sources.get(file)?.imports ?? []) {
      if (each.typeOnly || each.kind === 'dynamic') continue;
      if (each.specifier.startsWith('.')) seen.add(targetOf(file, each.specifier));
      else if (HEAVY_PACKAGES.has(packageOf(each.specifier))) {
        const what = `${entry} loads ${packageOf(each.specifier)} through ${file}`;
        found.push({ rule: 'heavy-worker', file, line: each.line, what });
      }
    }
  }
  return found;
}

/** Checks `files` (path from the project's root → text) against every rule. */
export function violations(files: ReadonlyMap<string, string>): readonly Violation[] {
  const found: Violation[] = [];
  const sources = new Map<string, ScannedSource>();
  const graph = new Map<string, string[]>();
  for (const [file, text] of files) {
    const room = roomOf(file);
    if (room === undefined) {
      found.push({ rule: 'room', file, line: 1, what: 'belongs to no room' });
      continue;
    }
    const source = scanSource(text);
    sources.set(file, source);
    for (const each of source.imports) found.push(...checkImport(file, room, each));
    if (isPure(room)) found.push(...checkGlobals(file, source));
    found.push(...checkShape(file, room, source));
    const relative = source.imports.filter(
      (each) => each.specifier.startsWith('.') && each.kind !== 'dynamic' && !each.typeOnly,
    );
    graph.set(
      file,
      relative.map((each) => targetOf(file, each.specifier)),
    );
  }
  for (const cycle of cycles(graph)) {
    found.push({ rule: 'cycle', file: cycle[0] ?? '', line: 1, what: cycle.join(' → ') });
  }
  found.push(...checkWeight('src/gateway.ts', sources));
  return found;
}
