/**
 * A rule over several fields speaks in the same run as any fault beside it, at the same place as without that fault, and
 * never because of a fault in what it reads.
 */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import type { z } from 'zod';
import { formatFinding, formatPath } from '../../config/findings.ts';
import type { Finding } from '../../config/findings.ts';
import { CONFIGURATION_NODE, keysOf, nodesAt } from '../../config/json-schema.ts';
import { loadConfigurationText } from '../../config/load.ts';
import { configurationSchema } from '../../config/schema.ts';

type Tree = Record<string, unknown>;
type Steps = readonly (string | number)[];

const LISTENERS = [{ port: 8080 }];
const INSTANCES = ['http://127.0.0.1:9001'];
const SECRET = 'sixteen characters or more';

interface Rule {
  readonly words: string;
  /** Of the fault. */
  readonly path: string;
  readonly root: Tree;
  /** The object whose fields the rule reads. */
  readonly at: Steps;
  readonly reads: readonly string[];
  /** Asks only whether a field is written; a faulty one is. */
  readonly presence?: true;
}

const shop = (service: Tree): Tree => ({ services: { shop: service } });
const route = (more: Tree): Tree => ({ routes: [{ path: '/', service: 'shop', ...more }] });

const quotaRules = (path: string, at: Steps, root: (quota: Tree) => Tree): Rule[] => [
  {
    words: 'longer than a year',
    path: `${path}.burst`,
    at,
    reads: ['rate', 'burst'],
    root: root({ rate: '1/d', burst: 366 }),
  },
];

