/** What a breaker makes of who its callers are, of slow answers, and of what other workers found. */
import { expect, test } from 'vitest';
import type { Breaker } from '../../../src/upstreams/breaker.ts';
import { breaker, opened, send, stateOf } from './breaker-fixture.ts';

/** Requests of several callers at once, one round after the other; the first caller's fail. */
function sendRounds(target: Breaker, callers: number, rounds: number, failing: number): string {
  for (let round = 0; round < rounds; round++) {
    for (let caller = 0; caller < callers; caller++) {
      const pass = target.allow(round * 100);
      target.record(caller < failing ? 'hard' : 'ok', round * 100, pass, '', 1 << caller);
    }
    // A row at its own end: nobody else is in between.
    for (let again = 0; again < 5; again++) {
      for (let caller = 0; caller < failing; caller++)
        target.record('hard', round * 100, target.allow(round * 100), '', 1 << caller);
    }
  }
  return stateOf(target, rounds * 100);
}

test('one caller whose calls crash whoever answers them closes nothing to the others', () => {
  expect(sendRounds(breaker(), 3, 50, 1)).toBe('closed');
  expect(sendRounds(breaker(), 30, 50, 1)).toBe('closed');
});

test('two callers of many, one of two, or a failure of nobody open it', () => {
  expect(sendRounds(breaker(), 30, 1, 2)).toBe('open');
  expect(sendRounds(breaker(), 2, 1, 1)).toBe('open');
  const target = breaker();
  for (let caller = 0; caller < 4; caller++) target.record('ok', 0, target.allow(0), '', 1 << caller);
  for (let failure = 0; failure < 5; failure++) target.record('hard', 0, target.allow(0), '', -1);
  expect(stateOf(target, 0)).toBe('open');
});

test('a crowd of half a minute ago protects no single caller of now', () => {
  const target = breaker();
  for (let caller = 0; caller < 9; caller++) target.record('ok', 0, target.allow(0), '', 1 << caller);
  for (let failure = 0; failure < 5; failure++) target.record('hard', 30_000, target.allow(30_000), '', 1);
  expect(stateOf(target, 30_000)).toBe('open');
});

test('slow answers open it where a share of them is configured, and count as good ones elsewhere', () => {
  const patient = breaker();
  send(patient, 'slow', 500, 0);
  expect(stateOf(patient, 0)).toBe('closed');
  const target = breaker({ slowRatio: 0.8 });
  send(target, 'ok', 4, 0);
  send(target, 'slow', 15, 0);
  expect(stateOf(target, 0)).toBe('closed');
  send(target, 'slow', 1, 0);
  expect(target.view(0)).toEqual({ state: 'open', leftMs: 2000, trips: 1, reason: 'slow' });
  // A trial that is slow is a failed one.
  send(target, 'slow', 1, 2000);
  expect(target.view(2000)).toMatchObject({ state: 'open', trips: 2, reason: 'trial' });
});

test('a slow answer ends a row of failures', () => {
  const target = breaker({ slowRatio: 0.8 });
  for (let round = 0; round < 4; round++) {
    send(target, 'slow', 5, round);
    send(target, 'hard', 4, round);
  }
  expect(stateOf(target, 3)).toBe('closed');
});

test('its own trip is told once, with what is left of the pause', () => {
  const target = breaker();
  send(target, 'hard', 4, 0);
  expect(target.takeTrip()).toBeUndefined();
  send(target, 'hard', 1, 0);
  expect(target.takeTrip()).toEqual({ leftMs: 2000, trips: 1, reason: 'consecutive' });
  expect(target.takeTrip()).toBeUndefined();
  send(target, 'hard', 1, 2000);
  expect(target.takeTrip()).toEqual({ leftMs: 4000, trips: 2, reason: 'trial' });
});

test("another worker's trip opens it for as long, and is not told on", () => {
  const trip = { leftMs: 1500, trips: 2, reason: 'ratio' } as const;
  const target = breaker();
  send(target, 'ok', 50, 0);
  const pass = target.allow(0);
  target.adopt(trip, 100);
  expect(target.view(100)).toEqual({ state: 'open', ...trip });
  expect(target.takeTrip()).toBeUndefined();
  // What was under way says nothing about the trial to come.
  target.record('hard', 200, pass);
  expect(stateOf(target, 1600)).toBe('half-open');
  send(target, 'ok', 1, 1600);
  expect(target.view(1600)).toMatchObject({ state: 'ramping', rateBefore: 51 });
  // While it lets more through by the second the trial of another one may fail.
  target.adopt({ ...trip, trips: 3 }, 2000);
  expect(target.view(2000)).toMatchObject({ state: 'open', leftMs: 1500, trips: 3 });
});

test("an open one keeps its own pause, and an operator's word stands, whatever other workers say", () => {
  const target = opened();
  target.adopt({ leftMs: 60_000, trips: 9, reason: 'ratio' }, 0);
  expect(target.view(0)).toMatchObject({ leftMs: 2000, trips: 1 });
  target.force('closed', undefined, 'operator');
  target.adopt({ leftMs: 60_000, trips: 9, reason: 'ratio' }, 0);
  expect(stateOf(target, 0)).toBe('forced-closed');
});
