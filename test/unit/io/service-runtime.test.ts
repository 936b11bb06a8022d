/** What a worker has learned of a service stays through reloads and operators' orders. */
import { expect, test } from 'vitest';

import { configurationSchema } from '../../../config/schema.ts';
import type { ServiceConfiguration } from '../../../config/schema.ts';
import { seededRandom } from '../../../src/kernel/random.ts';
import { ServiceRuntime } from '../../../src/io/service-runtime.ts';
import { states } from './views.ts';

const CAP = 8;

function configuration(more: object = {}): ServiceConfiguration {
  const instances = ['http://a.test:1', 'http://b.test:1', 'http://c.test:1'];
  const { services } = configurationSchema.parse({
    listeners: [{ port: 1 }],
    services: { shop: { instances, balancing: { maxConcurrencyPerInstance: CAP }, ...more } },
    routes: [{ path: '/', service: 'shop' }],
  });
  const [shop] = Object.values(services);
  if (shop === undefined) throw new Error('no service');
  return shop;
}

/** A worker of one that has seen the three instances. */
function threeReady(more: object = {}): ServiceRuntime {
  const options = { name: 'shop', workers: 1, fallbackSecret: 'x', random: seededRandom(1), now: 0 };
  const service = new ServiceRuntime(configuration(more), options);
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
  service.override(
    { service: 'shop', breaker: 'auto', breakerLeftMs: null, by: 'test', shedding: 'observe' },
    1,
  );
  service.override(
    { service: 'shop', breaker: 'auto', breakerLeftMs: null, by: 'test', shedding: 'auto' },
    2,
  );
  expect(service.admission.view(2).limit).toBe(limit);
});

test('a breaker that opened on a dependency’s failures is closed when that is back, and not before', () => {
  const service = threeReady();
  const look = (sequence: number, state: 'up' | 'dependency-down'): string => {
    service.update({ ...states('shop', state, { 'a.test:1': 'ready' }), sequence }, 1);
    return `${service.blocked} ${service.breaker.view(1).state}`;
  };
  for (let n = 0; n < 5; n++) service.breaker.record('hard', 1, service.breaker.allow(1));
  expect(look(2, 'up')).toBe(' open');
  expect(look(3, 'dependency-down')).toBe('SPW_DEPENDENCY_DOWN open');
  // A reload to `serve` while it is still down forgives nothing.
  service.configure(configuration({ onDependencyDown: 'serve' }), 1, 1);
  expect(look(4, 'dependency-down')).toBe(' open');
  service.configure(configuration(), 1, 1);
  expect(look(5, 'dependency-down')).toBe('SPW_DEPENDENCY_DOWN open');
  expect(look(6, 'up')).toBe(' closed');
});

test('in a panic sessions stay where they are: one silent instance is as good as another', () => {
  const service = threeReady();
  const pin = { sid: '0123456789abcdef', instance: '', version: '', issuedMs: 0, seenMs: 0 };
  const stays = (): boolean[] =>
    ['a.test:1', 'b.test:1', 'c.test:1'].map((id) =>
      service.sessions.keepsPinned(service.balancer.slotOf(id), pin, 1),
    );
  const dead = { opensNew: false, keepsPinned: false, readyForMs: 0 };
  const picture = states('shop', 'down', { 'a.test:1': 'down', 'b.test:1': 'down', 'c.test:1': 'unready' });
  const instances = picture.instances.map((one) => ({ ...one, ...dead, panic: one.state === 'down' }));
  service.update({ ...picture, sequence: 2, instances }, 1);
  // The third one says no itself, and is not asked.
  expect(stays()).toEqual([true, true, false]);
  const oneIsBack = instances.map((one) =>
    Object.assign({}, one, one.id === 'b.test:1' ? { opensNew: true, keepsPinned: true } : {}),
  );
  service.update({ ...picture, sequence: 3, instances: oneIsBack }, 2);
  expect(stays()).toEqual([false, true, false]);
});

test('a worker that is new learns from its callers where the sessions are, each once', () => {
  const { sessions, balancer } = threeReady({ affinity: { cookie: 'shop' } });
  const [a = -1, b = -1, c = -1] = ['a.test:1', 'b.test:1', 'c.test:1'].map((id) => balancer.slotOf(id));
  for (let turn = 0; turn < 3; turn++) {
    for (let session = 0; session < 20; session++) {
      const half = Math.floor((session * 2 ** 32) / 20)
        .toString(16)
        .padStart(8, '0');
      const sid = half + half;
      sessions.meet(a, sid, 1);
      if (session % 2 === 0) sessions.meet(b, sid, 1);
    }
  }
  const picks = [0, 0, 0];
  for (let pick = 0; pick < 30; pick++) {
    const slot = balancer.pick({ pinned: -1, tried: [], makesPin: true }, 1);
    picks[slot] = (picks[slot] ?? 0) + 1;
  }
  // There were 20, 10 and none: with thirty more each has its twenty.
  expect(picks[a]).toBeLessThanOrEqual(3);
  expect(Math.abs((picks[b] ?? 0) - 10)).toBeLessThanOrEqual(3);
  expect(Math.abs((picks[c] ?? 0) - 20)).toBeLessThanOrEqual(3);
});

test('a part of the caps that comes from another worker leaves room at once and scales no limit; what goes is gone', () => {
  const options = { name: 'shop', workers: 2, fallbackSecret: 'x', random: seededRandom(1), now: 0 };
  const service = new ServiceRuntime(configuration({ shedding: { limit: 100 } }), options);
  service.update(states('shop', 'up', { 'a.test:1': 'ready', 'b.test:1': 'ready', 'c.test:1': 'ready' }), 0);
  const limit = (now: number): number => service.admission.view(now).limit;
  expect(limit(0)).toBe(12);
  service.takeCaps({ grant: 1, part: 14 }, 10);
  expect(limit(10)).toBe(21);
  service.claimCaps(300);
  expect(limit(300)).toBe(12);

  const found = new ServiceRuntime(configuration(), options);
  found.update(states('shop', 'up', { 'a.test:1': 'ready', 'b.test:1': 'ready' }), 0);
  const before = found.admission.view(0).limit;
  for (const [grant, part] of [14, 2, 8].entries()) found.takeCaps({ grant, part }, 10);
  expect(found.admission.view(10).limit).toBe(before);
});
