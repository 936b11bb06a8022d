/** What a worker has learned of a service stays through reloads and operators' orders. */
import { expect, test } from 'vitest';

import { configurationSchema } from '../../../config/schema.ts';
import type { ServiceConfiguration } from '../../../config/schema.ts';
import { seededRandom } from '../../../src/kernel/random.ts';
import { ServiceRuntime } from '../../../src/io/service-runtime.ts';
import { states } from './views.ts';

const CAP = 8;

function configuration(): ServiceConfiguration {
  const instances = ['http://a.test:1', 'http://b.test:1', 'http://c.test:1'];
  const { services } = configurationSchema.parse({
    listeners: [{ port: 1 }],
    services: { shop: { instances, balancing: { maxConcurrencyPerInstance: CAP } } },
    routes: [{ path: '/', service: 'shop' }],
  });
  const [shop] = Object.values(services);
  if (shop === undefined) throw new Error('no service');
  return shop;
}

/** A worker of one that has seen the three instances. */
function threeReady(): ServiceRuntime {
  const options = { name: 'shop', workers: 1, fallbackSecret: 'x', random: seededRandom(1), now: 0 };
  const service = new ServiceRuntime(configuration(), options);
  service.update(states('shop', 'up', { 'a.test:1': 'ready', 'b.test:1': 'ready', 'c.test:1': 'ready' }), 0);
  return service;
}

test('a reload that changes nothing keeps the limit, also of several instances', () => {
  const service = threeReady();
  const { limit } = service.admission.view(0);
  expect(limit).toBe(20);
  service.configure(configuration(), 1, 1);
  expect(service.admission.view(1).limit).toBe(limit);
});

test('so does an order of an operator', () => {
  const service = threeReady();
  const { limit } = service.admission.view(0);
  service.override({ service: 'shop', breaker: 'auto', shedding: 'observe', by: 'test' }, 1);
  service.override({ service: 'shop', breaker: 'auto', shedding: 'auto', by: 'test' }, 2);
  expect(service.admission.view(2).limit).toBe(limit);
});
