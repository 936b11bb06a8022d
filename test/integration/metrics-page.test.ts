import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MAX_SERIES, Meter, type MeterDump } from '../../src/io/meter.ts';
import { METRICS } from '../../src/io/metrics-table.ts';
import { MetricsPage } from '../../src/io/metrics-page.ts';
import { parseExposition, type Exposition } from './metrics-text.ts';

const ANSWER = ['/', 'shop', 'gold', 'default', '200', ''] as const;
const REFUSAL = ['/', 'shop', 'gold', 'default', '503', 'SPW_SHED_QUEUE_FULL'] as const;
const REFUSAL_LABELS = {
  route: '/',
  service: 'shop',
  tier: 'gold',
  priority: 'default',
  status: '503',
  code: 'SPW_SHED_QUEUE_FULL',
};

const isGone = (labels: readonly string[]): boolean => labels[1] === 'a:1';

/** As it crosses between processes. */
function sent(meter: Meter): MeterDump {
  return JSON.parse(JSON.stringify(meter.dump())) as MeterDump;
}

async function read(page: MetricsPage, local: Meter = new Meter()): Promise<Exposition> {
  return parseExposition(await page.page(local.dump()));
}

describe('the page', () => {
  test('names every metric of the table with help and type from the first scrape on', async () => {
    const { families } = await read(new MetricsPage());
    expect(Object.fromEntries(families)).toStrictEqual(
      Object.fromEntries(Object.entries(METRICS).map(([name, row]) => [name, row.type])),
    );
  });

  test('has no label that a caller chooses', () => {
    const CHOSEN = [
      'client',
      'key',
      'path',
      'url',
      'method',
      'host',
      'session',
      'ip',
      'address',
      'request_id',
    ];
    for (const [name, row] of Object.entries(METRICS)) {
      // The one `path` is the limiter's: lease, store, hold or fallback.
      if (name === 'spillway_limit_decisions_total') continue;
      for (const label of row.labels) expect(CHOSEN, name).not.toContain(label);
    }
  });

  test('follows the conventions: prefix, base units, _total for counters and for nothing else', () => {
    for (const [name, row] of Object.entries(METRICS)) {
      expect(name).toMatch(/^spillway_[a-z_]+$/);
      expect(name).not.toMatch(/_(ms|millis|percent)(_|$)/);
      expect(name.endsWith('_total')).toBe(row.type === 'counter');
    }
  });

  test('sums two workers and the supervisor', async () => {
    const [one, two, local] = [new Meter(), new Meter(), new Meter()];
    one.add('requests_total', ANSWER, 5);
    two.add('requests_total', ANSWER, 7);
    two.add('requests_total', REFUSAL);
    local.add('config_reloads_total', ['ok'], 2);
    one.set('in_flight', ['shop'], 3);
    two.set('in_flight', ['shop'], 4);
    const page = new MetricsPage();
    page.absorb('1', sent(one));
    page.absorb('2', sent(two));
    const found = await read(page, local);
    expect(found.value('spillway_requests_total', { status: '200' })).toBe(12);
    expect(found.value('spillway_requests_total', REFUSAL_LABELS)).toBe(1);
    expect(found.value('spillway_config_reloads_total', { result: 'ok' })).toBe(2);
    expect(found.value('spillway_in_flight', { service: 'shop' })).toBe(7);
  });

  test('shows of a state the worst and of a lag the largest', async () => {
    const [one, two] = [new Meter(), new Meter()];
    one.set('redis_up', [], 1);
    two.set('redis_up', [], 0);
    one.set('event_loop_lag_seconds', [], 0.002);
    two.set('event_loop_lag_seconds', [], 0.25);
    one.set('breaker_state', ['shop', 'closed'], 1);
    one.set('breaker_state', ['shop', 'open'], 0);
    two.set('breaker_state', ['shop', 'open'], 1);
    two.set('breaker_state', ['stock', 'closed'], 1);
    one.set('breaker_state', ['pay', 'new-word'], 1);
    one.set('breaker_state', ['cart', 'new-word'], 1);
    two.set('breaker_state', ['cart', 'closed'], 1);
    const page = new MetricsPage();
    page.absorb('1', sent(one));
    page.absorb('2', sent(two));
    const found = await read(page);
    expect(found.value('spillway_redis_up', {})).toBe(0);
    expect(found.value('spillway_event_loop_lag_seconds', {})).toBe(0.25);
    const states = (service: string) =>
      ['open', 'half-open', 'closed'].map((state) =>
        found.value('spillway_breaker_state', { service, state }),
      );
    expect(states('shop')).toStrictEqual([1, 0, 0]);
    expect(states('stock')).toStrictEqual([0, 0, 1]);
    expect(states('cart')).toStrictEqual([0, 0, 1]);
    expect(found.value('spillway_breaker_state', { service: 'pay', state: 'new-word' })).toBe(1);
  });

  test('never lets a counter fall when a worker dies and another takes its place', async () => {
    const page = new MetricsPage();
    const first = new Meter();
    first.add('requests_total', ANSWER, 100);
    first.observe('request_duration_seconds', ['/', 'shop'], 0.02);
    first.set('in_flight', ['shop'], 9);
    page.absorb('1', sent(first));
    page.retire('1');
    const second = new Meter();
    second.add('requests_total', ANSWER, 1);
    second.observe('request_duration_seconds', ['/', 'shop'], 0.02);
    page.absorb('2', sent(second));
    // The dead worker's last message arrives after its end was noticed.
    page.absorb('1', sent(first));
    page.retire('1');
    const found = await read(page);
    expect(found.value('spillway_requests_total', { status: '200' })).toBe(101);
    expect(found.value('spillway_request_duration_seconds_count', { service: 'shop' })).toBe(2);
    expect(found.value('spillway_request_duration_seconds_bucket', { service: 'shop', le: '0.025' })).toBe(2);
    expect(found.all('spillway_in_flight')).toStrictEqual([]);
  });

  test('ends the series of an instance that is gone, in the living and in what the dead left', async () => {
    const page = new MetricsPage();
    const [dead, alive] = [new Meter(), new Meter()];
    for (const meter of [dead, alive]) {
      meter.add('upstream_requests_total', ['shop', 'a:1', 'v1', '200'], 5);
      meter.add('upstream_requests_total', ['shop', 'b:1', 'v1', '200'], 6);
    }
    page.absorb('1', sent(dead));
    page.retire('1');
    page.absorb('2', sent(alive));
    // All at once: without what the dead left, the rest would look like a counter that began again.
    page.forget('upstream_requests_total', isGone);
    expect((await read(page)).all('spillway_upstream_requests_total')).toHaveLength(1);
    alive.forget('upstream_requests_total', isGone);
    page.absorb('2', sent(alive));
    const found = await read(page);
    expect(
      found.all('spillway_upstream_requests_total').map(({ labels, value }) => [labels['instance'], value]),
    ).toStrictEqual([['b:1', 12]]);
  });

  test('survives label values with quotes, backslashes and line breaks', async () => {
    const meter = new Meter();
    const route = '/a"b\\c\nd';
    meter.add('requests_total', [route, 'shop', '', 'default', '200', ''], 3);
    const found = await read(new MetricsPage(), meter);
    expect(found.value('spillway_requests_total', { route })).toBe(3);
  });

  test('a histogram counts each observation once, cumulatively, in every worker', async () => {
    const seconds = fc.array(fc.double({ min: 0, max: 40, noNaN: true }), { maxLength: 60 });
    await fc.assert(
      fc.asyncProperty(seconds, seconds, async (one, two) => {
        const meters = [one, two].map((observations) => {
          const meter = new Meter();
          const slot = meter.slot('request_duration_seconds', ['/', 'shop']);
          for (const value of observations) slot.observe(value);
          return meter;
        });
        const page = new MetricsPage();
        for (const [at, meter] of meters.entries()) page.absorb(String(at), sent(meter));
        const found = await read(page);
        const all = [...one, ...two];
        const at = (le: string) => found.value('spillway_request_duration_seconds_bucket', { le });
        for (const bound of METRICS.spillway_request_duration_seconds.buckets ?? []) {
          expect(at(String(bound))).toBe(all.filter((value) => value <= bound).length);
        }
        expect(at('+Inf')).toBe(all.length);
        expect(found.value('spillway_request_duration_seconds_count', {})).toBe(all.length);
        const sum = found.value('spillway_request_duration_seconds_sum', {}) ?? NaN;
        expect(sum).toBeCloseTo(
          all.reduce((total, value) => total + value, 0),
          6,
        );
      }),
      { numRuns: 50, seed: 3 },
    );
  });
});

