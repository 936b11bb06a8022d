/**
 * How long it takes until traffic follows what is known, with the default interval of a second: the bounds of the design,
 * each measured from outside. Services share instances, so that one change of an instance is as many samples as services
 * list it, each with a probe rhythm of its own.
 */
import { Agent, get } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';

import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { seededRandom } from '../../src/kernel/random.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { startListener, startOrigin } from '../harness/origin.ts';
import type { Origin } from '../harness/origin.ts';
import { eventually } from '../harness/ports.ts';
import { serviceOf, untilState } from './path-fixture.ts';
import type { Listening } from './path-fixture.ts';

const INTERVAL_MS = 1000;
const WORK_MS = 5;
const random = seededRandom(1);

interface Said {
  readonly status: number;
  readonly code: string;
  readonly tookMs: number;
  readonly at: number;
}

/** Callers on kept connections, each at a pace; stops and gives all answers. */
class Traffic implements AsyncDisposable {
  readonly said: Said[] = [];
  readonly #agent = new Agent({ keepAlive: true });
  readonly #callers: Promise<void>[] = [];
  #isOver = false;

  constructor(port: number, paths: readonly string[], callers: number, ratePerSecond: number) {
    for (let at = 0; at < callers; at++) {
      this.#callers.push(this.#call(port, paths, at, (1000 * callers) / ratePerSecond));
    }
  }

  async #call(port: number, paths: readonly string[], first: number, gapMs: number): Promise<void> {
    let due = performance.now() + gapMs * random();
    for (let turn = first; !this.#isOver; turn++) {
      const waitMs = due - performance.now();
      if (waitMs > 0) await pause(waitMs);
      else due -= waitMs; // late: the pace is kept from here, nothing is made up for
      due += gapMs;
      this.said.push(await this.#ask(port, paths[turn % paths.length] ?? '/'));
    }
  }

  async #ask(port: number, path: string): Promise<Said> {
    const at = performance.now();
    return await new Promise<Said>((resolve) => {
      const failed = (): void => resolve({ status: 0, code: '', tookMs: performance.now() - at, at });
      const sent = get({ port, host: '127.0.0.1', path, agent: this.#agent }, (answer) => {
        let text = '';
        answer.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk;
        });
        answer.on('error', failed).on('end', () => {
          const code = /SPW_[A-Z_]+/.exec(text)?.[0] ?? '';
          resolve({ status: answer.statusCode ?? 0, code, tookMs: performance.now() - at, at });
        });
      });
      sent.on('error', failed);
    });
  }

  since(at: number): readonly Said[] {
    return this.said.filter((one) => one.at >= at);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    this.#agent.destroy(); // also what hangs at a stopped instance
    await Promise.all(this.#callers);
  }
}

function quantile(samples: readonly number[], share: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}