const RULES: readonly Rule[] = [
  {
    words: 'must begin with redis://',
    path: 'redis.url',
    at: ['redis'],
    reads: ['url'],
    root: { redis: { url: 'http://h' } },
  },
  {
    words: 'exactly one of `url`',
    path: 'redis',
    at: ['redis'],
    reads: ['url', 'sentinels', 'cluster'],
    presence: true,
    root: { redis: { url: 'redis://h', cluster: ['a:1'] } },
  },
  {
    words: 'exactly one of `dns`',
    path: 'services.shop.discovery',
    at: ['services', 'shop', 'discovery'],
    reads: ['dns', 'kubernetes', 'consul', 'file'],
    presence: true,
    root: shop({ discovery: { emptySet: 'keep' } }),
  },
  {
    words: 'has no instances',
    path: 'services.shop',
    at: ['services', 'shop'],
    reads: ['instances', 'discovery'],
    presence: true,
    root: shop({ sla: '1s' }),
  },
  {
    words: 'instead of `instances`',
    path: 'services.shop.discovery',
    at: ['services', 'shop'],
    reads: ['instances', 'discovery'],
    presence: true,
    root: shop({ instances: INSTANCES, discovery: { file: 'list' } }),
  },
  {
    words: 'go together',
    path: 'services.shop.tls',
    at: ['services', 'shop', 'tls'],
    reads: ['cert', 'key'],
    presence: true,
    root: shop({ instances: INSTANCES, tls: { cert: 'a.crt' } }),
  },
  {
    words: 'a second key with the id `a`',
    path: 'services.shop.affinity.keys[1].id',
    at: ['services', 'shop', 'affinity', 'keys', 1],
    reads: ['id'],
    root: shop({
      instances: INSTANCES,
      affinity: {
        keys: [
          { id: 'a', secret: SECRET },
          { id: 'a', secret: SECRET },
        ],
      },
    }),
  },
  {
    words: 'write the rate too',
    path: 'tiers.free.burst',
    at: ['tiers', 'free'],
    reads: ['rate', 'burst'],
    root: { tiers: { free: { rate: null, burst: 5 } } },
  },
  ...quotaRules('tiers.free', ['tiers', 'free'], (free) => ({ tiers: { free } })),
  ...quotaRules('tiers.free.total', ['tiers', 'free', 'total'], (total) => ({ tiers: { free: { total } } })),
  ...quotaRules('limits.global', ['limits', 'global'], (global) => ({ limits: { global } })),
  ...quotaRules('routes[0].limits.total', ['routes', 0, 'limits', 'total'], (total) =>
    route({ limits: { total } }),
  ),
  ...quotaRules('routes[0].limits.perClient', ['routes', 0, 'limits', 'perClient'], (perClient) =>
    route({ limits: { perClient } }),
  ),
  {
    words: 'a path with a `rewrite`',
    path: 'routes[0].path',
    at: ['routes', 0],
    reads: ['path', 'rewrite'],
    presence: true,
    root: route({ path: '/a:b', rewrite: '/c' }),
  },
  {
    words: 'needs a token',
    path: 'admin.token',
    at: ['admin'],
    reads: ['host', 'token'],
    root: { admin: { host: '0.0.0.0', token: '' } },
  },
  {
    words: 'shorter than `shutdown.timeout`',
    path: 'shutdown.delay',
    at: ['shutdown'],
    reads: ['delay', 'timeout'],
    root: { shutdown: { delay: '9s', timeout: '9s' } },
  },
  {
    words: 'longer than `requestTimeout`',
    path: 'listeners[0].limits.headersTimeout',
    at: ['listeners', 0, 'limits'],
    reads: ['headersTimeout', 'requestTimeout'],
    root: { listeners: [{ port: 8080, limits: { headersTimeout: '61s', requestTimeout: '60s' } }] },
  },
  {
    words: 'taken by another listener',
    path: 'listeners[1].port',
    at: ['listeners', 1],
    reads: ['host', 'port'],
    root: { listeners: [...LISTENERS, { host: '::1', port: 8080 }] },
  },
  {
    words: 'taken by a listener',
    path: 'admin.port',
    at: ['admin'],
    reads: ['host', 'port'],
    root: { admin: { host: '127.0.0.1', port: 8080 } },
  },
  {
    words: "the route's total never holds",
    path: 'routes[0].cost',
    at: ['routes', 0],
    reads: ['cost', 'limits'],
    root: route({ cost: 6, limits: { total: { rate: '5/s' } } }),
  },
  {
    words: 'the tier `free` never holds',
    path: 'routes[0].cost',
    at: ['tiers', 'free'],
    reads: ['rate', 'burst'],
    root: { tiers: { free: { rate: '5/s', burst: 5 } }, ...route({ cost: 6 }) },
  },
  {
    words: 'in the list twice',
    path: 'clients.keys[1].key',
    at: ['clients', 'keys', 1],
    reads: ['key'],
    root: {
      clients: {
        keys: [
          { key: 'k', client: 'c' },
          { key: 'k', client: 'c' },
        ],
      },
    },
  },
  {
    words: 'already has the tier',
    path: 'clients.keys[1].tier',
    at: ['clients', 'keys', 1],
    reads: ['client', 'tier'],
    root: {
      tiers: { gold: {} },
      clients: {
        keys: [
          { key: 'j', client: 'c' },
          { key: 'k', client: 'c', tier: 'gold' },
        ],
      },
    },
  },
];

/** Stands in a tree for `[[[]]]`, which is right nowhere in the schema; on one line, so that nothing else moves. */
const WRONG = 'a wrong value';

function faultsOf(rule: Rule, change: (object: Tree) => Tree): readonly Finding[] {
  const base = { listeners: LISTENERS, ...shop({ instances: INSTANCES }), ...route({}), ...rule.root };
  const text = stringify(changed(base, rule.at, change)).replaceAll(WRONG, '[[[]]]');
  const result = loadConfigurationText(text, 'test.yaml', {});
  return result.ok ? [] : result.faults;
}

function changed(value: unknown, [step, ...rest]: Steps, change: (object: Tree) => Tree): unknown {
  if (step === undefined) return change(value as Tree);
  if (Array.isArray(value))
    return value.map((entry: unknown, index) => (index === step ? changed(entry, rest, change) : entry));
  const tree = value as Tree;
  return { ...tree, [step]: changed(tree[step], rest, change) };
}

