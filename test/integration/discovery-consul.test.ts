/**
 * Instances as Consul knows them, asked of a stand-in that speaks its blocking queries: they come and go with its entries,
 * and stay when the agent is away, hangs, refuses, or knows nobody any more.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import type { DiscoveryFault, Found } from '../../src/discovery/source.ts';
import { ConsulSource } from '../../src/io/discovery/consul.ts';
import { ConsulAgent, type Entry } from '../harness/consul-agent.ts';
import { startGateway, type Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import {
  discoveredYaml,
  figureOf,
  serving,
  startNamed,
  statesOf,
  untilAnsweredBy,
  untilFault,
  type NamedInstance,
} from './discovery-fixture.ts';

function entry({ host, port }: { host: string; port: number }, more: Partial<Entry> = {}): Entry {
  return { id: `shop-${port}`, address: host, port, ...more };
}

describe('a gateway', () => {
  let agent: ConsulAgent;
  let gateway: Gateway;
  let fleet: NamedInstance[] = [];
  const entries = (...indices: number[]): Entry[] =>
    fleet.filter((_, index) => indices.includes(index)).map((one) => entry(one));

  beforeAll(async () => {
    fleet = await Promise.all([0, 1, 2].map(async () => await startNamed()));
    agent = await ConsulAgent.start();
    agent.token = 'secret-of-the-agent';
    agent.set('shop', entries(0, 1));
    gateway = await startGateway(
      discoveredYaml(`{ consul: { url: "${agent.url}", service: shop, token: "${agent.token}" } }`),
    );
  });

  afterAll(async () => {
    await gateway[Symbol.asyncDispose]();
    await agent[Symbol.asyncDispose]();
    for (const instance of fleet) await instance[Symbol.asyncDispose]();
  });

  test('serves through the entries, and follows them at once without asking in a loop', async () => {
    await untilAnsweredBy(gateway, fleet.slice(0, 2));
    const { questions } = agent;
    agent.set('shop', entries(0, 1, 2));
    await untilAnsweredBy(gateway, fleet);
    agent.set('shop', entries(1, 2));
    await untilAnsweredBy(gateway, fleet.slice(1));
    expect(agent.questions - questions).toBeLessThanOrEqual(4);
    expect(await figureOf(gateway, 'faults_total')).toBe(0);
  });

  test('drains what is in maintenance', async () => {
    const [first, second] = entries(1, 2);
    const maintained = {
      ...first,
      checks: [{ CheckID: '_service_maintenance:x', Status: 'critical' }],
    } as Entry;
    agent.set('shop', second === undefined ? [] : [maintained, second]);
    await untilAnsweredBy(gateway, fleet.slice(2));
    expect((await statesOf(gateway))[fleet[1]?.id ?? '']).toBe('draining');
    agent.set('shop', entries(1, 2));
    await untilAnsweredBy(gateway, fleet.slice(1));
  });

  test('believes its own probe where a check of the agent is critical', async () => {
    const critical = [{ CheckID: 'serfHealth', Status: 'critical' }];
    agent.set(
      'shop',
      entries(1, 2).map((one) => Object.assign(one, { checks: critical })),
    );
    const { questions } = agent;
    await eventually('it has heard of it', () => agent.questions > questions);
    expect(await serving(gateway)).toBe(2);
    agent.set('shop', entries(1, 2));
    await untilAnsweredBy(gateway, fleet.slice(1));
  });

  test('goes on while the agent is away, or has no leader, and catches up', async () => {
    const away = untilFault(gateway, 'unreachable', 2);
    await agent.away();
    await away;
    await eventually('it is dark', async () => (await figureOf(gateway, 'age_seconds')) > 0);
    expect(await serving(gateway)).toBe(2);
    const refused = untilFault(gateway, 'refused', 2);
    agent.mood = 500;
    await agent.back();
    await refused;
    expect(await serving(gateway)).toBe(2);
    agent.set('shop', entries(0, 1, 2));
    agent.mood = 'ok';
    await untilAnsweredBy(gateway, fleet);
    expect(await figureOf(gateway, 'age_seconds')).toBe(0);
  });

  test('keeps everybody when the agent knows nobody any more', async () => {
    const fault = untilFault(gateway, 'empty');
    agent.set('shop', []);
    await fault;
    expect(await serving(gateway)).toBe(3);
    expect(await figureOf(gateway, 'held')).toBe(3);
    agent.set('shop', entries(0, 1, 2));
    await eventually('nobody is held', async () => (await figureOf(gateway, 'held')) === 0);
  });

  test('shows its token to nobody', async () => {
    const { body } = await gateway.admin('/v1/config');
    expect(JSON.stringify(body)).toContain('"consul"');
    expect(JSON.stringify(body)).not.toContain(agent.token);
    expect(gateway.logs()).not.toContain(agent.token);
  });
});

describe('the source', () => {
  let agent: ConsulAgent;
  let stop: () => void;
  let sets: (readonly Found[])[] = [];
  let faults: DiscoveryFault[] = [];

  function begin(tag?: string): void {
    sets = [];
    faults = [];
    const source = new ConsulSource(
      { url: `${agent.url}/`, service: 'the shop', tag, token: undefined, ca: undefined, scheme: 'http' },
      () => 0.5,
      { onSet: (set) => sets.push(set), onFault: (fault) => faults.push(fault) },
    );
    stop = () => source.stop();
  }

  const ports = (): string => (sets.at(-1) ?? []).map(({ url }) => new URL(url).port).join();
  const hosts = (...some: number[]): Entry[] => some.map((port) => entry({ host: '127.0.0.1', port }));

  beforeEach(async () => {
    agent = await ConsulAgent.start();
    agent.set('the shop', hosts(8001, 8002));
  });

  afterEach(async () => {
    stop();
    await agent[Symbol.asyncDispose]();
  });

  test('waits for what is newer, and begins anew when the index falls', async () => {
    begin();
    await eventually('it waits', () => agent.waiting === 1);
    expect([ports(), agent.questions]).toEqual(['8001,8002', 2]);
    agent.set('the shop', hosts(8003));
    await eventually('the change', () => ports() === '8003');
    await eventually('it waits', () => agent.waiting === 1);
    agent.resetIndex();
    await eventually('it waits again', () => agent.questions >= 5 && agent.waiting === 1);
    // The one after the fall did not wait for an index that may never come.
    expect(agent.asked.at(-2)).not.toContain('index=');
    expect(agent.asked.at(-1)).toContain('index=1&');
    agent.set('the shop', hosts(8004));
    await eventually('the change', () => ports() === '8004');
    expect(faults).toEqual([]);
  });

  test('asks for a tag where there is one', async () => {
    agent.set('the shop', [
      ...hosts(8001),
      entry({ host: '127.0.0.1', port: 8009 }, { tags: ['blue & green'] }),
    ]);
    begin('blue & green');
    await eventually('the tagged one', () => ports() === '8009');
  });

  test('polls now and then where there is no index to wait with', async () => {
    agent.hidesIndex = true;
    begin();
    await eventually('two answers', () => sets.length >= 2);
    expect(agent.questions).toBeLessThanOrEqual(3);
    expect(faults).toEqual([]);
  });

  test('an answer that is none is a fault, and no smaller set', async () => {
    begin();
    await eventually('it waits', () => agent.waiting === 1);
    agent.set('the shop', [...hosts(8001), entry({ host: 'a b', port: 1 })]);
    await eventually('the fault', () => faults.length > 0);
    expect([faults[0]?.kind, ports()]).toEqual(['malformed', '8001,8002']);
  });
});
