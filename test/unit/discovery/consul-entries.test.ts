import { expect, test } from 'vitest';

import { instancesOfEntries, nextIndex } from '../../../src/discovery/consul-entries.ts';

function entry(
  more: { service?: object; node?: object; checks?: readonly (readonly [string, string])[] } = {},
): object {
  return {
    Node: { Node: 'node-1', Address: '10.0.0.9', ...more.node },
    Service: { ID: 'shop-1', Address: '10.0.0.1', Port: 8080, ...more.service },
    Checks: (more.checks ?? [['serfHealth', 'passing']]).map(([CheckID, Status]) => ({ CheckID, Status })),
  };
}

function only(...parameters: Parameters<typeof entry>) {
  const [found] = instancesOfEntries([entry(...parameters)], 'http');
  return found;
}

test('an entry is an instance with the name of its node and service', () => {
  expect(only()).toEqual({
    uid: 'node-1/shop-1',
    url: 'http://10.0.0.1:8080',
    version: '',
    weight: 1,
    leaving: false,
    readyHint: 'ready',
  });
});

test('a service without an address has its node’s', () => {
  expect(only({ service: { Address: '' } })?.url).toBe('http://10.0.0.9:8080');
});

test.each([
  ['passing', [['service:shop-1', 'passing']], false, 'ready'],
  ['warning', [['service:shop-1', 'warning']], false, 'ready'],
  [
    'one of two critical',
    [
      ['serfHealth', 'passing'],
      ['service:shop-1', 'critical'],
    ],
    false,
    'unknown',
  ],
  ['maintenance of the service', [['_service_maintenance:shop-1', 'critical']], true, 'ready'],
  ['maintenance of the node', [['_node_maintenance', 'critical']], true, 'ready'],
  [
    'maintenance of what fails as well',
    [
      ['_node_maintenance', 'critical'],
      ['service:shop-1', 'critical'],
    ],
    true,
    'unknown',
  ],
  ['maintenance that is over', [['_node_maintenance', 'passing']], false, 'ready'],
  ['no checks', [], false, 'ready'],
] as const)('%s', (_, checks, leaving, readyHint) => {
  expect(only({ checks })).toMatchObject({ leaving, readyHint });
});

test('weights are those of the service, by its state', () => {
  const service = { Weights: { Passing: 10, Warning: 3 } };
  expect(only({ service })?.weight).toBe(10);
  expect(only({ service, checks: [['x', 'warning']] })?.weight).toBe(3);
  expect(only({ service: { Weights: { Passing: 0, Warning: -1 } } })?.weight).toBe(1);
});

test('the version is that of the metadata, if it is a name', () => {
  expect(only({ service: { Meta: { version: 'v2.1' } } })?.version).toBe('v2.1');
  expect(only({ service: { Meta: { version: 'v2 <beta>' } } })?.version).toBe('');
  expect(only({ service: { Meta: null } })?.version).toBe('');
});

test.each([
  ['no list', {}],
  ['null', null],
  ['an entry that is none', [null]],
  ['an entry without a port', [entry({ service: { Port: 0 } })]],
  ['an entry without an address', [entry({ service: { Address: '' }, node: { Address: '' } })]],
])('%s is a fault, and no smaller set', (_, value) => {
  expect(() => instancesOfEntries(value, 'http')).toThrow();
});

test('a question waits for what is newer; an index that falls, or is none, begins anew', () => {
  expect(nextIndex(0, '7')).toBe(7);
  expect(nextIndex(7, '7')).toBe(7);
  expect(nextIndex(7, '12')).toBe(12);
  expect(nextIndex(12, '3')).toBe(0);
  expect(nextIndex(12, undefined)).toBe(0);
  expect(nextIndex(12, '-1')).toBe(0);
  expect(nextIndex(12, 'x')).toBe(0);
  expect(nextIndex(0, '9999999999999999999')).toBe(0);
});
