/**
 * Instances that tell of their load with the answers to probes (`endpoint-load-metrics`), behind a real gateway of two
 * workers. Their other answers tell nothing unless a test says so.
 */
import { kill } from 'node:process';

import { expect, test } from 'vitest';

import { startGateway, type Gateway } from '../harness/gateway.ts';
import { startListener } from '../harness/origin.ts';
import { eventually } from '../harness/ports.ts';
import { ask, valueOf } from './path-fixture.ts';

const FULL = 'TEXT application_utilization=1.2';
const SOME = 'TEXT application_utilization=0.2';

interface Telling {
  url: string;
  /** Requests that came. */
  answered: number;
  /** What the next probes are told; of several one after the other, again and again. */
  onProbe: readonly string[];
  onAnswer: string;
  /** How long its answers take. */
  delayMs: number;
  probes: number;
  /** When a probe was last told something. */
  toldAt: number;
}

async function startTelling(stack: AsyncDisposableStack, ...onProbe: string[]): Promise<Telling> {
  const telling: Telling = { url: '', answered: 0, onProbe, onAnswer: '', delayMs: 0, probes: 0, toldAt: 0 };
  const listening = stack.use(
    await startListener(({ url }, response) => {
      let report = telling.onAnswer;
      if (url === '/ready') {
        report = telling.onProbe[telling.probes++ % telling.onProbe.length] ?? '';
        if (report !== '') telling.toldAt = performance.now();
      } else telling.answered++;
      response.writeHead(200, report === '' ? {} : { 'endpoint-load-metrics': report });
      setTimeout(() => response.end(), url === '/ready' ? 0 : telling.delayMs);
    }),
  );
  telling.url = listening.url;
  return telling;
}

