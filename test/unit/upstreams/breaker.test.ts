import { expect, test } from 'vitest';
import type { Breaker } from '../../../src/upstreams/breaker.ts';
import { breaker, opened, send, stateOf, POLICY } from './breaker-fixture.ts';

test('closed means that traffic flows', () => {
  const target = breaker();
  expect(send(target, 'ok', 1000, 0)).toBe(1000);
  expect(target.view(0)).toEqual({ state: 'closed' });
});

test('the fifth hard failure in a row opens it, the fourth does not', () => {
  const target = breaker();
  expect(send(target, 'hard', 4, 0)).toBe(4);
  expect(stateOf(target, 0)).toBe('closed');
  send(target, 'hard', 1, 10);
  expect(target.view(10)).toEqual({ state: 'open', leftMs: 2000, trips: 1, reason: 'consecutive' });
  expect(send(target, 'ok', 100, 10)).toBe(0);
});

test('a success in between starts the row again, an ignored outcome does not', () => {
  const target = breaker();
  for (const result of [
    'hard',
    'hard',
    'hard',
    'hard',
    'ok',
    'hard',
    'hard',
    'ignored',
    'hard',
    'hard',
  ] as const) {
    send(target, result, 1, 0);
  }
  expect(stateOf(target, 0)).toBe('closed');
  send(target, 'hard', 1, 0);
  expect(stateOf(target, 0)).toBe('open');
});

test('half of twenty outcomes opens it, whichever kind completes the twenty', () => {
  for (const last of ['ok', 'hard'] as const) {
    const target = breaker();
    for (let pair = 0; pair < 9; pair++) {
      send(target, 'hard', 1, 0);
      send(target, 'ok', 1, 0);
    }
    send(target, last === 'ok' ? 'hard' : 'ok', 1, 0);
    expect(stateOf(target, 0)).toBe('closed');
    send(target, last, 1, 0);
    expect(target.view(0)).toMatchObject({ state: 'open', reason: 'ratio' });
  }
});

test('less than half never opens it', () => {
  const target = breaker();
  for (let round = 0; round < 200; round++) {
    send(target, 'ok', 3, round * 50);
    send(target, 'hard', 2, round * 50);
  }
  expect(stateOf(target, 10_000)).toBe('closed');
});

test('503 and 429 and callers that left never open it', () => {
  const target = breaker();
  send(target, 'ignored', 1000, 0);
  expect(stateOf(target, 0)).toBe('closed');
});

test('failures before a silence of 10 s do not count towards the share', () => {
  const target = breaker({ consecutive: 1000 });
  send(target, 'hard', 19, 0);
  send(target, 'ok', 10, 10_500);
  send(target, 'hard', 1, 10_500);
  expect(stateOf(target, 10_500)).toBe('closed');
});

