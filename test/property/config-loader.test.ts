import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { stringify } from 'yaml';
import { formatFinding } from '../../config/findings.ts';
import { keysOf, nodesAt, CONFIGURATION_NODE } from '../../config/json-schema.ts';
import type { Loaded } from '../../config/load.ts';
import { loadConfigurationText } from '../../config/load.ts';
import { nearest } from '../../config/suggest.ts';
import { YAML_WORDS } from './parsers.ts';

const VALID = {
  listeners: [{ port: 8080, limits: { bodyBytes: '1MiB' } }],
  admin: { port: 9090, token: 't' },
  clients: {
    identify: [{ header: 'x-api-key' }, { ip: { ipv6Prefix: 64 } }],
    keys: [{ key: 'k', client: 'c', tier: 'gold' }],
  },
  tiers: { gold: { rate: '10/s', burst: 20, priority: 'critical' } },
  services: {
    shop: { instances: ['http://h:1', { url: 'http://h:2', version: 'v2' }], sla: '100ms', dependsOn: [] },
  },
  routes: [{ path: '/', service: 'shop', cost: 2, limits: { perClient: { rate: '5/s' } } }],
};

/** A result is a configuration or faults, each at a real place of the text. */
function judge(result: Loaded, text: string): void {
  const lines = text.split('\n').length;
  if (!result.ok) expect(result.faults).not.toEqual([]);
  for (const finding of [...(result.ok ? [] : result.faults), ...result.warnings]) {
    expect(finding.line).toBeGreaterThanOrEqual(1);
    expect(finding.line).toBeLessThanOrEqual(lines);
    expect(finding.column).toBeGreaterThanOrEqual(1);
    expect(finding.message).not.toBe('');
    expect(formatFinding(finding)).not.toContain('undefined');
  }
}

/** Word soup of what YAML and the configuration are made of reaches deeper than random characters. */
const soup = fc
  .array(fc.oneof(fc.constantFrom(...YAML_WORDS), fc.string({ maxLength: 6 })), { maxLength: 40 })
  .map((parts) => parts.join(''));

test('no text whatever makes the loader throw', () => {
  fc.assert(
    fc.property(
      fc.oneof(soup, fc.string({ maxLength: 200 }), fc.string({ unit: 'binary', maxLength: 100 })),
      (text) => {
        judge(loadConfigurationText(text, 'any.yaml', { A: 'x' }), text.replaceAll('\r', '\n'));
      },
    ),
    { numRuns: 1500 },
  );
});

test('no tree whatever makes the loader throw, and what is not a configuration is a fault', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 4 }), (value) => {
      const text = JSON.stringify(value);
      const result = loadConfigurationText(text, 'any.json', {});
      judge(result, text);
      expect(result.ok).toBe(false);
    }),
    { numRuns: 500 },
  );
});

test('a valid configuration with one value replaced loads or names a place, and never throws', () => {
  const places = leaves(VALID, []);
  fc.assert(
    fc.property(fc.constantFrom(...places), fc.jsonValue({ maxDepth: 2 }), (path, value) => {
      const text = stringify(replaced(VALID, path, value));
      judge(loadConfigurationText(text, 'changed.yaml', {}), text);
    }),
    { numRuns: 500 },
  );
});

test('nesting without end is a fault, not a crash', () => {
  for (const text of ['['.repeat(20_000), '{a: '.repeat(5000), '- '.repeat(20_000)]) {
    const result = loadConfigurationText(text, 'deep.yaml', {});
    expect(result.ok).toBe(false);
  }
});

test('one wrong letter in a key of the schema is answered with that key', () => {
  const sections = ['listeners', 'admin', 'clients', 'limits', 'log'].flatMap((section) => {
    const path = section === 'listeners' ? [section, 0] : [section];
    return keysOf(nodesAt(CONFIGURATION_NODE, path)).map((key) => ({ path, key }));
  });
  fc.assert(
    fc.property(fc.constantFrom(...sections), fc.nat(), (place, at) => {
      const keys = keysOf(nodesAt(CONFIGURATION_NODE, place.path));
      const index = at % place.key.length;
      const typed = `${place.key.slice(0, index)}q${place.key.slice(index + 1)}`;
      fc.pre(!keys.includes(typed));
      expect(nearest(typed, keys)).toBe(place.key);
    }),
  );
});

type Steps = readonly (string | number)[];

/** Every place of a value, the value itself and its branches included. */
function leaves(value: unknown, path: Steps, found: Steps[] = []): Steps[] {
  found.push(path);
  if (typeof value !== 'object' || value === null) return found;
  for (const [key, entry] of Object.entries(value)) {
    leaves(entry, [...path, Array.isArray(value) ? Number(key) : key], found);
  }
  return found;
}

function replaced(value: unknown, path: Steps, by: unknown): unknown {
  const [step, ...rest] = path;
  if (step === undefined) return by;
  if (Array.isArray(value))
    return value.map((entry, index) => (index === step ? replaced(entry, rest, by) : entry) as unknown);
  const branch = value as Record<string, unknown>;
  return { ...branch, [step]: replaced(branch[String(step)], rest, by) };
}