async function startShop(
  stack: AsyncDisposableStack,
  instances: readonly Telling[],
  interval: string,
): Promise<Gateway> {
  return stack.use(
    await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 2
services:
  shop:
    instances: [${instances.map(({ url }) => `"${url}"`).join(', ')}]
    readiness: { path: /ready, interval: ${interval}, timeout: 1s }
routes: [{ path: /, service: shop }]
`),
  );
}

/** Sends requests, a connection each; returns the id of the last. */
async function askTimes(gateway: Gateway, count: number): Promise<string> {
  let id = '';
  for (let n = 0; n < count; n++) {
    const { status, rawHeaders } = await ask(gateway.port, { path: '/item' });
    expect(status).toBe(200);
    id = valueOf(rawHeaders, 'x-request-id') ?? '';
  }
  return id;
}

/** Together, so that the balancer needs all instances: one by one the slower of two is asked by few. */
async function askTogether(gateway: Gateway, count: number): Promise<void> {
  await Promise.all(Array.from({ length: count }, async () => await askTimes(gateway, 1)));
}

interface Shop {
  readonly instances: readonly {
    readonly id: string;
    readonly state: string;
    readonly utilization: number | null;
  }[];
  readonly workers: readonly { readonly pid: number; readonly total: { readonly answered: number } }[];
}

async function shopOf(gateway: Gateway): Promise<Shop> {
  const { body } = await gateway.admin('/v1/services?workers');
  return (body as { services: { shop: Shop } }).services.shop;
}

/** What `/v1/services` says of their load, in the order of the configuration. */
async function shown(gateway: Gateway): Promise<unknown> {
  return (await shopOf(gateway)).instances.map(({ utilization }) => utilization);
}

/** Sends requests until each worker has answered at least `each`. */
async function askBoth(gateway: Gateway, each: number): Promise<string> {
  for (let rounds = 0; rounds < 40; rounds++) {
    const id = await askTimes(gateway, each);
    const { workers } = await shopOf(gateway);
    if (workers.length === 2 && workers.every(({ total }) => total.answered >= each)) return id;
  }
  throw new Error('one worker gets no requests');
}

async function untilAsked(gateway: Gateway, telling: Telling): Promise<void> {
  const { answered } = telling;
  await eventually('it gets requests', async () => {
    await askTimes(gateway, 4);
    return telling.answered > answered;
  });
}

test('who tells a probe that he is full is asked by no worker, before any answer said so, and again when he tells better', async () => {
  await using stack = new AsyncDisposableStack();
  const [full, other] = [await startTelling(stack, FULL), await startTelling(stack, SOME)];
  const gateway = await startShop(stack, [full, other], '1s');
  const id = await askBoth(gateway, 40);
  expect(full.answered).toBe(0);
  expect(await shown(gateway)).toEqual([1.2, 0.2]);
  const { body } = await gateway.admin(`/v1/explain/${id}`);
  expect(body).toMatchObject({ instance: new URL(other.url).host, pick: 'load' });

  // Longer than a report lasts: probes go on telling, though nobody asks it.
  const { probes } = full;
  await eventually('eleven more probes', () => full.probes >= probes + 11, 30_000);
  await askTimes(gateway, 60);
  expect(full.answered).toBe(0);

  full.onProbe = [SOME];
  const changedAt = performance.now();
  await untilAsked(gateway, full);
  expect(performance.now() - changedAt).toBeLessThan(4000); // one interval of 1 s and a tenth, and room
  expect(await shown(gateway)).toEqual([0.2, 0.2]);
});

test('of an answer and a probe the younger counts', async () => {
  await using stack = new AsyncDisposableStack();
  const [first, second] = [await startTelling(stack, SOME), await startTelling(stack, SOME)];
  const gateway = await startShop(stack, [first, second], '2s');
  first.onAnswer = FULL;
  // So that who asks one by one asks the first whenever it is open.
  second.delayMs = 20;
  const startedAt = performance.now();
  // An answer closes it in its worker, until the next probe opens it: far sooner than in ten seconds.
  for (let opened = 0; opened < 3; opened++) {
    await untilAsked(gateway, first);
    await askTimes(gateway, 60);
  }
  expect(performance.now() - startedAt).toBeLessThan(9000);
  expect(first.answered).toBeLessThanOrEqual(2 * first.probes);

  // The other way round: what an answer said is over with a probe that is full.
  first.onAnswer = SOME;
  first.onProbe = [FULL];
  const { probes } = first;
  await eventually('two more probes', () => first.probes >= probes + 2, 30_000);
  await eventually(
    'it is known to be full',
    async () => (await shopOf(gateway)).instances[0]?.utilization === 1.2,
  );
  const { answered } = first;
  await askTimes(gateway, 60);
  expect(first.answered).toBe(answered);
});

test('a worker that starts knows of it at once; ten seconds after the last report nobody does', async () => {
  await using stack = new AsyncDisposableStack();
  const [full, other] = [await startTelling(stack, FULL), await startTelling(stack, SOME)];
  const gateway = await startShop(stack, [full, other], '60s');
  const { workers: before } = await shopOf(gateway);
  kill(before[0]?.pid ?? 0, 'SIGKILL');
  await eventually('another worker answers', async () => {
    const { workers } = await shopOf(gateway);
    return workers.length === 2 && workers.every(({ pid }) => pid !== before[0]?.pid);
  });
  await gateway.readyz(200);
  await askBoth(gateway, 20);
  const inTime = performance.now() - full.toldAt < 9500;
  expect([inTime, full.answered, full.probes]).toEqual([true, 0, 1]);

  await untilAsked(gateway, full);
  expect(performance.now() - full.toldAt).toBeGreaterThan(9900);
  expect(full.probes).toBe(1);
  await eventually('nothing is shown', async () => JSON.stringify(await shown(gateway)) === '[null,null]');
});

test('a field that is none says nothing and harms nothing', async () => {
  await using stack = new AsyncDisposableStack();
  const reports = [
    'TEXT application_utilization=-1.5',
    'TEXT application_utilization=NaN',
    'TEXT application_utilization=Infinity',
    'TEXT application_utilization',
    'JSON {"application_utilization":',
    'JSON [2]',
    'BIN CgQIAg==',
    `TEXT application_utilization=1.2, pad=${'9'.repeat(8000)}`,
  ];
  const [odd, other] = [await startTelling(stack, ...reports), await startTelling(stack, '')];
  const gateway = await startShop(stack, [odd, other], '250ms');
  await eventually('all were told', () => odd.probes > reports.length, 60_000);
  await askTogether(gateway, 60);
  expect(odd.answered).toBeGreaterThan(10);
  const { instances } = await shopOf(gateway);
  expect(instances.map(({ state, utilization }) => [state, utilization])).toEqual([
    ['ready', null],
    ['ready', null],
  ]);
});
