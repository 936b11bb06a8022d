/**
 * The service that stands in: while a required dependency of a service is down, its routes are answered by another one, and
 * by itself again afterwards. One hop, and nothing of the other service's addresses is told.
 */
import type { ServerResponse } from 'node:http';

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { startListener } from '../harness/origin.ts';
import { eventually } from '../harness/ports.ts';
import { ask, bodyOf, expectProblem, serviceOf, untilIdle, valueOf } from './path-fixture.ts';
import type { Listening } from './path-fixture.ts';

interface Instance extends Listening {
  /** What `/ready` is answered with. */
  ready: number;
  /** Method, path and body of what was asked. */
  readonly asked: string[];
}

async function startInstance(name: string): Promise<Instance> {
  const respond = (response: ServerResponse, port: number): void => {
    const location = `http://127.0.0.1:${port}/inner/next`;
    response.writeHead(200, { location, 'content-type': 'text/plain' }).end(name);
  };
  const asked: string[] = [];
  const origin = await startListener((request, response) => {
    if (request.url === '/ready') response.writeHead(instance.ready, { 'content-length': 0 }).end();
    else {
      bodyOf(request)
        .then((body) => {
          asked.push(`${request.method} ${request.url} ${body.toString()}`);
          respond(response, origin.port);
        })
        .catch(() => response.destroy());
    }
  });
  const instance: Instance = { ...origin, ready: 200, asked };
  return instance;
}

let gateway: Gateway;
let shop: Instance;
let stock: Instance;
let plain: Instance;

beforeAll(async () => {
  shop = await startInstance('shop');
  stock = await startInstance('stock');
  plain = await startInstance('plain');
  const readiness = 'readiness: { path: /ready, interval: 200ms, timeout: 10s, rise: 1 }';
  gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
shedding: { mode: off }
services:
  shop:
    instances: [${shop.url}]
    dependsOn: [{ service: stock, mode: required }]
    onDependencyDown: { fallback: plain }
    affinity: { cookie: shop, keys: [{ id: a, secret: '${'s'.repeat(32)}' }] }
    ${readiness}
  stock: { instances: [${stock.url}], ${readiness} }
  plain: { instances: [${plain.url}], ${readiness} }
routes:
  - { path: /, service: shop }
  - { path: /public, service: shop, rewrite: /inner }
`);
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  for (const each of [shop, stock, plain]) await each[Symbol.asyncDispose]();
});

beforeEach(() => {
  for (const each of [shop, stock, plain]) each.asked.length = 0;
});

async function untilServiceIs(name: string, state: string): Promise<void> {
  await eventually(`${name} is ${state}`, async () => (await serviceOf(gateway, name)).state === state);
}

describe('a service with a fallback', () => {
  test('answers by itself while all is well', async () => {
    const answer = await ask(gateway.port, { path: '/a' });
    expect([answer.status, answer.body.toString()]).toEqual([200, 'shop']);
    expect(valueOf(answer.rawHeaders, 'set-cookie')).toMatch(/^shop=/);
    expect(plain.asked).toEqual([]);
  });

  test('is stood in for while a required dependency is down, whatever the method and on rewriting routes', async () => {
    stock.ready = 503;
    await untilServiceIs('shop', 'dependency-down');
    await eventually('the worker knows', async () => (await ask(gateway.port)).body.toString() === 'plain');
    plain.asked.length = 0;
    shop.asked.length = 0;
    const answers = [
      await ask(gateway.port, { path: '/a?b=1' }),
      await ask(gateway.port, { path: '/a', method: 'POST', body: 'whole' }),
      await ask(gateway.port, { path: '/public/x' }),
    ];
    expect(answers.map(({ status, body }) => `${status} ${body.toString()}`)).toEqual(
      Array(3).fill('200 plain'),
    );
    expect(plain.asked).toEqual(['GET /a?b=1 ', 'POST /a whole', 'GET /inner/x ']);
    expect(shop.asked).toEqual([]);
    // Neither the other service's address nor a session of the service that did not answer.
    expect(answers.map(({ rawHeaders }) => valueOf(rawHeaders, 'location'))).toEqual([
      '/inner/next',
      '/inner/next',
      '/public/next',
    ]);
    for (const { rawHeaders } of answers) expect(valueOf(rawHeaders, 'set-cookie')).toBeUndefined();
    await untilIdle(gateway, 'shop');
    await untilIdle(gateway, 'plain');
    await eventually('they count as requests of the service that answered', async () => {
      const text = String((await gateway.admin('/metrics')).body);
      return /^spillway_requests_total\{route="\/public",service="plain",[^}]*status="200"[^}]*\} 1$/m.test(
        text,
      );
    });
  });

  test('is refused with the reason of the one that stands in when that cannot answer either', async () => {
    plain.ready = 503;
    await untilServiceIs('plain', 'down');
    await eventually('the worker knows', async () => (await ask(gateway.port)).status === 503);
    expectProblem(await ask(gateway.port), 503, 'SPW_NO_READY_INSTANCE');
    expect(shop.asked).toEqual([]);
    plain.ready = 200;
    await eventually('it answers again', async () => (await ask(gateway.port)).body.toString() === 'plain');
  });

  test('answers by itself again when the dependency is back', async () => {
    stock.ready = 200;
    await eventually('it answers', async () => (await ask(gateway.port)).body.toString() === 'shop');
    plain.asked.length = 0;
    for (let turn = 0; turn < 10; turn++) expect((await ask(gateway.port)).body.toString()).toBe('shop');
    expect(plain.asked).toEqual([]);
  });
});
