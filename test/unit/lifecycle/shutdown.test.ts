import { expect, test } from 'vitest';
import { Lifecycle } from '../../../src/lifecycle/lifecycle.ts';
import { planShutdown, retirement, shutdownPhase } from '../../../src/lifecycle/shutdown.ts';

const POLICY = { delayMs: 5000, timeoutMs: 30_000 };

test.each([
  [0, 'failing-readiness'],
  [4999, 'failing-readiness'],
  [5000, 'closing-listeners'],
  [28_999, 'closing-listeners'],
  [29_000, 'last-second'],
  [29_999, 'last-second'],
  [30_000, 'cut'],
  [1e9, 'cut'],
])('%i ms after the signal: %s', (sinceMs, phase) => {
  expect(shutdownPhase(planShutdown(POLICY), sinceMs)).toBe(phase);
});

test('idle connections are ended five seconds after the listeners close', () => {
  expect(planShutdown(POLICY)).toEqual({
    listenersCloseMs: 5000,
    idleCloseMs: 10_000,
    refuseMs: 29_000,
    cutMs: 30_000,
  });
});

test.each([
  [0, 30_000],
  [5000, 5000],
  [60_000, 5000],
  [5000, 5500],
  [0, 1000],
  [100, 400],
  [0, 0],
])('with delay %i and timeout %i every part still comes in its order', (delayMs, timeoutMs) => {
  const { listenersCloseMs, idleCloseMs, refuseMs, cutMs } = planShutdown({ delayMs, timeoutMs });
  const moments = [0, listenersCloseMs, idleCloseMs, refuseMs, cutMs];
  expect(moments.toSorted((a, b) => a - b)).toEqual(moments);
  expect(cutMs).toBe(timeoutMs);
  expect(cutMs - refuseMs).toBe(Math.min(1000, timeoutMs / 2));
});

test('a retired worker accepts no more at once, and keeps idle connections as long as a gateway with a delay', () => {
  expect(planShutdown(retirement(30_000))).toEqual({
    listenersCloseMs: 0,
    idleCloseMs: 5000,
    refuseMs: 29_000,
    cutMs: 30_000,
  });
  // Never past the moment from which callers are refused.
  expect(planShutdown(retirement(2000))).toMatchObject({ idleCloseMs: 1000, refuseMs: 1000 });
});

test('without a delay listeners close with the signal', () => {
  expect(shutdownPhase(planShutdown({ delayMs: 0, timeoutMs: 1000 }), 0)).toBe('closing-listeners');
});

function ready(): Lifecycle {
  const life = new Lifecycle();
  life.started(0);
  return life;
}

test('starting is not ready, ready is, draining is not', () => {
  const life = new Lifecycle();
  expect(life.state.kind).toBe('starting');
  life.started(10);
  expect(life.state.kind).toBe('ready');
  expect(life.signal(POLICY, 20)).toBe('drain');
  expect(life.state.kind).toBe('draining');
  expect(life.phase(20)).toBe('failing-readiness');
});

test('a process that was told to stop before it was ready never becomes ready', () => {
  const life = new Lifecycle();
  expect(life.signal(POLICY, 5)).toBe('exit');
  life.started(6);
  expect(life.state).toEqual({ kind: 'stopped', how: 'before-ready' });
});

test('a second signal counts only 500 ms after the first', () => {
  const life = ready();
  expect(life.signal(POLICY, 1000)).toBe('drain');
  expect(life.signal(POLICY, 1001)).toBe('ignore');
  expect(life.signal(POLICY, 1499)).toBe('ignore');
  expect(life.phase(1500)).toBe('failing-readiness');
  expect(life.signal(POLICY, 1500)).toBe('exit');
  expect(life.state).toEqual({ kind: 'stopped', how: 'second-signal' });
  expect(life.signal(POLICY, 1501)).toBe('exit');
});

test('an idle process waits the whole delay before it goes: others still send to it', () => {
  const life = ready();
  life.signal(POLICY, 1000);
  expect(life.settle(0, 5999)).toBe(false);
  expect(life.settle(0, 6000)).toBe(true);
  expect(life.state).toEqual({ kind: 'stopped', how: 'drained' });
});

test('a busy process goes with its last request, or at the cut', () => {
  const served = ready();
  served.signal(POLICY, 0);
  expect(served.settle(1, 29_500)).toBe(false);
  expect(served.settle(0, 29_600)).toBe(true);
  expect(served.state).toEqual({ kind: 'stopped', how: 'drained' });
  const cut = ready();
  cut.signal(POLICY, 0);
  expect(cut.settle(3, 29_999)).toBe(false);
  expect(cut.settle(3, 30_000)).toBe(true);
  expect(cut.state).toEqual({ kind: 'stopped', how: 'cut' });
});

test('a process that nobody told to stop does not settle', () => {
  const life = ready();
  expect(life.settle(0, 1e9)).toBe(false);
  expect(life.phase(1e9)).toBeUndefined();
});