function names(prefix: string, count: number): readonly string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}${index}`);
}

const MANY = names('many', 9);
const HELD = names('held', 6);

interface Instance extends Listening {
  /** Its answers, not its probes, say that it drains. */
  drains: boolean;
  ready: number;
  document: string;
  status: number;
  /** When a request of this path last arrived. */
  readonly lastAt: Map<string, number>;
}

async function startInstance(port = 0): Promise<Instance> {
  const origin = await startListener((request, response) => {
    const path = request.url ?? '';
    if (path === '/ready') {
      response
        .writeHead(instance.ready, { 'content-type': 'application/health+json' })
        .end(instance.document);
      return;
    }
    instance.lastAt.set(path, performance.now());
    setTimeout(() => {
      response.writeHead(instance.status, instance.drains ? { 'x-drain': '1' } : {}).end('{}');
    }, WORK_MS);
  }, port);
  const instance: Instance = {
    ...origin,
    drains: false,
    ready: 200,
    document: '{"status":"pass"}',
    status: 200,
    lastAt: new Map(),
  };
  return instance;
}

let shop: Instance[] = [];
let stock: Instance[] = [];
let other: Instance;
let killed: Origin[] = [];
let gateway: Gateway;

beforeAll(async () => {
  shop = await Promise.all(Array.from({ length: 5 }, () => startInstance()));
  stock = await Promise.all(Array.from({ length: 3 }, () => startInstance()));
  other = await startInstance();
  killed = await Promise.all(
    Array.from({ length: 4 }, () => startOrigin({ slots: 100, meanMs: 5, sigma: 0 })),
  );
  const urls = (instances: readonly { readonly url: string }[]): string =>
    `instances: [${instances.map(({ url }) => url).join(', ')}]`;
  // Faults are told by probes and by the outlier detection alone here: neither the breaker nor shedding has a part in it.
  const common = `sla: 5s
    readiness: { path: /ready, interval: ${INTERVAL_MS}ms }
    balancing: { slowStart: 0s }
    breaker: { consecutive: 10000, minRequests: 100000 }`;
  gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 2
shedding: { mode: observe }
services:
${[...MANY.map((name) => [name, urls(shop)]), ...HELD.map((name) => [name, urls(killed)])]
  .map(([name, list]) => `  ${name}:\n    ${list}\n    ${common}`)
  .join('\n')}
  stock:
    ${urls(stock)}
    ${common}
  checkout:
    ${urls([shop[0]!, shop[1]!])}
    dependsOn: [{ service: stock, mode: required }]
    ${common}
  edge:
    ${urls([shop[2]!])}
    dependsOn: [{ service: checkout, mode: required }]
    ${common}
  firm:
    ${urls(shop)}
    dependsOn: [{ check: postgres, mode: required }]
    ${common}
  lenient:
    ${urls(shop)}
    dependsOn: [{ check: postgres, mode: required }]
    onDependencyDown: serve
    ${common}
  shared:
    ${urls([...shop, ...stock])}
    ${common}
  other:
    ${urls([other])}
    ${common}
routes:
${[...MANY, ...HELD, 'stock', 'checkout', 'edge', 'firm', 'lenient', 'shared', 'other']
  .map((name) => `  - { path: /${name}, service: ${name} }`)
  .join('\n')}
`);
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  for (const each of [...shop, ...stock, other, ...killed]) await each[Symbol.asyncDispose]();
});

async function allReady(services: readonly string[]): Promise<void> {
  await eventually(`all of ${services.join(', ')} ready`, async () => {
    for (const name of services) {
      const { instances } = await serviceOf(gateway, name);
      if (instances.some(({ state }) => state !== 'ready')) return false;
    }
    return true;
  });
}

/** When an instance stopped taking requests of each of these services, from now on. */
async function closedAfter(services: readonly string[], id: string): Promise<readonly number[]> {
  const from = performance.now();
  const after = new Map<string, number>();
  await eventually(`${id} is closed everywhere`, async () => {
    const { body } = await gateway.admin('/v1/services');
    const at = performance.now() - from;
    const all = (body as { services: Record<string, { instances: { id: string; state: string }[] }> })
      .services;
    for (const name of services) {
      const state = all[name]?.instances.find((instance) => instance.id === id)?.state ?? '';
      if (!after.has(name) && ['unready', 'down', 'ejected', 'gone'].includes(state)) after.set(name, at);
    }
    return after.size === services.length;
  });
  return [...after.values()];
}

