/**
 * What is counted for instances that a reload takes away. The clock is the test's own; that probes find nobody at most of
 * these addresses is no part of it.
 */
import { EventEmitter } from 'node:events';
import type { RequestListener } from 'node:http';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { FleetControl } from '../../src/io/fleet-control.ts';
import { GoneSeries } from '../../src/io/gone-series.ts';
import type { ServiceStates } from '../../src/io/ipc.ts';
import { Meter } from '../../src/io/meter.ts';
import { instanceId } from '../../src/upstreams/instance-id.ts';
import { seededRandom } from '../../src/kernel/random.ts';
import { view } from '../harness/instance-view.ts';
import { loaded } from '../unit/config/load-text.ts';
import { event, startService } from './path-fixture.ts';

const MINUTE_MS = 60_000;
const A = '127.0.0.1:1';
const B = '127.0.0.1:2';
const CALM = 'readiness: { path: /ready, interval: 300s }, drain: { sessionTimeout: 1s }';

function configuration(services: string): ReturnType<typeof loaded> {
  return loaded(`listeners: [{ port: 8080 }]
services: { ${services}, other: { instances: [http://127.0.0.1:9], ${CALM} } }
routes: [{ path: /, service: other }]
`);
}

const shop = (...ids: string[]): string =>
  `shop: { instances: [${ids.map((id) => `'http://${id}'`).join(', ')}], ${CALM} }`;

const ok: RequestListener = (_, response) => {
  response.end();
};

/** Label values of the series that are left. */
function left(meter: Meter): string[] {
  return (meter.dump()['spillway_upstream_requests_total'] ?? []).map(({ labels }) =>
    labels.slice(0, 2).join(' '),
  );
}

describe('the series of instances that are gone', () => {
  const meter = new Meter();
  let clock = 0;
  let control: FleetControl;
  let told: ServiceStates[] = [];

  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'setTimeout', 'clearTimeout'] });
    clock = 0;
    told = [];
    control = new FleetControl({
      now: () => clock,
      random: seededRandom(1),
      meter,
      onStates: (states) => told.push(...states),
      onLoads: () => undefined,
      onFault: (reason) => {
        throw new Error(reason);
      },
    });
  });
  afterEach(() => {
    control.stop();
    vi.useRealTimers();
  });

  /** Lets the clock jump and every beat that is due run once. */
  function pass(ms: number): void {
    clock += ms;
    vi.advanceTimersByTime(300);
  }

  const pictured = (service: string): string[] | undefined =>
    told.findLast((each) => each.service === service)?.instances.map(({ id }) => id);

  it('are kept for ten minutes after a reload has removed the instance, and then not', () => {
    control.configure(configuration(shop(A, B)), true);
    control.configure(configuration(shop(B)), false);
    pass(2000); // its sessions' time is over: gone
    expect([control.knows('shop', A), control.knows('shop', B)]).toEqual([true, true]);
    pass(10 * MINUTE_MS - 300);
    expect(control.knows('shop', A)).toBe(true);
    pass(1000);
    expect([control.knows('shop', A), control.knows('shop', B)]).toEqual([false, true]);
    expect(pictured('shop')).toEqual([B]);
  });

  it('go on where they were when the instance is back in time', () => {
    control.configure(configuration(shop(A, B)), true);
    control.configure(configuration(shop(B)), false);
    pass(9 * MINUTE_MS);
    control.configure(configuration(shop(A, B)), false);
    pass(9 * MINUTE_MS);
    expect(control.knows('shop', A)).toBe(true);
  });

  it('of a service that a reload has removed end as late, with an empty picture', () => {
    control.configure(configuration(shop(A, B)), true);
    control.configure(configuration('else: { instances: [http://127.0.0.1:8] }'), false);
    control.forget();
    pass(9 * MINUTE_MS);
    expect([control.knows('shop', A), control.knows('shop', '127.0.0.1:7')]).toEqual([true, false]);
    expect(pictured('shop')).not.toEqual([]);
    pass(2 * MINUTE_MS);
    expect(control.knows('shop', A)).toBe(false);
    expect(pictured('shop')).toEqual([]);
    told = [];
    pass(MINUTE_MS);
    expect(pictured('shop')).toBeUndefined();
  });

  it('of a service that is back in time stay', () => {
    control.configure(configuration(shop(A)), true);
    control.configure(configuration('else: { instances: [http://127.0.0.1:8] }'), false);
    control.forget();
    pass(9 * MINUTE_MS);
    control.configure(configuration(shop(A)), false);
    control.forget();
    pass(9 * MINUTE_MS);
    expect(control.knows('shop', A)).toBe(true);
    expect(pictured('shop')).toEqual([A]);
  });

  it('end in a worker with the picture that no longer has the instance, and no others do', () => {
    const own = new Meter();
    const series = new GoneSeries(own);
    for (const [service, index] of [
      ['shop', 0],
      ['shop', 1],
      ['blog', 0],
    ] as const) {
      own.add('upstream_requests_total', [service, view(index).id, 'v1', '200'], 3);
      own.add('upstream_requests_total', [service, view(index).id, 'v1', '502']);
    }
    own.add('upstream_requests_total', ['other', 'other', 'other', 'other']);
    series.take({ service: 'shop', instances: [view(0), view(1)] });
    series.take({ service: 'blog', instances: [view(0)] });
    expect(left(own)).toHaveLength(7);
    series.take({ service: 'shop', instances: [view(1)] });
    const rest = [
      ...Array<string>(2).fill(`shop ${view(1).id}`),
      ...Array<string>(2).fill(`blog ${view(0).id}`),
      'other other',
    ];
    expect(left(own)).toEqual(rest);
    series.take({ service: 'shop', instances: [] });
    expect(left(own)).toEqual(rest.slice(2));
  });
});

it('an ejection counts again at a service that was gone meanwhile', async () => {
  await using origins = new AsyncDisposableStack();
  const [a, b] = [origins.use(await startService(ok)), origins.use(await startService(ok))];
  const meter = new Meter();
  const told = new EventEmitter();
  const control = new FleetControl({
    now: () => performance.now(),
    random: seededRandom(1),
    meter,
    onStates: (states) => {
      for (const { service, instances } of states)
        if (service === 'shop') told.emit(instances.map(({ state }) => state).join(' '));
    },
    onLoads: () => undefined,
    onFault: () => undefined,
  });
  origins.defer(() => {
    control.stop();
  });
  const services = configuration(
    `shop: { instances: [${a.url}, ${b.url}], readiness: { path: /ready, interval: 100ms } }`,
  );
  const report = { ok: 0, hard: 5, soft: 0, trailingHard: 5, callers: 7, failedCallers: 7, drains: false };
  const good = { ...report, ok: 5, hard: 0, trailingHard: 0, failedCallers: 0 };
  for (let turn = 0; turn < 2; turn++) {
    const open = event(told, turn === 0 ? 'ready ready' : 'warming warming');
    control.configure(services, turn === 0);
    await open;
    const out = event(told, turn === 0 ? 'ejected ready' : 'ejected warming');
    control.passive('shop', { [instanceId(a.url)]: report });
    const others = setInterval(() => {
      control.passive('shop', { [instanceId(b.url)]: good });
    }, 50);
    await out;
    clearInterval(others);
    control.publish();
    control.publish();
    expect(meter.dump()['spillway_ejections_total']).toEqual([
      { labels: ['shop', 'failures'], value: turn + 1 },
    ]);
    control.configure(configuration('else: { instances: [http://127.0.0.1:8] }'), false);
    control.forget();
  }
});
