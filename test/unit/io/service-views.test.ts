/** Several workers' figures as one picture: shares add up, states take the worst, a session seen twice is one. */
import { describe, expect, test } from 'vitest';
import { SessionCount } from '../../../src/affinity/session-count.ts';
import type { WorkerViews } from '../../../src/io/ipc.ts';
import { mergeFigures, oneLine, serviceView } from '../../../src/io/service-views.ts';
import { figures, states, worker } from './views.ts';

function sessions(sids: readonly string[]): string {
  const count = new SessionCount(1000);
  for (const sid of sids) count.add(sid, 0);
  return count.snapshot(0);
}

describe('the figures of several workers', () => {
  test('are added where they are shares, the largest where they are not', () => {
    const merged = mergeFigures([
      worker(
        figures({
          limit: 10,
          inFlight: 3,
          streams: 1,
          queueDepth: 2,
          baselineMs: 40,
          pressure: 0.2,
          shed: 1,
          inTime: 5,
        }),
      ),
      worker(
        figures({
          limit: 12,
          inFlight: 4,
          streams: 2,
          queueDepth: 0,
          baselineMs: 30,
          pressure: 0.7,
          slow: true,
          late: 2,
        }),
      ),
    ]);
    expect(merged.get('shop')).toEqual(
      figures({
        limit: 22,
        inFlight: 7,
        streams: 3,
        queueDepth: 2,
        baselineMs: 40,
        pressure: 0.7,
        slow: true,
        shed: 1,
        inTime: 5,
        late: 2,
      }),
    );
  });

  test('of different services stay apart, and one worker’s are its own', () => {
    const merged = mergeFigures([worker(figures(), figures({ service: 'stock', limit: 3 })), worker()]);
    expect([...merged.keys()]).toEqual(['shop', 'stock']);
    expect(merged.get('stock')?.limit).toBe(3);
    expect(mergeFigures([]).size).toBe(0);
  });

  test.each([
    [['closed', 'open'], 'open'],
    [['half-open', 'open'], 'open'],
    [['half-open', 'closed'], 'half-open'],
    [['ramping', 'half-open'], 'half-open'],
    [['closed', 'ramping', 'closed'], 'ramping'],
    [['closed', 'forced-open'], 'forced-open'],
    [['forced-closed', 'forced-closed'], 'forced-closed'],
  ])('with breakers %j show %s', (breakers, worst) => {
    const merged = mergeFigures(breakers.map((breaker) => worker(figures({ breaker }))));
    expect(merged.get('shop')?.breaker).toBe(worst);
  });

  test('have their instances joined by id, in flight added', () => {
    const one = figures({
      instances: [
        { id: 'a:1', inFlight: 2, streams: 0, sessionBits: '' },
        { id: 'b:1', inFlight: 1, streams: 0, sessionBits: '' },
      ],
    });
    const two = figures({ instances: [{ id: 'b:1', inFlight: 5, streams: 0, sessionBits: '' }] });
    const view = serviceView(
      states('shop', 'up', { 'a:1': 'ready', 'b:1': 'ready', 'c:1': 'ready' }),
      mergeFigures([worker(one), worker(two)]).get('shop'),
    );
    expect(view.instances.map(({ id, inFlight }) => [id, inFlight])).toEqual([
      ['a:1', 2],
      ['b:1', 6],
      ['c:1', 0],
    ]);
  });

  test('show the youngest that an instance said of its load, and null where nothing is fresh', () => {
    const told = (utilization: number, ageMs: number): WorkerViews =>
      worker(
        figures({
          instances: [
            { id: 'a:1', inFlight: 0, streams: 0, sessionBits: '', load: { utilization, ageMs } },
            { id: 'b:1', inFlight: 0, streams: 0, sessionBits: '' },
          ],
        }),
      );
    const shown = (...views: WorkerViews[]): unknown =>
      serviceView(
        states('shop', 'up', { 'a:1': 'ready', 'b:1': 'ready', 'c:1': 'ready' }),
        mergeFigures(views).get('shop'),
      ).instances.map(({ utilization }) => utilization);
    expect(shown(told(1.2, 900), told(0.2, 100))).toEqual([0.2, null, null]);
    expect(shown(told(0.2, 100), told(1.2, 900))).toEqual([0.2, null, null]);
    expect(shown(told(0, 9000), worker(figures({})))).toEqual([0, null, null]);
  });

  test('count a session once that two workers have seen', () => {
    const sids = ['0123456789abcdef', '123456789abcdef0', '23456789abcdef01'];
    const one = figures({
      instances: [{ id: 'a:1', inFlight: 0, streams: 0, sessionBits: sessions(sids.slice(0, 2)) }],
    });
    const two = figures({
      instances: [{ id: 'a:1', inFlight: 0, streams: 0, sessionBits: sessions(sids.slice(1)) }],
    });
    const view = serviceView(
      states('shop', 'up', { 'a:1': 'ready' }),
      mergeFigures([worker(one), worker(two)]).get('shop'),
    );
    expect(view.instances[0]?.sessions).toBe(3);
  });
});