describe('an instance that', () => {
  test('says no gets its last new request within an interval and a tenth: p99 of a hundred', async () => {
    await allReady(MANY);
    const delays: number[] = [];
    await using _traffic = new Traffic(
      gateway.port,
      MANY.map((name) => `/${name}`),
      16,
      1000,
    );
    for (let round = 0; round < 3; round++) {
      const flips = shop.slice(1).map(async (instance) => {
        await pause(INTERVAL_MS * random());
        const at = performance.now();
        instance.ready = 503;
        await pause(1.5 * INTERVAL_MS);
        for (const name of MANY) delays.push((instance.lastAt.get(`/${name}`) ?? at) - at);
        instance.ready = 200;
      });
      await Promise.all(flips);
      await allReady(MANY);
    }
    expect(delays).toHaveLength(108);
    expect(quantile(delays, 0.99)).toBeLessThanOrEqual(1.1 * INTERVAL_MS);
  });

  test('is stopped leaves within 2.5 s, one that is killed within 1.5 s', async () => {
    await allReady(HELD);
    await using _traffic = new Traffic(
      gateway.port,
      HELD.map((name) => `/${name}`),
      64,
      200,
    );
    const [stopped, dead] = killed;
    await pause(INTERVAL_MS * random());
    process.kill(stopped!.pid, 'SIGSTOP');
    const silent = await closedAfter(HELD, `127.0.0.1:${stopped!.port}`);
    process.kill(stopped!.pid, 'SIGCONT');
    await pause(INTERVAL_MS * random());
    process.kill(dead!.pid, 'SIGKILL');
    const refused = await closedAfter(HELD, `127.0.0.1:${dead!.port}`);
    expect(quantile(silent, 1)).toBeLessThanOrEqual(2500);
    expect(quantile(refused, 1)).toBeLessThanOrEqual(1500);
  });
});