describe('the meter', () => {
  test('a slot is found once and counts from then on', () => {
    const meter = new Meter();
    const slot = meter.slot('goodput_total', ['shop', 'critical']);
    slot.value += 2;
    meter.add('goodput_total', ['shop', 'critical']);
    expect(meter.slot('goodput_total', ['shop', 'critical'])).toBe(slot);
    expect(meter.dump()['spillway_goodput_total']).toStrictEqual([
      { labels: ['shop', 'critical'], value: 3 },
    ]);
  });

  test('label values never run into each other', () => {
    const meter = new Meter();
    meter.add('goodput_total', ['ab', 'c'], 1);
    meter.add('goodput_total', ['a', 'bc'], 2);
    expect(meter.dump()['spillway_goodput_total']).toHaveLength(2);
  });

  test('nonsense does not reach the figures', () => {
    const meter = new Meter();
    meter.add('retries_total', ['shop', 'ok'], 4);
    meter.add('retries_total', ['shop', 'ok'], -1);
    meter.add('retries_total', ['shop', 'ok'], NaN);
    meter.set('in_flight', ['shop'], 2);
    meter.set('in_flight', ['shop'], NaN);
    for (const value of [NaN, -1, Infinity]) meter.observe('overhead_seconds', [], value);
    const dump = meter.dump();
    expect(dump['spillway_retries_total']).toStrictEqual([{ labels: ['shop', 'ok'], value: 4 }]);
    expect(dump['spillway_in_flight']).toStrictEqual([{ labels: ['shop'], value: 2 }]);
    const buckets = METRICS.spillway_overhead_seconds.buckets?.length ?? 0;
    expect(dump['spillway_overhead_seconds']).toStrictEqual([
      { labels: [], counts: Array.from({ length: buckets + 1 }, () => 0), sum: 0 },
    ]);
  });

  test('a wrong number of labels is a fault of the code and says so', () => {
    expect(() => new Meter().slot('goodput_total', ['shop'])).toThrow('2 labels, not 1');
  });

  test('a metric never grows past its cap: what comes after shares one series', () => {
    const meter = new Meter();
    const extra = 500;
    for (let n = 0; n < MAX_SERIES + extra; n += 1) meter.add('limit_decisions_total', [`path-${n}`]);
    const series = meter.dump()['spillway_limit_decisions_total'] ?? [];
    expect(series).toHaveLength(MAX_SERIES + 1);
    expect(series.at(-1)).toStrictEqual({ labels: ['other'], value: extra });
  });
});
