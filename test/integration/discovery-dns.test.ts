/**
 * Instances as the records of a name, asked of a real name server on loopback: they come and go with its records, and stay
 * when it is silent, refuses, fails, or knows nobody any more.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { NameServer, startRefusingServer } from '../harness/dnsmasq.ts';
import { startGateway, type Gateway } from '../harness/gateway.ts';
import { eventually, freePorts } from '../harness/ports.ts';
import {
  discoveredYaml,
  figureOf,
  serving,
  startNamed,
  untilAnsweredBy,
  untilFault,
  type NamedInstance,
} from './discovery-fixture.ts';

const HOSTS = ['127.0.0.1', '127.0.0.2', '127.0.0.3'] as const;

let fleet: NamedInstance[] = [];
let port = 0;

beforeAll(async () => {
  [port = 0] = await freePorts(1);
  fleet = await Promise.all(HOSTS.map(async (host) => await startNamed(host, port)));
});

afterAll(async () => {
  for (const instance of fleet) await instance[Symbol.asyncDispose]();
});

describe('the addresses of a name', () => {
  let names: NameServer;
  let gateway: Gateway;

  beforeAll(async () => {
    names = await NameServer.start({ hosts: { 'shop.test': HOSTS.slice(0, 2) } });
    gateway = await startGateway(
      discoveredYaml(`{ dns: { name: shop.test, port: ${port}, servers: ["${names.address}"] } }`),
    );
  });

  afterAll(async () => {
    await gateway[Symbol.asyncDispose]();
    await names[Symbol.asyncDispose]();
  });

  test('are the instances, and follow its records within their ttl', async () => {
    await untilAnsweredBy(gateway, fleet.slice(0, 2));
    await names.serve({ hosts: { 'shop.test': HOSTS } });
    await untilAnsweredBy(gateway, fleet);
    await names.serve({ hosts: { 'shop.test': HOSTS.slice(1) } });
    await untilAnsweredBy(gateway, fleet.slice(1));
  });

  test('stay while the name server says nothing', async () => {
    const fault = untilFault(gateway, 'unreachable');
    names.pause();
    await fault;
    expect(await serving(gateway)).toBe(2);
    await eventually('it is dark', async () => (await figureOf(gateway, 'age_seconds')) > 1);
    names.resume();
    await eventually('it answers again', async () => (await figureOf(gateway, 'age_seconds')) === 0);
  });

  test.each([
    ['that it failed', 2, 'refused', 2],
    ['that it refuses', 5, 'refused', 2],
    ['that there is no such name', 3, 'empty', 1],
  ])('stay while it says %s', async (_, code, kind, times) => {
    const fault = untilFault(gateway, kind, times);
    await names.kill();
    {
      await using refusing = await startRefusingServer(code, names.port);
      await fault;
      expect(refusing).toBeDefined();
      expect(await serving(gateway)).toBe(2);
    }
    await names.serve({ hosts: { 'shop.test': HOSTS.slice(1) } });
    await eventually(
      'it answers again',
      async () => (await figureOf(gateway, 'age_seconds')) === 0 && (await figureOf(gateway, 'held')) === 0,
    );
  });

  test('stay while nobody is there to ask', async () => {
    await names.kill();
    await untilFault(gateway, 'unreachable', 2);
    expect(await serving(gateway)).toBe(2);
  });
});

test('SRV records bring host, port and weight, and only those of the best priority', async () => {
  const own = await Promise.all([startNamed(), startNamed(), startNamed()]);
  const [one, two, spare] = own.map((instance) => instance.port);
  const records = (weight: number, last = ''): string[] => [
    `_http._tcp.shop.test,a.test,${one},10,${weight}`,
    `_http._tcp.shop.test,a.test,${two},10,10`,
    `_http._tcp.shop.test,a.test,${spare},20,10`,
    ...(last === '' ? [] : [last]),
  ];
  await using names = await NameServer.start({ hosts: { 'a.test': ['127.0.0.1'] }, services: records(10) });
  await using gateway = await startGateway(
    discoveredYaml(`{ dns: { name: _http._tcp.shop.test, type: SRV, servers: ["${names.address}"] } }`),
  );
  await untilAnsweredBy(gateway, own.slice(0, 2));
  await names.serve({
    hosts: { 'a.test': ['127.0.0.1'] },
    services: records(30, `_http._tcp.shop.test,a.test,${spare},10,20`),
  });
  await untilAnsweredBy(gateway, own);
  for (const instance of own) await instance[Symbol.asyncDispose]();
});
