/**
 * Where traffic may go: an instance's own no, an operator's word, a dependency that is lost and failures that only
 * requests can see each take it away within about an interval, tell why, and give it back afterwards.
 */
import type { ServerResponse } from 'node:http';

import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { startListener } from '../harness/origin.ts';
import { eventually } from '../harness/ports.ts';
import { ask, expectProblem, serviceOf, untilState, valueOf } from './path-fixture.ts';
import type { Answer, InstanceRow, Listening } from './path-fixture.ts';

const INTERVAL_MS = 200;
/** So many that what waits for them is told from what does not. */
const FALL = 100;
const WORK_MS = 10;
/** By then an instance's slow answers, for which a stalled machine is to blame, keep no request from it any more. */
const FORGOTTEN_MS = 120_000;

interface Instance extends Listening {
  readonly id: string;
  /** What `/ready` and everything else is answered with. */
  ready: number;
  document: string;
  status: number;
  hits: number;
  /** Probes that were answered with no. */
  noes: number;
}

async function startInstance(): Promise<Instance> {
  const answer = (response: ServerResponse, status: number, text: string): void => {
    response.writeHead(status, {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(text),
    });
    response.end(text);
  };
  const origin = await startListener((request, response) => {
    if (request.url === '/ready') {
      if (instance.ready !== 200) instance.noes++;
      answer(response, instance.ready, instance.document);
    } else {
      instance.hits++;
      // Real work takes time; at nothing at all the balancer's choice would be noise.
      setTimeout(answer, WORK_MS, response, instance.status, `"${String(origin.port)}"`);
    }
  });
  const instance: Instance = {
    ...origin,
    id: `127.0.0.1:${origin.port}`,
    ready: 200,
    document: '{}',
    status: 200,
    hits: 0,
    noes: 0,
  };
  return instance;
}

let shop: Instance[] = [];
let stock: Instance;
let extra: Instance;
let gateway: Gateway;

