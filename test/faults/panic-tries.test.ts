/**
 * Probes of four of five instances hang while a gateway starts, so one takes all the traffic. If the four answer requests, a
 * few safe ones clear them; if they are as silent as their probes say, hardly anybody waits for that and nobody fails.
 */
import { setTimeout as pause } from 'node:timers/promises';

import { expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { LoadJournal } from '../harness/load-journal.ts';
import type { LoadResult } from '../harness/load-statistics.ts';
import { runOpenLoop } from '../harness/open-loop.ts';
import { eventually } from '../harness/ports.ts';
import { startRollingInstance } from '../harness/rolling-instance.ts';
import type { RollingInstance } from '../harness/rolling-instance.ts';
import { statesOf } from '../integration/discovery-fixture.ts';
import { parseExposition } from '../integration/metrics-text.ts';

const WORKERS = 2;
const OPEN: ReadonlySet<string> = new Set(['warming', 'ready']);
/** The least time of a try: who answers sooner was not delayed by one. */
const TRY_MS = 50;

/** The probe of the first is answered, those of the four others hang. */
async function five(slots: number, meanMs: number): Promise<AsyncDisposable & { all: RollingInstance[] }> {
  const all: RollingInstance[] = [];
  await using stack = new AsyncDisposableStack();
  for (let index = 0; index < 5; index++) {
    const probeStatus = index === 0 ? 200 : 0;
    const settings = { drain: 'notice', slots, meanMs, sigma: 0.2, seed: index, probeStatus } as const;
    all.push(stack.use(await startRollingInstance(settings)));
  }
  const owned = stack.move();
  return { all, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

async function start(instances: readonly RollingInstance[]): Promise<Gateway> {
  const gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: ${WORKERS}
log: { access: off }
services:
  shop:
    instances: [${instances.map(({ url }) => url).join(', ')}]
    readiness: { path: /ready }
    timeout: { request: 10s }
routes: [{ path: /, service: shop }]
`);
  await eventually('one of five is open', async () => {
    const states = Object.values(await statesOf(gateway));
    return states.filter((state) => state === 'down').length === 4;
  });
  // What would count as answers to requests of before the fall.
  await pause(1000);
  return gateway;
}

async function openNow(gateway: Gateway): Promise<number> {
  return Object.values(await statesOf(gateway)).filter((state) => OPEN.has(state)).length;
}

async function tries(gateway: Gateway): Promise<number> {
  const { body } = await gateway.admin('/metrics');
  const rows = parseExposition(String(body)).all('spillway_picks_total');
  return rows.filter(({ labels }) => labels['reason'] === 'panic').reduce((sum, { value }) => sum + value, 0);
}

function load(gateway: Gateway, ratePerSecond: number, seconds: number): Run {
  const journal = new LoadJournal();
  const result = runOpenLoop({
    port: gateway.port,
    classes: [
      { name: 'get', share: 9 },
      { name: 'post', share: 1, method: 'POST', body: 'x', headers: { 'x-id': 'post' } },
    ],
    phases: [{ seconds, ratePerSecond }],
    slaMs: 250,
    timeoutMs: 20_000,
    journal,
  });
  return { result, journal };
}

interface Run {
  readonly result: Promise<LoadResult>;
  readonly journal: LoadJournal;
}

function words({ offered, served, refused, failed, statuses, failures }: LoadResult): string {
  return JSON.stringify({ offered, served, refused, failed, statuses, failures });
}

test.each([
  ['more than the one open instance can do', 600],
  ['hardly any load', 6],
])('those that answer requests come back: %s', async (_, ratePerSecond) => {
  await using instances = await five(2, 5);
  await using gateway = await start(instances.all);
  const { result } = load(gateway, ratePerSecond, 11);
  const begun = performance.now();
  await eventually(
    'half are open',
    async () => {
      return (await openNow(gateway)) >= 3;
    },
    15_000,
  );
  const seconds = (performance.now() - begun) / 1000;
  let fewest = 5;
  while (performance.now() - begun < 10_000) {
    fewest = Math.min(fewest, await openNow(gateway));
    await pause(100);
  }
  const outcome = await result;
  const late = outcome.bins.filter(({ atMs }) => atMs >= 8000).reduce((sum, bin) => sum + bin.refused, 0);
  process.stderr.write(
    `half open after ${seconds.toFixed(1)} s, then at least ${fewest}; ${await tries(gateway)} tries; ` +
      `${late} refused from 8 s on; ${words(outcome)}\n`,
  );
  // Two that come back one after the other, by two passes a second apart, each after the one before; together at a load.
  expect(seconds).toBeLessThanOrEqual(ratePerSecond > 100 ? 5 : 8);
  expect(fewest).toBeGreaterThanOrEqual(3);
  expect(outcome.failed, words(outcome)).toBe(0);
  expect(late).toBe(0);
});

test('those that are as silent as their probes say delay hardly anybody, fail nobody and get no POST', async () => {
  const SECONDS = 8;
  await using instances = await five(16, 5);
  const silent = instances.all.slice(1);
  await using gateway = await start(instances.all);
  for (const instance of silent) instance.signal('SIGSTOP');
  try {
    const { result, journal } = load(gateway, 300, SECONDS);
    const outcome = await result;
    const made = await tries(gateway);
    const took = [...journal.entries()].map(({ tookMs }) => tookMs);
    const delayed = took.filter((ms) => ms >= TRY_MS).length;
    const slowest = Math.max(...took);
    process.stderr.write(
      `${made} tries, ${delayed} of ${took.length} took ${TRY_MS} ms or more, the slowest ${slowest.toFixed(0)} ms; ${words(outcome)}\n`,
    );
    expect(outcome.failed + outcome.refused, words(outcome)).toBe(0);
    expect(made).toBeGreaterThan(SECONDS / 2);
    expect(made).toBeLessThanOrEqual(WORKERS * (SECONDS + 2));
    expect(delayed).toBeLessThanOrEqual(0.05 * took.length + WORKERS * (SECONDS + 2));
    expect(await openNow(gateway)).toBe(1);
  } finally {
    for (const instance of silent) instance.signal('SIGCONT');
  }
  for (const instance of silent) expect(await instance.executed()).toEqual(new Map());
});
