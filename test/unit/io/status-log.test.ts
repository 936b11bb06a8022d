/** One line a change of an instance or a breaker, few at a start, at most one a second of each. */
import { beforeEach, describe, expect, test } from 'vitest';

import type { ServiceStates, WorkerViews } from '../../../src/io/ipc.ts';
import { StatusLog } from '../../../src/io/status-log.ts';
import type { InstanceState } from '../../../src/upstreams/instance-state.ts';
import { figures, states, worker } from './views.ts';

let now = 0;
let lines: Record<string, unknown>[] = [];
let log: StatusLog;

beforeEach(() => {
  now = 0;
  lines = [];
  const write =
    (level: string) =>
    (fields: unknown, message?: string): void => {
      lines.push({ level, ...(fields as object), message });
    };
  log = new StatusLog({ now: () => now, log: { info: write('info'), warn: write('warn') } });
});

function picture(instances: Readonly<Record<string, InstanceState>>, reason = ''): ServiceStates[] {
  return [states('shop', 'up', instances, reason)];
}

/** A report; without a breaker the service is not in it. */
function views(breaker?: string): WorkerViews {
  return breaker === undefined ? worker() : worker(figures({ breaker }));
}

const told = (): string[] =>
  lines.map(({ level, from, to, changes }) => {
    const many = typeof changes === 'number' ? ` x${changes}` : '';
    return `${String(level)} ${String(from)}-${String(to)}${many}`;
  });

describe('an instance', () => {
  test('that goes down is told with its name and the reason, and so is its return', () => {
    log.instances(picture({ 'a:1': 'ready', 'b:1': 'ready' }));
    lines = [];
    now = 5000;
    log.instances(picture({ 'a:1': 'down', 'b:1': 'ready' }, 'connection refused'));
    now = 9000;
    log.instances(picture({ 'a:1': 'warming', 'b:1': 'ready' }, 'slow start'));
    const names = { service: 'shop', instance: 'a:1' };
    expect(lines).toEqual([
      {
        level: 'warn',
        ...names,
        from: 'ready',
        to: 'down',
        reason: 'connection refused',
        message: 'instance is down',
      },
      {
        level: 'info',
        ...names,
        from: 'down',
        to: 'warming',
        reason: 'slow start',
        message: 'instance is warming',
      },
    ]);
  });

  test.each([
    ['ready', 'ejected', 'warn'],
    ['warming', 'unready', 'warn'],
    ['degraded', 'down', 'warn'],
    ['ready', 'draining', 'info'],
    ['draining', 'down', 'info'],
    ['draining', 'gone', 'info'],
    ['ready', 'disabled', 'info'],
  ] as const)('from %s to %s is a line of level %s', (from, to, level) => {
    log.instances(picture({ 'a:1': from }));
    lines = [];
    now = 5000;
    log.instances(picture({ 'a:1': to }));
    expect(told()).toEqual([`${level} ${from}-${to}`]);
  });

  test('that starts is one line: neither joining nor the end of its slow start is told', () => {
    log.instances(picture({ 'a:1': 'joining', 'b:1': 'joining' }));
    expect(lines).toEqual([]);
    now = 100;
    log.instances(picture({ 'a:1': 'warming', 'b:1': 'ready' }));
    now = 30_100;
    log.instances(picture({ 'a:1': 'ready', 'b:1': 'ready' }));
    expect(told()).toEqual(['info joining-warming', 'info joining-ready']);
    now = 40_000;
    log.instances(picture({ 'a:1': 'down', 'b:1': 'ready' }));
    expect(told().slice(2)).toEqual(['warn ready-down']);
  });

  test('that flaps is one line a second, which counts the changes and keeps their alarm', () => {
    log.instances(picture({ 'a:1': 'ready' }));
    lines = [];
    for (now = 2000; now < 6000; now += 100) {
      log.instances(picture({ 'a:1': now % 200 === 0 ? 'down' : 'ready' }));
      if (now % 500 === 0) log.reported('1', views());
    }
    expect(told()).toEqual([
      'warn ready-down',
      'warn down-down x10',
      'warn down-down x10',
      'warn down-down x10',
    ]);
    log.reported('1', views());
    expect(told().slice(4)).toEqual(['warn down-ready x9']);
    now = 20_000;
    log.reported('1', views());
    expect(lines).toHaveLength(5);
  });

  test('that left the picture has no line to come', () => {
    log.instances(picture({ 'a:1': 'ready' }));
    log.instances(picture({ 'a:1': 'down' }));
    log.instances(picture({}));
    now = 5000;
    log.reported('1', views());
    expect(told()).toEqual(['info joining-ready']);
  });
});