beforeAll(async () => {
  shop = [await startInstance(), await startInstance(), await startInstance()];
  stock = await startInstance();
  extra = await startInstance();
  const readiness = `readiness: { path: /ready, interval: ${INTERVAL_MS}ms, timeout: 10s, rise: 1, fall: ${FALL} }
    balancing: { slowStart: 0s }`;
  gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
services:
  shop:
    instances: [${shop.map(({ url }) => url).join(', ')}]
    sla: 2s
    retry: { max: 0 }
    breaker: { consecutive: 1000, minRequests: 1000 }
    outlier: { consecutiveFailures: 5, baseEjection: 1s }
    ${readiness}
  stock:
    instances: [${stock.url}]
    ${readiness}
  extra:
    instances: [${extra.url}]
    ${readiness}
  orders:
    instances: [${shop[0]?.url ?? ''}]
    dependsOn: [{ service: stock, mode: required }, { service: extra, mode: optional }]
    ${readiness}
  billing:
    instances: [${shop[1]?.url ?? ''}]
    dependsOn: [{ service: orders, mode: required }]
    ${readiness}
routes:
  - { path: /, service: shop }
  - { path: /orders, service: orders }
  - { path: /billing, service: billing }
  - { path: /stock, service: stock }
`);
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  for (const each of [...shop, stock, extra]) await each[Symbol.asyncDispose]();
});

function instance(index: number): Instance {
  const found = shop[index];
  if (found === undefined) throw new Error(`no instance ${index}`);
  return found;
}

async function rowOf({ id }: Instance): Promise<InstanceRow | undefined> {
  return (await serviceOf(gateway, 'shop')).instances.find((row) => row.id === id);
}

/** Ten callers at once. */
async function crowd(): Promise<Answer[]> {
  return await Promise.all(Array.from({ length: 10 }, async () => await ask(gateway.port)));
}

/** Who answered `count` requests, by port. */
async function answeredBy(count: number, path = '/'): Promise<ReadonlySet<string>> {
  const ports = new Set<string>();
  for (let turn = 0; turn < count; turn++) {
    const answer = await ask(gateway.port, { path });
    expect(answer.status).toBe(200);
    ports.add(JSON.parse(String(answer.body)) as string);
  }
  return ports;
}

async function operate(service: string, id: string, command: string, body?: string): Promise<void> {
  const { status } = await gateway.admin(`/v1/services/${service}/instances/${id}/${command}`, {
    method: 'POST',
    ...(body === undefined ? {} : { body, headers: { 'content-type': 'application/json' } }),
  });
  expect(status).toBe(200);
}

describe("an instance's explicit no", () => {
  test('takes it out at once, without waiting for a second one, and its yes brings it back', async () => {
    const leaving = instance(0);
    leaving.noes = 0;
    leaving.ready = 503;
    leaving.document = '{"status":"fail","output":"warming up"}';
    await untilState(gateway, 'shop', leaving.id, 'unready');
    // One probe said it; the picture was public within a beat, not after `fall` probes.
    expect(leaving.noes).toBeLessThan(FALL);
    expect((await rowOf(leaving))?.reason).not.toBe('');
    const { hits } = leaving;
    expect(await answeredBy(40)).toEqual(new Set([String(instance(1).port), String(instance(2).port)]));
    expect(leaving.hits).toBe(hits);
    leaving.ready = 200;
    leaving.document = '{}';
    await untilState(gateway, 'shop', leaving.id, 'ready');
    await eventually(
      'it is asked again',
      async () => {
        await ask(gateway.port);
        return leaving.hits > hits;
      },
      FORGOTTEN_MS,
    );
  });

  test('of all instances is 503 SPW_NO_READY_INSTANCE, and none of them is asked', async () => {
    for (const each of shop) each.ready = 503;
    await eventually('nobody is ready', async () =>
      (await serviceOf(gateway, 'shop')).instances.every(({ state }) => state === 'unready'),
    );
    const before = shop.map(({ hits }) => hits);
    for (let turn = 0; turn < 5; turn++) expectProblem(await ask(gateway.port), 503, 'SPW_NO_READY_INSTANCE');
    expect(shop.map(({ hits }) => hits)).toEqual(before);
    // A dead service is no reason to take the gateway away.
    await gateway.readyz(200);
    for (const each of shop) each.ready = 200;
    await eventually('it serves again', async () => (await ask(gateway.port)).status === 200);
    for (const { id } of shop) await untilState(gateway, 'shop', id, 'ready');
    // The same addresses serve these two, which look at them on their own schedules.
    for (const path of ['/orders', '/billing'])
      await eventually(`${path} is served`, async () => (await ask(gateway.port, { path })).status === 200);
  });
});

describe('a required dependency that is down', () => {
  test('is 503 SPW_DEPENDENCY_DOWN with the way to its cause, along the whole chain, and comes back', async () => {
    expect((await ask(gateway.port, { path: '/orders' })).status).toBe(200);
    stock.ready = 503;
    await eventually(
      'orders are refused',
      async () => (await ask(gateway.port, { path: '/orders' })).status === 503,
    );
    expectProblem(await ask(gateway.port, { path: '/orders' }), 503, 'SPW_DEPENDENCY_DOWN');
    const orders = await serviceOf(gateway, 'orders');
    expect(orders.state).toBe('dependency-down');
    expect(orders.because.map(({ subject }) => subject)).toEqual(['stock']);
    expect(orders.because[0]?.reason).not.toBe('');
    await eventually(
      'billing is refused',
      async () => (await ask(gateway.port, { path: '/billing' })).status === 503,
    );
    expectProblem(await ask(gateway.port, { path: '/billing' }), 503, 'SPW_DEPENDENCY_DOWN');
    const billing = await serviceOf(gateway, 'billing');
    expect(billing.because.map(({ subject }) => subject)).toEqual(['orders', 'stock']);
    // Who depends on nothing goes on, with the same instances.
    expect((await ask(gateway.port)).status).toBe(200);
    stock.ready = 200;
    for (const path of ['/orders', '/billing'])
      await eventually(`${path} is served`, async () => (await ask(gateway.port, { path })).status === 200);
    expect((await serviceOf(gateway, 'orders')).state).not.toBe('dependency-down');
  });

  test('only hurts where it is required: an optional one refuses nobody', async () => {
    extra.ready = 503;
    await untilState(gateway, 'extra', extra.id, 'unready');
    expect((await ask(gateway.port, { path: '/orders' })).status).toBe(200);
    expect((await serviceOf(gateway, 'orders')).state).not.toBe('dependency-down');
    extra.ready = 200;
    await untilState(gateway, 'extra', extra.id, 'ready');
  });
});

describe("an operator's word", () => {
  test('drains, disables and enables an instance, whatever its probes say', async () => {
    const { id, port } = instance(2);
    await operate('shop', id, 'drain');
    await untilState(gateway, 'shop', id, 'draining');
    expect(await answeredBy(30)).not.toContain(String(port));
    await operate('shop', id, 'disable');
    await untilState(gateway, 'shop', id, 'disabled');
    expect(await answeredBy(30)).not.toContain(String(port));
    await operate('shop', id, 'enable');
    await untilState(gateway, 'shop', id, 'ready');
    await eventually('it is asked again', async () => (await answeredBy(5)).has(String(port)), FORGOTTEN_MS);
  });

  test('with a time to live ends by itself', async () => {
    const { id } = instance(2);
    await operate('shop', id, 'disable', '{"ttl":"4s"}');
    await untilState(gateway, 'shop', id, 'disabled');
    await untilState(gateway, 'shop', id, 'ready');
  });

  test('about nobody is 404', async () => {
    for (const path of [
      '/v1/services/none/instances/x/drain',
      '/v1/services/shop/instances/127.0.0.1:1/drain',
    ])
      expect((await gateway.admin(path, { method: 'POST' })).status).toBe(404);
  });
});

describe('an instance that fails where its probes do not look', () => {
  test('is ejected after five failures in a row, the others serve, and it is tried again later', async () => {
    const broken = instance(1);
    const ok = new Set([String(instance(0).port), String(instance(2).port)]);
    broken.status = 500;
    const before = broken.hits;
    await eventually('it is ejected', async () => {
      await crowd();
      return (await rowOf(broken))?.state === 'ejected';
    });
    expect(broken.hits - before).toBeGreaterThanOrEqual(5);
    broken.status = 200;
    const { hits } = broken;
    // As long as it is out, nobody meets it.
    for (let turn = 0; turn < 10; turn++) {
      const answers = await crowd();
      if ((await rowOf(broken))?.state !== 'ejected') break;
      expect(broken.hits).toBe(hits);
      for (const { status, body } of answers)
        expect([status, ok.has(JSON.parse(String(body)) as string)]).toEqual([200, true]);
    }
    await eventually(
      'it is trusted again',
      async () => {
        for (const { status } of await crowd()) expect(status).toBe(200);
        return (await rowOf(broken))?.state === 'ready';
      },
      60_000,
    );
    expect(broken.hits - hits).toBeGreaterThanOrEqual(3);
  });

  test('passes its 500 on as it is: an error of the service is not ours to rewrite', async () => {
    stock.status = 500;
    const answer = await ask(gateway.port, { path: '/stock' });
    expect([answer.status, valueOf(answer.rawHeaders, 'content-type')]).toEqual([500, 'application/json']);
    stock.status = 200;
  });
});
