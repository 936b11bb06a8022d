/**
 * Instances as the EndpointSlices of a service, asked of a stand-in that speaks the API server's list and watch: what a gateway's
 * callers notice of it. The source by itself: `discovery-kubernetes-watch.test.ts`.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { startGateway, type Gateway } from '../harness/gateway.ts';
import { KubeApi, podSlice } from '../harness/kube-api.ts';
import { eventually, freePorts } from '../harness/ports.ts';
import { ask, serviceOf } from './path-fixture.ts';
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

const HOSTS = ['127.0.0.1', '127.0.0.2', '127.0.0.3'] as const;

describe('a gateway', () => {
  let api: KubeApi;
  let gateway: Gateway;
  let fleet: NamedInstance[] = [];
  let port = 0;

  beforeAll(async () => {
    [port = 0] = await freePorts(1);
    fleet = await Promise.all(HOSTS.map(async (host) => await startNamed(host, port)));
    api = await KubeApi.start();
    api.token = 'secret-of-the-api';
    api.set('shop-1', podSlice(port, HOSTS.slice(0, 2)));
    gateway = await startGateway(
      discoveredYaml(
        `{ kubernetes: { service: shop, port: http, url: "${api.url}", token: "\${API_TOKEN}" } }`,
        'affinity: { cookie: sid }',
      ),
      { env: { API_TOKEN: api.token } },
    );
  });

  afterAll(async () => {
    await gateway[Symbol.asyncDispose]();
    await api[Symbol.asyncDispose]();
    for (const instance of fleet) await instance[Symbol.asyncDispose]();
  });

  test('serves through the endpoints, and follows them as they come and go', async () => {
    await untilAnsweredBy(gateway, fleet.slice(0, 2));
    api.set('shop-2', podSlice(port, HOSTS.slice(2)));
    await untilAnsweredBy(gateway, fleet);
    api.set('shop-2', undefined);
    await untilAnsweredBy(gateway, fleet.slice(0, 2));
    expect(api.lists).toBe(1);
  });

  test('drains a pod that terminates', async () => {
    api.set('shop-1', podSlice(port, HOSTS.slice(0, 2), [HOSTS[0]]));
    await untilAnsweredBy(gateway, fleet.slice(1, 2));
    expect((await statesOf(gateway))[`${HOSTS[0]}:${port}`]).toBe('draining');
    api.set('shop-1', podSlice(port, HOSTS.slice(0, 2)));
    await untilAnsweredBy(gateway, fleet.slice(0, 2));
  });

  test('asks nobody whom Kubernetes calls not ready, whatever our own probe says', async () => {
    const [lost, kept] = HOSTS;
    const both = podSlice(port, [lost, kept]);
    const conditions = { ready: false, serving: false, terminating: false };
    const [first, second] = both.endpoints;
    api.set('shop-1', { ...both, endpoints: [{ ...(first as object), conditions }, second] });
    await untilAnsweredBy(gateway, fleet.slice(1, 2));
    expect((await statesOf(gateway))[`${lost}:${port}`]).toBe('down');
    api.set('shop-1', both);
    await untilAnsweredBy(gateway, fleet.slice(0, 2));
  });

  test('goes on without the API server, says so, and catches up with what it missed', async () => {
    const fault = untilFault(gateway, 'unreachable', 3);
    await api.away();
    await fault;
    await eventually('it is dark', async () => (await figureOf(gateway, 'age_seconds')) > 0);
    expect(await serving(gateway)).toBe(2);
    await gateway.readyz(200);
    api.set('shop-2', podSlice(port, HOSTS.slice(2)));
    await api.back();
    await untilAnsweredBy(gateway, fleet);
    expect(await figureOf(gateway, 'age_seconds')).toBe(0);
    api.set('shop-2', undefined);
    await untilAnsweredBy(gateway, fleet.slice(0, 2));
  });

  test.each([500, 403])('goes on while the API server answers %i', async (status) => {
    const fault = untilFault(gateway, 'refused', 2);
    api.watch = status;
    api.list = status;
    api.endWatches();
    await fault;
    expect(await serving(gateway)).toBe(2);
    api.watch = 'ok';
    api.list = 'ok';
    await eventually('it answers', async () => (await figureOf(gateway, 'age_seconds')) === 0);
  });

  test('keeps everybody when the selector of the service matches nobody any more', async () => {
    const fault = untilFault(gateway, 'empty');
    api.set('shop-1', podSlice(port, []));
    await fault;
    expect(await serving(gateway)).toBe(2);
    expect(await figureOf(gateway, 'held')).toBe(2);
    api.set('shop-1', podSlice(port, HOSTS.slice(0, 2)));
    await eventually('nobody is held', async () => (await figureOf(gateway, 'held')) === 0);
  });

  test('loses no request while all pods are replaced, one by one', async () => {
    const hosts: string[] = HOSTS.slice(0, 2);
    const calling = new AbortController();
    const answers: number[] = [];
    const callers = [1, 2, 3, 4].map(async (caller) => {
      for (let turn = 0; !calling.signal.aborted; turn += 1) {
        const method = turn % 10 === 0 ? 'POST' : 'GET';
        const { status } = await ask(gateway.port, { method, path: `/${caller}/${turn}` });
        answers.push(status);
      }
    });
    try {
      for (const [index, old] of HOSTS.slice(0, 2).entries()) {
        const fresh = `127.0.0.${10 + index}`;
        const pod = await startNamed(fresh, port);
        fleet.push(pod);
        hosts.push(fresh);
        api.set('shop-1', podSlice(port, hosts));
        await eventually(`${fresh} serves`, async () => (await statesOf(gateway))[pod.id] === 'ready');
        api.set('shop-1', podSlice(port, hosts, [old]));
        await eventually(
          `${old} leaves`,
          async () => (await statesOf(gateway))[`${old}:${port}`] === 'draining',
        );
        hosts.splice(hosts.indexOf(old), 1);
        api.set('shop-1', podSlice(port, hosts));
        await eventually(`${old} has nothing left`, async () =>
          (await serviceOf(gateway, 'shop')).instances.every(
            ({ id, inFlight }) => id !== `${old}:${port}` || inFlight === 0,
          ),
        );
        await fleet.find((instance) => instance.host === old)?.[Symbol.asyncDispose]();
      }
    } finally {
      calling.abort();
      await Promise.all(callers);
    }
    expect(answers.length).toBeGreaterThan(100);
    expect(answers.filter((status) => status !== 200)).toEqual([]);
    fleet = fleet.filter(({ host }) => hosts.includes(host) || host === HOSTS[2]);
    await untilAnsweredBy(
      gateway,
      fleet.filter(({ host }) => hosts.includes(host)),
    );
  });

  test('shows its token to nobody', async () => {
    const { body } = await gateway.admin('/v1/config');
    expect(JSON.stringify(body)).toContain('"kubernetes"');
    expect(JSON.stringify(body)).not.toContain(api.token);
    expect(gateway.logs()).not.toContain(api.token);
  });
});