const same = (object: Tree): Tree => object;
const ofRule = (rule: Rule, faults: readonly Finding[]): string[] =>
  faults.filter(({ path, message }) => path === rule.path && message.includes(rule.words)).map(formatFinding);

describe('a rule over several fields', () => {
  test.each(RULES)('$path: $words, is told alone where nothing else is wrong', (rule) => {
    const faults = faultsOf(rule, same);
    expect(faults.map(formatFinding)).toEqual(ofRule(rule, faults));
    expect(faults).toHaveLength(1);
  });

  test.each(RULES)('$path: $words, is told once beside each fault in the same object', (rule) => {
    const expected = ofRule(rule, faultsOf(rule, same));
    const free = keysOf(nodesAt(CONFIGURATION_NODE, rule.at)).filter((key) => !rule.reads.includes(key));
    for (const key of [...free, 'unknownkey']) {
      const faults = faultsOf(rule, (object) => ({ ...object, [key]: WRONG }));
      const other = formatPath([...rule.at, key]);
      expect(ofRule(rule, faults), `beside ${key}`).toEqual(expected);
      expect(faults.filter(({ path }) => path.startsWith(other))).not.toEqual([]);
    }
  });

  test('is told beside any set of faults in the same object', () => {
    fc.assert(
      fc.property(fc.constantFrom(...RULES), fc.infiniteStream(fc.boolean()), (rule, coins) => {
        const free = keysOf(nodesAt(CONFIGURATION_NODE, rule.at)).filter((key) => !rule.reads.includes(key));
        const wrong = free.filter(() => coins.next().value);
        const faults = faultsOf(rule, (object) => ({
          ...object,
          ...Object.fromEntries(wrong.map((key) => [key, WRONG])),
        }));
        expect(ofRule(rule, faults)).toEqual(ofRule(rule, faultsOf(rule, same)));
        for (const key of wrong) {
          const path = formatPath([...rule.at, key]);
          expect(faults.some((fault) => fault.path.startsWith(path))).toBe(true);
        }
      }),
      { numRuns: 200 },
    );
  });

  test.each(RULES.filter(({ presence }) => presence === undefined))(
    '$path: $words, is not told when a field it reads is faulty',
    (rule) => {
      for (const key of rule.reads) {
        const faults = faultsOf(rule, (object) => ({ ...object, [key]: WRONG }));
        expect(faults.filter(({ message }) => message.includes(rule.words))).toEqual([]);
        expect(faults).not.toEqual([]);
      }
    },
  );

  test('is no check of an object or list of the schema, because zod skips those', () => {
    const checked: string[] = [];
    walk(configurationSchema, '', (schema, path) => {
      const { type, checks = [] } = schema._zod.def;
      const own = checks.filter((check) => check._zod.def.check === 'custom');
      if ((type === 'object' || type === 'array') && own.length > 0) checked.push(path);
    });
    expect(checked).toEqual([]);
  });
});

/** Every schema below this one, through whatever wraps it. */
function walk(
  schema: z.core.$ZodType,
  path: string,
  visit: (schema: z.core.$ZodType, path: string) => void,
): void {
  visit(schema, path);
  const def = schema._zod.def as unknown as {
    readonly shape?: Readonly<Record<string, z.core.$ZodType>>;
    readonly options?: readonly z.core.$ZodType[];
  } & Readonly<Record<'element' | 'innerType' | 'in' | 'valueType', z.core.$ZodType | undefined>>;
  for (const [key, field] of Object.entries(def.shape ?? {})) walk(field, `${path}.${key}`, visit);
  for (const option of def.options ?? []) walk(option, path, visit);
  for (const inner of [def.element, def.innerType, def.in, def.valueType])
    if (inner !== undefined) walk(inner, path, visit);
}