describe('a required dependency that goes', () => {
  test('is told within an interval and a tenth, in milliseconds, and hurts nobody else; back with its hold and a probe', async () => {
    await allReady(['stock', 'checkout', 'edge', 'other']);
    await using load = new Traffic(gateway.port, ['/checkout', '/edge'], 20, 200);
    await using bystanders = new Traffic(gateway.port, ['/other'], 4, 10_000);
    await pause(500);
    const before = performance.now();
    await pause(2000);
    const downAt = performance.now();
    for (const instance of stock) instance.ready = 503;
    await eventually('the dependency is named', () =>
      load.since(downAt).some(({ code }) => code === 'SPW_DEPENDENCY_DOWN'),
    );
    const told = load.since(downAt).find(({ code }) => code === 'SPW_DEPENDENCY_DOWN');
    await pause(2000);
    const upAt = performance.now();
    for (const instance of stock) instance.ready = 200;
    const refused = load.since((told?.at ?? 0) + 300).filter(({ at }) => at < upAt);
    expect((await gateway.admin('/readyz')).status).toBe(200);
    expect(await serviceOf(gateway, 'edge')).toMatchObject({
      state: 'dependency-down',
      because: [{ subject: 'checkout' }, { subject: 'stock', state: 'down' }],
    });
    await eventually('it is back', () => load.since(upAt).some(({ status }) => status === 200));
    const back = load.since(upAt).find(({ status }) => status === 200);

    expect(new Set(refused.map(({ code }) => code))).toEqual(new Set(['SPW_DEPENDENCY_DOWN']));
    expect(refused.length).toBeGreaterThan(300);
    const calm = bystanders.since(before).filter(({ at }) => at < before + 2000);
    const meanwhile = bystanders.since(upAt - 2000).filter(({ at }) => at < upAt);
    expect((told?.at ?? 0) - downAt).toBeLessThanOrEqual(1.1 * INTERVAL_MS);
    // A stall of this process, which asks and answers as well, spoils one half.
    const middle = refused.length / 2;
    const halves = [refused.slice(0, middle), refused.slice(middle)].map((half) =>
      quantile(
        half.map(({ tookMs }) => tookMs),
        0.99,
      ),
    );
    expect(Math.min(...halves)).toBeLessThan(5);
    expect((back?.at ?? 0) - upAt).toBeLessThanOrEqual(2000 + 1.1 * INTERVAL_MS);
    expect(bystanders.said.every(({ status }) => status === 200)).toBe(true);
    expect(meanwhile.length).toBeGreaterThanOrEqual(0.95 * calm.length);
  });

  test('killed, all its instances at once, is told as fast: a closed port is certain', async () => {
    await allReady(['stock', 'checkout']);
    await using load = new Traffic(gateway.port, ['/checkout'], 20, 200);
    await pause(INTERVAL_MS * random());
    const downAt = performance.now();
    const ports = stock.map(({ port }) => port);
    for (const instance of stock) {
      instance.server.closeAllConnections();
      await instance.close();
    }
    await eventually('the dependency is named', () =>
      load.since(downAt).some(({ code }) => code === 'SPW_DEPENDENCY_DOWN'),
    );
    const told = load.since(downAt).find(({ code }) => code === 'SPW_DEPENDENCY_DOWN');
    await pause(1000);
    const upAt = performance.now();
    stock = await Promise.all(ports.map((port) => startInstance(port)));
    await eventually('it is back', () => load.since(upAt).some(({ status }) => status === 200));
    const back = load.since(upAt).find(({ status }) => status === 200);
    expect((told?.at ?? 0) - downAt).toBeLessThanOrEqual(1500);
    expect((back?.at ?? 0) - upAt).toBeLessThanOrEqual(3000);
  });

  test('is named by its check when most instances report it at once; who serves on without it serves on', async () => {
    await allReady(['firm', 'lenient']);
    await using load = new Traffic(gateway.port, ['/firm', '/lenient'], 8, 200);
    const checks = { postgres: [{ status: 'fail' }] };
    for (const instance of shop.slice(0, 4)) {
      instance.document = JSON.stringify({ status: 'fail', checks });
      instance.ready = 503;
    }
    await eventually('both know', async () => {
      const states = [await serviceOf(gateway, 'firm'), await serviceOf(gateway, 'lenient')];
      return states.map(({ state }) => state).join(' ') === 'dependency-down degraded';
    });
    expect((await serviceOf(gateway, 'firm')).because).toMatchObject([
      { subject: 'postgres', state: 'down', reason: expect.stringMatching(/^\d of 5 instances report it$/) },
    ]);
    await untilState(gateway, 'lenient', `127.0.0.1:${shop[0]!.port}`, 'degraded');
    const from = performance.now();
    await eventually('answers since then', () => load.since(from).length > 50);
    const said = new Set(load.since(from).map(({ status, code }) => `${status} ${code}`));
    expect(said).toEqual(new Set(['200 ', '503 SPW_DEPENDENCY_DOWN']));
    for (const instance of shop) {
      instance.ready = 200;
      instance.document = '{"status":"pass"}';
    }
    await allReady(['firm', 'lenient']);
    expect(load.said.every(({ status, code }) => status === 200 || code.length > 0)).toBe(true);
  });

  test('behind all instances of a service ejects none of them, though all their answers are 500', async () => {
    await allReady(['shared']);
    await using load = new Traffic(gateway.port, ['/shared'], 16, 500);
    await pause(2000);
    const from = performance.now();
    for (const instance of [...shop, ...stock]) instance.status = 500;
    await pause(2500);
    for (const instance of [...shop, ...stock]) instance.status = 200;
    const failed = load.since(from).filter(({ status }) => status === 500);
    await pause(1000);
    expect(failed.length).toBeGreaterThan(500);
    const { body } = await gateway.admin('/metrics');
    expect(String(body).match(/^spillway_ejections_total\{service="shared".*/gm)).toBeNull();
    const { instances } = await serviceOf(gateway, 'shared');
    expect(instances.map(({ state }) => state)).toEqual(Array(8).fill('ready'));
  });
});

test('an instance whose answers say that it drains gets no new sessions, as soon as a worker can tell the supervisor', async () => {
  await allReady(['many0']);
  const leaving = shop[4]!;
  await using load = new Traffic(gateway.port, ['/many0'], 8, 400);
  const at = performance.now();
  leaving.drains = true;
  await untilState(gateway, 'many0', `127.0.0.1:${leaving.port}`, 'draining');
  const row = (await serviceOf(gateway, 'many0')).instances.find(({ id }) => id.endsWith(`:${leaving.port}`));
  expect(row?.reason).toBe('the instance says that it drains');
  await eventually('a hundred answers', () => load.since(at).length > 100);
  expect((leaving.lastAt.get('/many0') ?? at) - at).toBeLessThan(INTERVAL_MS);
  expect(load.said.every(({ status }) => status === 200)).toBe(true);
});
