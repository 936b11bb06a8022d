import { expect, test } from 'vitest';

import { instancesOfAddresses, instancesOfServices } from '../../../src/discovery/dns-records.ts';

function service(host: number, more: { priority?: number; weight?: number; addresses?: string[] } = {}) {
  return { addresses: [`10.0.0.${host}`], port: 8000 + host, priority: 10, weight: 5, ...more };
}

function weights(found: readonly { url: string; weight: number }[]): Record<string, number> {
  return Object.fromEntries(found.map(({ url, weight }) => [url, weight]));
}

test('addresses have the port of the configuration, and equal weights', () => {
  expect(weights(instancesOfAddresses(['10.0.0.1', 'fd00::1'], 'http', 8080))).toEqual({
    'http://10.0.0.1:8080': 1,
    'http://[fd00::1]:8080': 1,
  });
});

test('an SRV record brings its port and weight, and each address of its target', () => {
  const found = instancesOfServices(
    [service(1), service(2, { addresses: ['10.0.0.2', '10.0.0.3'] })],
    'https',
  );
  expect(weights(found)).toEqual({
    'https://10.0.0.1:8001': 5,
    'https://10.0.0.2:8002': 5,
    'https://10.0.0.3:8002': 5,
  });
});

test('only the best priority is used, and one whose target has no address is none', () => {
  const found = instancesOfServices(
    [service(1, { priority: 1, addresses: [] }), service(2, { priority: 2 }), service(3, { priority: 3 })],
    'http',
  );
  expect(Object.keys(weights(found))).toEqual(['http://10.0.0.2:8002']);
});

test('a weight of 0 is a small chance beside others, and as good as any alone', () => {
  expect(weights(instancesOfServices([service(1, { weight: 0 }), service(2)], 'http'))).toEqual({
    'http://10.0.0.1:8001': 0.5,
    'http://10.0.0.2:8002': 5,
  });
  expect(weights(instancesOfServices([service(1, { weight: 0 })], 'http'))).toEqual({
    'http://10.0.0.1:8001': 1,
  });
});

test('no records are no instances', () => {
  expect(instancesOfServices([], 'http')).toEqual([]);
  expect(instancesOfAddresses([], 'http', 80)).toEqual([]);
});
