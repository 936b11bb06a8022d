/**
 * What an operator sees of shedding: limit and why it is what it is, latency against the baseline, queue, pressure by
 * signal, how workers share a service, and of every refusal its reason with the figures behind it. And what he sees when
 * a controller fails: the last good limit, and one line.
 */
import type { ServerResponse } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import type { ServiceView } from '../../src/io/admin-port.ts';
import { ERRORS } from '../../src/kernel/errors.ts';
import { PROJECT_ROOT, startGateway, type Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { sabotage } from './control-fixture.ts';
import { parseExposition, type Exposition } from './metrics-text.ts';
import { ask, startService, untilIdle, valueOf, type Answer, type Listening } from './path-fixture.ts';

let origin: Listening;
let held: ServerResponse[] = [];

beforeAll(async () => {
  origin = await startService((request, response) => {
    if (request.url === '/hold') held.push(response);
    else if (request.url === '/fail') response.writeHead(500).end();
    else if (request.url === '/slow') void pause(120).then(() => response.end('late'));
    else void pause(20).then(() => response.end('ok'));
  });
});
afterAll(async () => {
  await origin[Symbol.asyncDispose]();
});
beforeEach(() => {
  held = [];
});

interface Shared extends ServiceView {
  readonly workers: NonNullable<ServiceView['workers']>;
}

async function serviceOf(gateway: Gateway, name = 'shop'): Promise<Shared> {
  const { body } = await gateway.admin('/v1/services?workers');
  const view = (body as { services: Record<string, Shared> }).services[name];
  if (view === undefined) throw new Error(`no service ${name}`);
  return view;
}

async function metricsOf(gateway: Gateway): Promise<Exposition> {
  return parseExposition(String((await gateway.admin('/metrics')).body));
}

interface Explained {
  readonly code: string;
  readonly reason: string;
  readonly status: number;
  readonly shedding?: Readonly<Record<string, unknown>>;
}

async function explained(gateway: Gateway, { rawHeaders }: Answer): Promise<Explained> {
  const id = valueOf(rawHeaders, 'x-request-id') ?? '';
  const { status, body } = await gateway.admin(`/v1/explain/${id}`);
  expect(status).toBe(200);
  return body as Explained;
}

const shop = (text: string): string =>
  `shop: { instances: [${origin.url}], readiness: { path: /ready, interval: 600s, timeout: 10s }, ${text} }`;

const config = (services: string, more = '', routes = '{ path: /, service: shop }'): string => `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
log: { access: off }
services: { ${services} }
routes: [${routes}]
${more.includes('workers:') ? '' : 'workers: 1'}
${more}
`;

describe('a service', () => {
  test('shows its limit, why it is what it is, and its latency against the baseline', async () => {
    await using gateway = await startGateway(config(shop('sla: 2s')));
    const before = await serviceOf(gateway);
    expect(before.shedding).toMatchObject({ limit: 20, verdict: 'cold', baselineMs: 0, slowdown: 0 });
    expect(before.shedding.limitBecause).toContain('begins with');
    // Forty at a time at a limit of 20: somebody waits, a window closes, the service is found quick.
    const until = performance.now() + 1500;
    const caller = async (): Promise<void> => {
      while (performance.now() < until) expect((await ask(gateway.port)).status).toBe(200);
    };
    await Promise.all(Array.from({ length: 40 }, caller));
    const { shedding } = await serviceOf(gateway);
    expect(shedding.limit).toBeGreaterThan(20);
    expect(shedding.verdict).not.toBe('cold');
    expect(shedding.baselineMs).toBeGreaterThan(15);
    expect(shedding.p50Ms).toBeGreaterThan(15);
    expect(shedding.p95Ms).toBeGreaterThanOrEqual(shedding.p50Ms);
    expect(shedding.slowdown).toBeCloseTo(shedding.p50Ms / shedding.baselineMs, 1);
    expect(shedding.queueWaitMs).toBeGreaterThan(0);
    const found = await metricsOf(gateway);
    const service = 'shop';
    // A window may close between the two looks.
    const { baselineMs } = (await serviceOf(gateway)).shedding;
    const baseline = found.value('spillway_latency_baseline_seconds', { service }) ?? 0;
    expect((baseline * 1000) / baselineMs).toBeCloseTo(1, 0);
    const verdicts = found
      .all('spillway_concurrency_verdict')
      .filter(({ labels }) => labels['service'] === service);
    expect(verdicts.filter(({ value }) => value === 1)).toHaveLength(1);
    for (const quantile of ['0.5', '0.95'])
      expect(found.value('spillway_latency_window_seconds', { service, quantile })).toBeGreaterThan(0.01);
    expect(found.value('spillway_slowdown_ratio', { service })).toBeGreaterThan(0.5);
    for (const signal of ['loop', 'memory', 'service'])
      expect(found.value('spillway_pressure_ratio', { signal })).toBeLessThanOrEqual(1);
  });

  test('with a fixed limit says so, and shows who waits by priority and the share that is refused', async () => {
    const clients =
      'clients: { keys: [{ key: idle, client: idle, tier: idle }, { key: free, client: free, tier: free }] }\n' +
      'tiers: { idle: { priority: background }, free: { priority: sheddable } }';
    const text = shop('sla: 60s, timeout: { request: 60s }, shedding: { limit: 1, queue: 3 }');
    await using gateway = await startGateway(config(text, clients));
    const answers = ['', '', 'idle', 'free'].map((key) =>
      ask(gateway.port, { path: '/hold', headers: key === '' ? {} : { 'x-api-key': key } }),
    );
    await eventually('three wait', async () => (await serviceOf(gateway)).shedding.queueDepth === 3);
    expect((await ask(gateway.port, { headers: { 'x-api-key': 'idle' } })).status).toBe(503);
    await eventually('a second has passed', async () => (await serviceOf(gateway)).shedding.pressure > 0);
    const { shedding } = await serviceOf(gateway);
    expect(shedding).toMatchObject({
      limit: 1,
      limitBecause: 'fixed by the configuration',
      inFlight: 1,
      queueByPriority: { critical: 0, default: 1, sheddable: 1, background: 1 },
      lastTenSeconds: { shed: 1 },
      pressureBy: { loop: 0, memory: 0 },
    });
    expect(shedding.pressureBy.service).toBe(shedding.pressure);
    const [line] = await gateway.process.waitForLine(/^.*"msg":"shedding is on".*$/m);
    expect(JSON.parse(line)).toMatchObject({ level: 40, service: 'shop', from: 'off', to: 'on', limit: 1 });
    for (let index = 0; index < 4; index++) {
      await eventually('the next is at the instance', () => held.length > index);
      held[index]?.end();
    }
    for (const { status } of await Promise.all(answers)) expect(status).toBe(200);
  });

  test('shows how two workers share it: their parts add up', async () => {
    await using gateway = await startGateway(config(shop('sla: 60s, shedding: { limit: 6 }'), 'workers: 2'));
    const answers = Array.from({ length: 6 }, () => ask(gateway.port, { path: '/hold' }));
    const there = ({ shedding: { inFlight, queueDepth } }: Pick<ServiceView, 'shedding'>): number =>
      inFlight + queueDepth;
    await eventually('all are there', async () => there(await serviceOf(gateway)) === 6);
    const { shedding, workers } = await serviceOf(gateway);
    expect(new Set(workers.map(({ pid }) => pid))).toEqual(new Set(gateway.workerPids()));
    for (const { limit } of workers) expect(limit).toBe(3);
    expect(shedding.limit).toBe(6);
    const sum = (of: (each: (typeof workers)[number]) => number): number =>
      workers.reduce((total, each) => total + of(each), 0);
    expect(sum(({ inFlight, queueDepth }) => inFlight + queueDepth)).toBe(6);
    // Whoever waits comes to the instance when another has gone.
    let ended = 0;
    await eventually('all are answered', () => {
      for (; ended < held.length; ended++) held[ended]?.end();
      return ended === 6;
    });
    for (const { status } of await Promise.all(answers)) expect(status).toBe(200);
    await untilIdle(gateway, 'shop');
    const after = await serviceOf(gateway);
    expect(after.shedding.total.answered).toBe(6);
    expect(after.workers.reduce((total, each) => total + each.total.answered, 0)).toBe(6);
    const { body } = await gateway.admin('/v1/services');
    expect(body).not.toHaveProperty('services.shop.workers');
  });
});

describe('a refusal', () => {
  let gateway: Gateway;
  /** One permit, taken; two places to wait. */
  const text = 'timeout: { request: 3s }, shedding: { limit: 1';
  beforeAll(async () => {
    const named = (name: string, more: string): string => shop(more).replace('shop:', `${name}:`);
    gateway = await startGateway(
      config(
        [
          shop(`sla: 60s, ${text}, queue: 2 }`),
          'none: { instances: ["http://127.0.0.1:1"], readiness: { path: /ready, interval: 200ms } }',
          named('full', `sla: 60s, ${text}, queue: 0 }`),
          named('quick', `sla: 90ms, ${text}, queue: 5 }`),
          named('broken', 'sla: 60s, breaker: { consecutive: 2, open: 60s }'),
          named('shaky', 'sla: 60s'),
        ].join(', '),
        '',
        [
          '{ path: /, service: shop, methods: [GET] }',
          '{ path: /none, service: none }',
          '{ path: /full, service: full, rewrite: / }',
          '{ path: /quick, service: quick, rewrite: / }',
          '{ path: /broken, service: broken, rewrite: / }',
          '{ path: /limited, service: shaky, rewrite: /, limits: { perClient: { rate: 1/d, burst: 1 } } }',
        ].join(', '),
      ),
    );
  });
  afterAll(async () => {
    await gateway[Symbol.asyncDispose]();
  });

  /** Takes a permit, and keeps it until `held[0]` is ended. A machine that stood still has the front gate refuse: asked again. */
  async function takePermit(path: string): Promise<{ readonly answered: Promise<Answer> }> {
    for (;;) {
      let early: Answer | undefined;
      const answered = ask(gateway.port, { path }).then((answer) => (early = answer));
      await eventually('the permit is taken, or not', () => held.length === 1 || early !== undefined);
      if (held.length === 1) return { answered };
      const { reason } = await explained(gateway, await answered);
      expect(reason, `of ${path}, which was to be held`).toBe('event loop or memory of the gateway');
    }
  }

  test('for want of a permit tells limit, in flight and queue as they stood', async () => {
    const first = await takePermit('/full/hold');
    const refused = await ask(gateway.port, { path: '/full/x' });
    held[0]?.end();
    await first.answered;
    const told = await explained(gateway, refused);
    expect(told).toMatchObject({
      code: 'SPW_SHED_CONCURRENCY',
      reason: 'no permit is free and nobody may wait',
      shedding: {
        code: 'SPW_SHED_CONCURRENCY',
        enforced: true,
        slaMs: 60_000,
        waitedMs: expect.closeTo(0, -1) as unknown,
        limit: 1,
        inFlight: 1,
        queueDepth: 0,
        verdict: 'cold',
        pressure: { loop: 0, memory: 0, service: expect.any(Number) as unknown },
      },
    });
  });

  test('by a full queue tells how many wait', async () => {
    const answers = [1, 2, 3].map(() => ask(gateway.port, { path: '/hold' }));
    await eventually('two wait', async () => (await serviceOf(gateway)).shedding.queueDepth === 2);
    const refused = await ask(gateway.port, { path: '/hold' });
    const told = await explained(gateway, refused);
    expect(told).toMatchObject({
      code: 'SPW_SHED_QUEUE_FULL',
      reason: 'the queue is full',
      shedding: { limit: 1, inFlight: 1, queueDepth: 2 },
    });
    for (let index = 0; index < 3; index++) {
      await eventually('the next is at the instance', () => held.length > index);
      held[index]?.end();
    }
    await Promise.all(answers);
  });

  test('after a wait tells how long it was', async () => {
    const first = await takePermit('/quick/hold');
    const refused = await ask(gateway.port, { path: '/quick/x' });
    held[0]?.end();
    await first.answered;
    const told = await explained(gateway, refused);
    expect(told).toMatchObject({ code: 'SPW_SHED_QUEUE_TIMEOUT', reason: 'waited too long' });
    expect(told.shedding?.['waitedMs']).toBeGreaterThan(15);
    expect(told.shedding?.['waitedMs']).toBeLessThan(1000);
    expect(told.shedding).toMatchObject({ slaMs: 90, limit: 1, inFlight: 1 });
  });

  test('by an open breaker tells for how long, and after what', async () => {
    for (let times = 0; times < 2; times++) await ask(gateway.port, { path: '/broken/fail' });
    const told = await explained(gateway, await ask(gateway.port, { path: '/broken/x' }));
    expect(told.code).toBe('SPW_CIRCUIT_OPEN');
    expect(told.reason).toMatch(
      /^the breaker is open for \d+\.\d s more, after failures in a row, opened 1 times$/,
    );
    expect(told.shedding).toBeUndefined();
  });

  test('for want of a ready instance tells the states of those there are', async () => {
    // In panic the silent one is tried; a port that refuses is not.
    const told = await explained(gateway, await ask(gateway.port, { path: '/none' }));
    expect(told.code).toBe('SPW_NO_READY_INSTANCE');
    expect(told.reason).toBe('no instance takes new requests: 1 down');
  });

  test.each([
    ['/x', { method: 'DELETE' }, 'SPW_METHOD_NOT_ALLOWED'],
    ['/x', { headers: { 'x-api-key': 'nobody' } }, 'SPW_UNKNOWN_KEY'],
  ])('of %s %j has the words of its code', async (path, asked, code) => {
    const told = await explained(gateway, await ask(gateway.port, { path, ...asked }));
    expect(told).toMatchObject({ code, reason: ERRORS[code as keyof typeof ERRORS].detail });
  });

  test('by a limit names it, and is no deficit', async () => {
    await ask(gateway.port, { path: '/limited/x' });
    const told = await explained(gateway, await ask(gateway.port, { path: '/limited/x' }));
    expect(told).toMatchObject({ code: 'SPW_RATE_ROUTE', status: 429 });
    expect(told.reason).toMatch(/^limit /);
    const found = await metricsOf(gateway);
    expect(found.value('spillway_goodput_deficit_total', { service: 'shaky' })).toBeUndefined();
    const of = (name: string, service: string): number =>
      found.value(name, { service, priority: 'default' }) ?? 0;
    // What was shed is one; so are the two 500s and the request that its breaker refused.
    expect(of('spillway_goodput_deficit_total', 'full')).toBe(1);
    expect(of('spillway_goodput_deficit_total', 'broken')).toBe(3);
    expect(of('spillway_goodput_total', 'full')).toBe(1);
  });

  test('of a flood is told too: a hundred a second whole, the others without who asked, and no served one is lost', async () => {
    const first = await takePermit('/full/hold');
    const served = await ask(gateway.port, { path: '/x' });
    const flood: Answer[] = [];
    while (flood.length < 6000) {
      const path = '/full/x';
      flood.push(...(await Promise.all(Array.from({ length: 50 }, () => ask(gateway.port, { path })))));
    }
    held[0]?.end();
    await first.answered;
    expect(await explained(gateway, served)).toMatchObject({ code: '', service: 'shop', path: '/x' });
    const told = await Promise.all(
      flood.filter((_, index) => index % 200 === 0).map((answer) => explained(gateway, answer)),
    );
    for (const each of told) {
      // A busy machine may make the front gate's loop late: that is a shed too, and no less explained.
      expect(each.code).toMatch(/^SPW_SHED_/);
      expect(each.reason).not.toBe('');
      expect(each.shedding).toMatchObject({ code: each.code, limit: 1, inFlight: 1 });
    }
    expect(told.filter((each) => 'note' in each).length).toBeGreaterThan(20);
  });

  test('is told by the command line with its figures', async () => {
    const first = await takePermit('/full/hold');
    const { rawHeaders } = await ask(gateway.port, { path: '/full/x' });
    held[0]?.end();
    await first.answered;
    const { body } = await gateway.admin(`/v1/explain/${valueOf(rawHeaders, 'x-request-id') ?? ''}`);
    expect(JSON.stringify(body)).not.toMatch(/api-key|authorization|cookie/i);
    expect(body).toHaveProperty('shedding.inFlight', 1);
  });
});

describe('an admission that throws', () => {
  test('keeps its last good limit, disturbs no other, and has one line', async () => {
    const governor = pathToFileURL(`${PROJECT_ROOT}/src/shedding/governor.ts`).href;
    // One service alone has a limit of seven.
    await using broken = await sabotage(`
if (isWorker) {
  const { Governor } = await import(${JSON.stringify(governor)});
  const { tick } = Governor.prototype;
  Governor.prototype.tick = function (now) {
    if (this.limit === 7) throw new Error('planted in the governor');
    return tick.call(this, now);
  };
}`);
    const services = `${shop('shedding: { limit: 7 }')}, ${shop('sla: 100ms, shedding: { limit: 1, queue: 5 }').replace('shop:', 'other:')}`;
    await using gateway = await startGateway(
      config(services, '', '{ path: /, service: shop }, { path: /other, service: other, rewrite: / }'),
      { env: broken.env },
    );
    const pids = gateway.workerPids();
    const faults = async (): Promise<number> =>
      (await metricsOf(gateway)).value('spillway_controller_faults_total', { service: 'shop' }) ?? 0;
    await eventually('it has failed for a while', async () => (await faults()) > 200);
    expect((await serviceOf(gateway)).shedding.limit).toBe(7);
    for (let times = 0; times < 20; times++) expect((await ask(gateway.port)).status).toBe(200);
    // The neighbour's queue is still swept: nobody waits there for ever.
    const first = ask(gateway.port, { path: '/other/hold' });
    await eventually('its permit is taken', () => held.length === 1);
    expect((await explained(gateway, await ask(gateway.port, { path: '/other/x' }))).code).toBe(
      'SPW_SHED_QUEUE_TIMEOUT',
    );
    held[0]?.end();
    await first;
    expect(gateway.workerPids()).toEqual(pids);
    expect(gateway.logs().match(/planted in the governor/g)).toHaveLength(1);
    const [line] = await gateway.process.waitForLine(/^.*"msg":"admission failed.*$/m);
    expect(JSON.parse(line)).toMatchObject({ level: 50, service: 'shop', faults: 1 });
  });
});