test('the pause doubles with each failed trial up to a minute and is jittered by a quarter', () => {
  const pauses: number[] = [];
  const target = breaker();
  send(target, 'hard', 5, 0);
  let now = 0;
  for (let trip = 0; trip < 8; trip++) {
    const view = target.view(now);
    if (view.state !== 'open') throw new Error(view.state);
    pauses.push(view.leftMs);
    now += view.leftMs;
    expect(send(target, 'hard', 1, now)).toBe(1);
  }
  expect(pauses).toEqual([2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
  for (const [chance, pause] of [
    [0, 1500],
    [0.999999, 2500],
  ] as const) {
    const jittered = breaker({}, () => chance);
    send(jittered, 'hard', 5, 0);
    expect(jittered.waitMs(0)).toBeCloseTo(pause, 1);
  }
});

test('an open time of more than a minute stands', () => {
  const target = breaker({ openMs: 120_000 });
  send(target, 'hard', 5, 0);
  expect(target.waitMs(0)).toBe(120_000);
});

test('half-open lets one request through and tells the others at once', () => {
  const target = opened();
  expect(target.allow(1999)).toBe(0);
  expect(stateOf(target, 2000)).toBe('half-open');
  const trial = target.allow(2000);
  expect(trial).toBeGreaterThan(0);
  expect([target.allow(2000), target.allow(2500), target.allow(9000)]).toEqual([0, 0, 0]);
  target.record('ok', 9000, trial);
  expect(stateOf(target, 9000)).toBe('ramping');
});

test('a failed trial opens again, for longer', () => {
  const target = opened();
  target.record('hard', 2100, target.allow(2000));
  expect(target.view(2100)).toEqual({ state: 'open', leftMs: 4000, trips: 2, reason: 'trial' });
});

test('a trial without a verdict is given to the next request', () => {
  const target = opened();
  target.record('ignored', 2100, target.allow(2000));
  expect(stateOf(target, 2100)).toBe('half-open');
  expect(target.allow(2100)).toBeGreaterThan(0);
  expect(target.allow(2100)).toBe(0);
});

test('a trial that never ends keeps the service closed for ten seconds, not for ever', () => {
  const target = opened();
  const lost = target.allow(2000);
  expect(target.allow(11_999)).toBe(0);
  const second = target.allow(12_000);
  expect(second).toBeGreaterThan(0);
  target.record('hard', 12_001, lost);
  expect(stateOf(target, 12_001)).toBe('half-open');
  target.record('ok', 12_002, second);
  expect(stateOf(target, 12_002)).toBe('ramping');
});

test('requests that hung when it opened do not decide the trial', () => {
  const target = breaker();
  const hung = Array.from({ length: 50 }, () => target.allow(0));
  for (const pass of hung.slice(0, 5)) target.record('hard', 100, pass);
  const trial = target.allow(2100);
  for (const pass of hung.slice(5)) target.record('hard', 2200, pass);
  expect(target.view(2200)).toEqual({ state: 'half-open', trips: 1 });
  target.record('ok', 2300, trial);
  for (const pass of hung.slice(5)) target.record('hard', 2400, pass);
  expect(stateOf(target, 2400)).toBe('ramping');
});

test('a late success from before does not close it', () => {
  const target = breaker();
  const slow = target.allow(0);
  send(target, 'hard', 5, 0);
  target.record('ok', 1000, slow);
  expect(stateOf(target, 1000)).toBe('open');
  target.allow(2000);
  target.record('ok', 2001, slow);
  expect(stateOf(target, 2001)).toBe('half-open');
});

test('a verdict given twice counts once', () => {
  const target = opened();
  const trial = target.allow(2000);
  target.record('ignored', 2001, trial);
  target.record('hard', 2002, trial);
  expect(stateOf(target, 2002)).toBe('half-open');
});

/** 400 requests a second for 10 s, then an outage and a recovery. @returns the breaker, ramping since `at` */
function ramping(): { target: Breaker; at: number } {
  const target = breaker();
  for (let now = 0; now < 10_000; now += 2.5) send(target, 'ok', 1, now);
  send(target, 'hard', 5, 10_000);
  const at = 12_000;
  target.record('ok', at, target.allow(at));
  return { target, at };
}

test('the ramp admits from a tenth to all of the rate before, over five seconds', () => {
  const { target, at } = ramping();
  expect(target.view(at)).toMatchObject({ state: 'ramping', ageMs: 0 });
  const perSecond: number[] = [];
  for (let second = 0; second < 5; second++) {
    let admitted = 0;
    for (let now = at + second * 1000; now < at + (second + 1) * 1000; now++)
      admitted += send(target, 'ok', 1, now);
    perSecond.push(admitted);
  }
  const curve = [76, 148, 220, 292, 364]; // 400 · (0.1 + 0.9 · (t + 0.5)/5)
  for (const [second, admitted] of perSecond.entries()) {
    expect(Math.abs(admitted - (curve[second] ?? 0))).toBeLessThan(4);
  }
  expect(stateOf(target, at + 5000)).toBe('closed');
  expect(send(target, 'ok', 1000, at + 5000)).toBe(1000);
});

test('the rate before is what was admitted, wherever in a second the outage begins', () => {
  for (const beganMs of [3000, 10_000, 10_500, 19_999]) {
    const target = breaker();
    for (let now = 0; now < beganMs; now += 2.5) send(target, 'ok', 1, now);
    send(target, 'hard', 5, beganMs);
    target.record('ok', beganMs + 2000, target.allow(beganMs + 2000));
    const view = target.view(beganMs + 2000);
    if (view.state !== 'ramping') throw new Error(view.state);
    expect(Math.abs(view.rateBefore - 400)).toBeLessThan(4);
  }
});

test('a service of little traffic is not held under ten requests a second', () => {
  const target = opened();
  target.record('ok', 2000, target.allow(2000));
  let admitted = 0;
  for (let now = 2000; now < 3000; now += 10) admitted += send(target, 'ok', 1, now);
  expect(admitted).toBeGreaterThanOrEqual(10);
  expect(admitted).toBeLessThanOrEqual(12);
});

test('a pause in the ramp saves up a tenth of a second, no more', () => {
  const { target, at } = ramping();
  send(target, 'ok', 1000, at);
  expect(send(target, 'ok', 1000, at + 4900)).toBeLessThanOrEqual(40);
});

test('failures in the ramp open it again, for longer, and the rate from before the outage stays the aim', () => {
  const { target, at } = ramping();
  const aim = target.view(at);
  for (let now = at; now < at + 2000; now += 100) send(target, 'hard', 1, now);
  const view = target.view(at + 400);
  expect(view).toMatchObject({ trips: 2, reason: 'consecutive' });
  const again = at + 400 + 4000;
  target.record('ok', again, target.allow(again));
  expect(target.view(again)).toEqual(aim);
});

test('trips are forgotten after a minute of being closed, not before', () => {
  for (const [closedMs, trips] of [
    [59_000, 2],
    [60_000, 1],
  ] as const) {
    const { target, at } = ramping();
    send(target, 'hard', 5, at + 5000 + closedMs);
    expect(target.view(at + 5000 + closedMs)).toMatchObject({ state: 'open', trips });
  }
});

test('an operator opens and closes it, and outcomes do not object', () => {
  const target = breaker();
  target.force('open', undefined, 'ada');
  expect(send(target, 'ok', 10, 0)).toBe(0);
  expect(target.view(0)).toEqual({ state: 'forced-open', leftMs: Number.POSITIVE_INFINITY, by: 'ada' });
  expect(target.waitMs(0)).toBe(60_000);
  target.force('closed', undefined, 'ada');
  expect(send(target, 'hard', 100, 10)).toBe(100);
  expect(stateOf(target, 10)).toBe('forced-closed');
});

test('a forced state ends at its time or with auto, and begins afresh', () => {
  const target = opened();
  target.force('closed', 5000, 'ada');
  expect(stateOf(target, 4999)).toBe('forced-closed');
  expect(stateOf(target, 5000)).toBe('closed');
  target.force('open', undefined, 'ada');
  target.force('auto', undefined, 'ada');
  expect(send(target, 'hard', 4, 6000)).toBe(4);
  expect(stateOf(target, 6000)).toBe('closed');
  send(target, 'hard', 1, 6000);
  expect(target.view(6000)).toMatchObject({ trips: 1 });
});

test('a pardon closes it as if nothing had been, whatever it was about to do, and not against an operator', () => {
  const target = opened();
  const late = opened();
  target.pardon();
  expect(target.view(10)).toEqual({ state: 'closed' });
  expect(send(target, 'ok', 100, 20)).toBe(100);
  const trial = late.allow(2000);
  late.pardon();
  late.record('hard', 2010, trial);
  expect(late.view(2020)).toEqual({ state: 'closed' });
  // The next outage gets the first pause again.
  send(late, 'hard', 5, 2030);
  expect(late.view(2030)).toMatchObject({ state: 'open', leftMs: 2000, trips: 1 });
  late.force('open', undefined, 'operator');
  late.pardon();
  expect(stateOf(late, 2040)).toBe('forced-open');
});

test('auto is nothing to a breaker that decides by itself', () => {
  const target = opened();
  target.force('auto', undefined, 'ada');
  expect(target.view(0)).toMatchObject({ state: 'open', leftMs: 2000 });
});

test('requests of a forced time have no say after it', () => {
  const target = breaker();
  target.force('closed', undefined, 'ada');
  const passes = Array.from({ length: 10 }, () => target.allow(0));
  target.force('auto', undefined, 'ada');
  for (const pass of passes) target.record('hard', 10, pass);
  expect(stateOf(target, 10)).toBe('closed');
});

test('a reload keeps state and window', () => {
  const target = breaker();
  send(target, 'hard', 4, 0);
  target.configure({ ...POLICY, openMs: 500 });
  send(target, 'hard', 1, 0);
  expect(target.view(0)).toMatchObject({ state: 'open', leftMs: 500 });
  target.configure({ ...POLICY, openMs: 100_000 });
  expect(stateOf(target, 500)).toBe('half-open');
});

/** Hard failures at these instances, one after the other, where there are others too. */
function failAt(target: Breaker, instances: readonly string[], now = 0): void {
  for (const instance of instances) target.record('hard', now, target.allow(now), instance);
}

test('an instance that dies with many requests under way is one failure of the service: the others serve', () => {
  const target = breaker();
  failAt(
    target,
    Array.from({ length: 19 }, () => 'a'),
  );
  expect(stateOf(target, 0)).toBe('closed');
});

test('failures that go from instance to instance open it as before', () => {
  const target = breaker();
  failAt(target, ['a', 'b', 'a', 'c']);
  expect(stateOf(target, 0)).toBe('closed');
  failAt(target, ['b']);
  expect(target.view(0)).toMatchObject({ state: 'open', reason: 'consecutive' });
});

test('the only instance is the service: its failures count one by one', () => {
  const target = breaker();
  failAt(target, ['', '', '', '', '']);
  expect(stateOf(target, 0)).toBe('open');
});

test('a success between two failures of one instance begins a new row for it too', () => {
  const target = breaker();
  failAt(target, ['a', 'b', 'a', 'b']);
  send(target, 'ok', 1, 0);
  failAt(target, ['b', 'a', 'b', 'a']);
  expect(stateOf(target, 0)).toBe('closed');
  failAt(target, ['b']);
  expect(stateOf(target, 0)).toBe('open');
});

test('half of twenty is half of twenty, whoever failed', () => {
  const target = breaker();
  send(target, 'ok', 10, 0);
  failAt(
    target,
    Array.from({ length: 10 }, () => 'a'),
  );
  expect(target.view(0)).toMatchObject({ state: 'open', reason: 'ratio' });
});
