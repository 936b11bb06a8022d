import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeCertificate } from './certificate.ts';
import { demoConfiguration } from '../../../config/demo.ts';
import { formatFinding } from '../../../config/findings.ts';
import { CONFIGURATION_NODE, renderJsonSchema } from '../../../config/json-schema.ts';
import type { SchemaNode } from '../../../config/json-schema.ts';
import { loadConfiguration, loadConfigurationText } from '../../../config/load.ts';
import { NOT_YET } from '../../../config/not-yet.ts';
import { renderReference } from '../../../config/reference.ts';
import { parse } from 'yaml';

const CONFIG = fileURLToPath(new URL('../../../config/', import.meta.url));
const EXAMPLES = readdirSync(`${CONFIG}examples`).filter(
  (name) => name.endsWith('.yaml') && name !== 'keys.yaml',
);

/** A copy beside certificates of the names that the examples use: certificates are read with the configuration. */
const FOLDER = mkdtempSync(join(tmpdir(), 'spillway-examples-'));

beforeAll(() => {
  cpSync(`${CONFIG}examples`, FOLDER, { recursive: true });
  mkdirSync(join(FOLDER, 'tls'));
  for (const name of ['example.com', 'example.org', 'gateway', 'internal-ca'])
    makeCertificate(join(FOLDER, 'tls'), name);
});

afterAll(() => {
  rmSync(FOLDER, { recursive: true });
});

describe('the examples', () => {
  test('are the four that the README names', () => {
    expect(EXAMPLES.sort()).toEqual(['full.yaml', 'kubernetes-like.yaml', 'minimal.yaml', 'tiers.yaml']);
  });

  test.each(EXAMPLES)('%s loads without a fault', (name) => {
    const result = loadConfiguration(join(FOLDER, name), {});
    expect(result.ok ? [] : result.faults.map(formatFinding)).toEqual([]);
  });

  test.each(EXAMPLES)('%s loads without a warning', (name) => {
    expect(loadConfiguration(join(FOLDER, name), {}).warnings.map(formatFinding)).toEqual([]);
  });

  test('full.yaml lacks its eight PEM files as it stands, as its head and the README say, and nothing else', () => {
    const result = loadConfiguration(`${CONFIG}examples/full.yaml`, {});
    const messages = result.ok ? [] : result.faults.map((fault) => fault.message);
    expect(messages).toHaveLength(8);
    for (const message of messages) expect(message).toMatch(/^cannot be read: ENOENT/);
  });

  test('full.yaml names every key that is acted on', () => {
    const written = paths(parse(readFileSync(`${CONFIG}examples/full.yaml`, 'utf8')), '');
    const missing = keys(CONFIGURATION_NODE, '')
      .filter((path) => !NOT_YET.some((row) => fits(path, row.path)))
      .filter((path) => !written.has(path));
    // The other two ways to Redis, which exclude an address, and what belongs to them or to `rediss://`.
    expect(missing.toSorted()).toEqual(
      ['cluster', 'sentinelName', 'sentinelPassword', 'sentinels', 'tls.ca', 'tls.serverName'].map(
        (key) => `redis.${key}`,
      ),
    );
  });
});

/** The path, or one above it, is that of a row; `*` in a row is any one step. */
function fits(path: string, row: string): boolean {
  const steps = path.split('.');
  return row
    .split('.')
    .every((step, index) => index < steps.length && (step === '*' || step === steps[index]));
}

/** Every path of a value, `*` for each index and for each name of a mapping of names. */
function paths(value: unknown, at: string, found = new Set<string>()): Set<string> {
  found.add(at);
  if (typeof value !== 'object' || value === null) return found;
  for (const [key, entry] of Object.entries(value)) {
    const any = Array.isArray(value) || at === 'services' || at === 'tiers';
    const step = any ? '*' : key;
    paths(entry, at === '' ? step : `${at}.${step}`, found);
  }
  return found;
}

/** Every path of the schema that has no keys below it. */
function keys(node: SchemaNode, at: string): string[] {
  if (node['x-source'] !== undefined) return [at];
  const below: string[] = [];
  for (const choice of node.anyOf ?? []) below.push(...keys(choice, at).filter((path) => path !== at));
  for (const [key, child] of Object.entries(node.properties ?? {}))
    below.push(...keys(child, at === '' ? key : `${at}.${key}`));
  if (node.items !== undefined)
    below.push(...keys(node.items, `${at}.*`).filter((path) => path !== `${at}.*`));
  if (typeof node.additionalProperties === 'object' && node.additionalProperties.properties !== undefined) {
    below.push(...keys(node.additionalProperties, `${at}.*`));
  }
  return below.length === 0 ? [at] : below;
}

describe('the demo', () => {
  const text = demoConfiguration([9001, 9002, 9003], { public: 8080, admin: 9090 });
  const result = loadConfigurationText(text, 'demo', {});

  test('loads like any configuration, without a word', () => {
    expect(result.ok ? [] : result.faults.map(formatFinding)).toEqual([]);
    expect(result.warnings.map(formatFinding)).toEqual([]);
  });

  test('has two tiers, three instances, no shutdown delay, and something to shed', () => {
    if (!result.ok) throw new Error('the demo does not load');
    const { configuration } = result;
    expect(configuration.listeners[0]?.port).toBe(8080);
    expect(configuration.admin.port).toBe(9090);
    expect(configuration.shutdown.delay).toBe(0);
    expect(configuration.tiers.free).toMatchObject({ rate: 2, burst: 3, priority: 'sheddable' });
    expect(configuration.tiers.gold?.priority).toBe('critical');
    expect(configuration.services.shop?.instances).toHaveLength(3);
    expect(configuration.services.shop?.dependsOn).toEqual([{ service: 'stock', mode: 'optional' }]);
    expect(configuration.services.tiny?.shedding).toEqual({ mode: 'enforce', limit: 1, queue: 0 });
    expect(configuration.routes.map((route) => route.path)).toEqual(['/', '/slow', '/stock', '/tiny']);
  });
});

describe('generated files', () => {
  test('config/schema.json is what the schema says (npm run generate)', () => {
    expect(readFileSync(`${CONFIG}schema.json`, 'utf8')).toBe(renderJsonSchema());
  });

  test('config/README.md is what the schema says (npm run generate)', () => {
    expect(readFileSync(`${CONFIG}README.md`, 'utf8')).toBe(renderReference());
  });

  test('every key has a meaning', () => {
    const silent = renderReference()
      .split('\n')
      .filter((line) => /^\| `[^|]*\|[^|]*\|[^|]*\| +\|$/.test(line));
    expect(silent).toEqual([]);
  });
});