describe('a breaker', () => {
  test('is told when its worst state over the workers changes, and not with each report', () => {
    for (const [worker, breaker] of [
      ['1', 'closed'],
      ['2', 'closed'],
      ['1', 'open'],
      ['2', 'open'],
      ['1', 'half-open'],
      ['2', 'half-open'],
      ['1', 'closed'],
      ['2', 'closed'],
    ] as const) {
      now += 2000;
      log.reported(worker, views(breaker));
    }
    expect(told()).toEqual(['warn closed-open', 'info open-half-open', 'info half-open-closed']);
    expect(lines[0]).toEqual({
      level: 'warn',
      service: 'shop',
      from: 'closed',
      to: 'open',
      message: 'breaker is open',
    });
  });

  test('that an operator forces is told so', () => {
    log.reported('1', views('forced-open'));
    expect(told()).toEqual(['warn closed-forced-open']);
  });

  test('is judged without a worker that died', () => {
    log.reported('1', views('open'));
    log.reported('2', views('closed'));
    log.workerGone('1');
    now = 2000;
    log.reported('2', views('closed'));
    expect(told()).toEqual(['warn closed-open', 'info open-closed']);
  });

  test('of a service that left is forgotten', () => {
    log.reported('1', views('open'));
    log.reported('1', views());
    now = 2000;
    log.reported('1', views('closed'));
    expect(told()).toEqual(['warn closed-open']);
  });
});

describe('shedding', () => {
  const shop = (changes: Parameters<typeof figures>[0]): WorkerViews => worker(figures(changes));

  test('that begins is one alarm with the figures behind it, and so is its end, however many were shed', () => {
    log.reported('1', shop({}));
    for (let shed = 1; shed <= 50; shed++) {
      now += 1000;
      log.reported('1', shop({ shed, limit: 12, inFlight: 12, verdict: 'cut', baselineMs: 40, p50Ms: 60 }));
    }
    now += 1000;
    log.reported('1', shop({}));
    expect(told()).toEqual(['warn off-on', 'info on-off']);
    expect(lines[0]).toMatchObject({
      service: 'shop',
      limit: 12,
      inFlight: 12,
      shed: 1,
      verdict: 'cut',
      slowdown: 1.5,
      message: 'shedding is on',
    });
  });

  test('that only would have been is told as such, without alarm', () => {
    log.reported('1', shop({ wouldShed: 3, mode: 'observe' }));
    expect(told()).toEqual(['info off-observed']);
  });

  test('on and off all the time is a line a second', () => {
    for (now = 2000; now < 7000; now += 100) log.reported('1', shop({ shed: now % 200 === 0 ? 1 : 0 }));
    expect(lines.length).toBeLessThanOrEqual(6);
    expect(lines.length).toBeGreaterThanOrEqual(4);
  });
});

test('a service that turns slow by itself, and recovers, is told with its speed', () => {
  log.reported('1', worker(figures({})));
  log.reported('2', worker(figures({ slow: true, baselineMs: 300, p50Ms: 310, verdict: 'intrinsic' })));
  now = 5000;
  log.reported('2', worker(figures({})));
  expect(told()).toEqual(['warn not slow-slow', 'info slow-not slow']);
  expect(lines[0]).toMatchObject({ message: 'service is slow', baselineMs: 300, verdict: 'intrinsic' });
});

test.each(['loop', 'memory'] as const)(
  'pressure of the %s is told once as it comes and once as it goes',
  (signal) => {
    const views = (share: number): WorkerViews => ({
      ...worker(),
      pressure: { loop: 0, memory: 0, [signal]: share },
    });
    for (const share of [0, 0.1, 0.5, 0.98, 0.2, 0, 0]) {
      now += 1000;
      log.reported('1', views(share));
      log.reported('2', views(0));
    }
    expect(told()).toEqual(['warn off-on', 'info on-off']);
  },
);

describe('a mode', () => {
  const views = (mode: 'enforce' | 'observe' | 'off', modeForced = false): WorkerViews =>
    worker(figures({ mode, modeForced }));

  test('is told when all workers have it, with who asked for it', () => {
    log.reported('1', views('enforce'));
    log.reported('2', views('enforce'));
    now = 2000;
    log.reported('1', views('observe', true));
    expect(told()).toEqual([]);
    log.reported('2', views('observe', true));
    expect(told()).toEqual(['info enforce-observe']);
    expect(lines[0]).toMatchObject({ by: 'operator', message: 'shedding mode is observe' });
  });

  test('that was forced before the first report is told too', () => {
    log.reported('1', views('off', true));
    expect(told()).toEqual(['info as configured-off']);
  });

  test('as the configuration has it is no news', () => {
    log.reported('1', views('observe'));
    expect(told()).toEqual([]);
  });
});
