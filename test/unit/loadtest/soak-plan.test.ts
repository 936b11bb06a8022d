import { describe, expect, test } from 'vitest';

import { loggedFaults } from '../../../loadtest/soak/log-faults.ts';
import { fewest, kindOf } from '../../../loadtest/soak/process-figures.ts';
import { soakPlanFrom } from '../../../loadtest/soak/run.ts';
import { timeline } from '../../../loadtest/soak/timeline.ts';

function moments(minutes: number, what: string): number[] {
  return timeline(minutes, 3, 5)
    .filter((event) => event.what === what)
    .map(({ atMs }) => atMs);
}

describe('the timeline', () => {
  test('twenty minutes hold what the design asks for', () => {
    expect(moments(20, 'reload')).toHaveLength(119);
    expect(moments(20, 'kill-instance')).toHaveLength(79);
    expect(moments(20, 'redis-away')).toHaveLength(4);
    expect(moments(20, 'certificate')).toHaveLength(20);
    expect(moments(20, 'kill-worker')).toHaveLength(1);
    const away = timeline(20, 3, 5).filter((event) => event.what === 'redis-away');
    expect(away.map(({ forMs, how }) => [forMs, how])).toEqual([
      [30_000, 'stopped'],
      [30_000, 'killed'],
      [30_000, 'stopped'],
      [30_000, 'killed'],
    ]);
  });

  test.each([1, 2, 5, 20, 60])(
    '%d minutes bring every kind of fault, in order and before the end',
    (minutes) => {
      const events = timeline(minutes, 3, 5);
      const kinds = ['reload', 'kill-instance', 'redis-away', 'certificate', 'kill-worker'];
      expect(new Set(events.map(({ what }) => what))).toEqual(new Set(kinds));
      expect(events.toSorted((a, b) => a.atMs - b.atMs)).toEqual(events);
      for (const event of events) {
        const overMs = event.atMs + ('forMs' in event ? event.forMs : 0);
        expect(overMs).toBeLessThanOrEqual(minutes * 60_000);
      }
    },
  );

  test('every instance is killed, and every variant of the file is loaded', () => {
    const events = timeline(2, 3, 5);
    expect(new Set(events.flatMap((event) => (event.what === 'kill-instance' ? [event.index] : [])))).toEqual(
      new Set([0, 1, 2]),
    );
    expect(new Set(events.flatMap((event) => (event.what === 'reload' ? [event.variant] : [])))).toEqual(
      new Set([0, 1, 2, 3, 4]),
    );
  });
});

describe('the words of a soak', () => {
  test('without a word it takes twenty minutes', () => {
    expect(soakPlanFrom([])).toMatchObject({ minutes: 20, seed: 1 });
    expect(soakPlanFrom(['--minutes', '2', '--rate', '350'])).toMatchObject({
      minutes: 2,
      ratePerSecond: 350,
    });
  });

  test.each([
    [['--minutes', '0'], '--minutes'],
    [['--rate', 'fast'], '--rate'],
    [['--seed', '1.5'], '--seed'],
    [['--long'], 'long'],
    [['surge'], 'surge'],
  ])('%j is not understood, and the answer says why', (args, why) => {
    expect(soakPlanFrom(args)).toContain(why);
  });
});

describe('descriptors', () => {
  const states = new Map([['12', 'close-wait']]);
  test.each([
    ['socket:[12]', 'tcp close-wait'],
    ['socket:[13]', 'other socket'],
    ['pipe:[5]', 'pipe'],
    ['anon_inode:[eventpoll]', 'eventpoll'],
    ['anon_inode:[io_uring]', 'io_uring'],
    ['/dev/null', 'file'],
  ])('%s is a %s', (link, kind) => {
    expect(kindOf(link, states)).toBe(kind);
  });

  test('what came and went between looks is not there', () => {
    expect(
      fewest([{ file: 4, 'tcp established': 3 }, { file: 4, 'tcp established': 2 }, { file: 5 }]),
    ).toEqual({
      file: 4,
    });
  });
});

describe('faults in the log', () => {
  test('errors are counted by what they say; the killed worker and what is no error are left out', () => {
    const line = (level: number, msg: string, time: number): string =>
      JSON.stringify({ level, time, pid: time, msg });
    const log = [
      line(30, 'configuration reloaded', 1),
      line(50, 'worker died; starting another', 2),
      line(50, 'a step failed', 3),
      line(50, 'a step failed', 4),
      line(60, 'unexplained fault: this worker is replaced', 5),
      JSON.stringify({ level: 50, requestId: 'a', code: 'SPW_UPSTREAM_RESET' }),
      '{"path":"/"level":50"}',
    ].join('\n');
    const faults = loggedFaults(log);
    expect(faults.map(({ count }) => count)).toEqual([2, 1]);
    expect(faults[0]?.message).toContain('a step failed');
  });
});