test('a service of which no worker has told anything yet is shown all the same', () => {
  const view = serviceView(states('shop', 'unknown', { 'a:1': 'ready' }), undefined);
  expect(view).toMatchObject({
    state: 'unknown',
    shedding: { mode: 'enforce', limit: 0, inFlight: 0, queueDepth: 0 },
    breaker: { state: 'closed' },
    instances: [{ id: 'a:1', url: 'http://a:1', version: 'v1', state: 'ready', inFlight: 0, sessions: 0 }],
  });
});

describe('the line in words', () => {
  const all = [states('shop', 'up'), states('stock', 'degraded')];

  test('of a quiet gateway says that all is well', () => {
    expect(oneLine(all, new Map(), 'embedded')).toBe('SLA met on 2 of 2 services; nothing is shed.');
  });

  test.each([
    [99, 1, 2],
    [98, 2, 1],
    [0, 0, 2],
    [0, 1, 1],
  ])('counts %i in time and %i late as the SLA %i services meet', (inTime, late, meeting) => {
    const line = oneLine(all, new Map([['shop', figures({ inTime, late })]]), 'embedded');
    expect(line).toContain(`SLA met on ${meeting} of 2 services`);
  });

  test('names who sheds, who is down and a lost Redis', () => {
    const line = oneLine(
      [...all, states('cart', 'down'), states('orders', 'dependency-down')],
      new Map([['shop', figures({ shed: 3 })]]),
      'down',
    );
    expect(line).toBe(
      'SLA met on 2 of 4 services; load is shed at shop; down: cart, orders; Redis is down, limits are held locally.',
    );
  });

  test.each([
    ['open', 'SLA met on 1 of 2 services; the breaker of shop is open.'],
    ['forced-open', 'SLA met on 1 of 2 services; the breaker of shop is forced open by an operator.'],
    ['half-open', 'SLA met on 1 of 2 services; the breaker of shop is half-open.'],
    ['ramping', 'SLA met on 2 of 2 services; the breaker of shop is ramping up.'],
    ['forced-closed', 'SLA met on 2 of 2 services; nothing is shed.'],
  ])('with a breaker that is %s does not call refusals nothing', (breaker, line) => {
    expect(oneLine(all, new Map([['shop', figures({ breaker })]]), 'embedded')).toBe(line);
  });

  test('does not say that nothing is shed while a service is down', () => {
    expect(oneLine([states('shop', 'down')], new Map(), 'embedded')).toBe(
      'SLA met on 0 of 1 services; down: shop.',
    );
  });

  test('does not count a service of which no instance was ready so far as one that meets its SLA', () => {
    expect(oneLine([...all, states('found', 'unknown')], new Map(), 'embedded')).toBe(
      'SLA met on 2 of 3 services; without a ready instance so far: found.',
    );
  });
});

describe('what admission does', () => {
  test('is summed where it is a share, the worst where it is a state, and each worker’s slowdown counts', () => {
    const merged = mergeFigures([
      worker(
        figures({
          queueByRank: [1, 2, 3, 4],
          p50Ms: 80,
          p95Ms: 100,
          baselineMs: 40,
          verdict: 'enough',
          shed: 1,
        }),
      ),
      worker(
        figures({
          queueByRank: [0, 1, 0, 1],
          p50Ms: 50,
          p95Ms: 200,
          baselineMs: 45,
          verdict: 'cut',
          congested: true,
        }),
      ),
    ]).get('shop');
    const { shedding } = serviceView(states('shop', 'up'), merged, { loop: 0.25, memory: 0 });
    expect(shedding).toMatchObject({
      queueByPriority: { critical: 1, default: 3, sheddable: 3, background: 5 },
      p50Ms: 80,
      p95Ms: 200,
      baselineMs: 45,
      slowdown: 1.78,
      verdict: 'cut',
      congested: true,
      pressureBy: { loop: 0.25, memory: 0, service: 0 },
    });
    expect(shedding.limitBecause).toContain('lowered');
  });

  test.each([
    [{ limitFixed: true }, 'fixed by the configuration'],
    [{ mode: 'off' as const }, 'nothing is judged: permits are only counted'],
    [{ verdict: 'grow' as const }, 'somebody waited and answers were quick: raised'],
  ])('with %j has the words %j', (changes, words) => {
    expect(serviceView(states('shop', 'up'), figures(changes)).shedding.limitBecause).toBe(words);
  });
});
