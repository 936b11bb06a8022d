import { describe, expect, test } from 'vitest';
import type { Admission } from '../../../src/shedding/admission.ts';
import { Permit, type HeadOutcome, type PermitIssuer } from '../../../src/shedding/permit.ts';
import { admission, enter, type Caller } from './fixture.ts';

class Ledger implements PermitIssuer {
  readonly lines: string[] = [];

  attempted(_permit: Permit, now: number): void {
    this.lines.push(`attempt ${now}`);
  }

  answered(_permit: Permit, outcome: HeadOutcome, now: number): void {
    this.lines.push(`${outcome} ${now}`);
  }

  streaming(_permit: Permit, now: number): void {
    this.lines.push(`stream ${now}`);
  }

  released(_permit: Permit, wasStream: boolean, now: number): void {
    this.lines.push(`release ${now}${wasStream ? ' of a stream' : ''}`);
  }
}

/** The clockwork's beats in (fromMs, toMs]. */
function ticks(gate: Admission, fromMs: number, toMs: number): void {
  for (let now = fromMs + 5; now <= toMs; now += 5) gate.tick(now);
}

test('a permit is given back once, and a second release answers false', () => {
  const ledger = new Ledger();
  const permit = new Permit(ledger);
  expect(permit.release(1)).toBe(true);
  expect(permit.release(2)).toBe(false);
  expect(permit.release(3)).toBe(false);
  expect(ledger.lines).toEqual(['release 1']);
});

test('a released permit reports nothing more', () => {
  const ledger = new Ledger();
  const permit = new Permit(ledger);
  permit.release(1);
  permit.attempt(2);
  permit.head(3, 'sample');
  permit.asStream(4);
  expect(ledger.lines).toEqual(['release 1']);
});

test('becoming a stream is told once, and the release says that it was one', () => {
  const ledger = new Ledger();
  const permit = new Permit(ledger);
  permit.attempt(1);
  permit.head(2, 'sample');
  permit.asStream(3);
  permit.asStream(4);
  permit.release(5);
  expect(ledger.lines).toEqual(['attempt 1', 'sample 2', 'stream 3', 'release 5 of a stream']);
});

test('a second release leaves the count of what is in flight alone', () => {
  const gate = admission();
  const first = enter(gate, 1, 0);
  enter(gate, 1, 0);
  expect(gate.view(0).inFlight).toBe(2);
  first.permit?.release(1);
  first.permit?.release(2);
  expect(gate.view(2).inFlight).toBe(1);
});

test('a stream leaves the limit and wakes whoever waits', () => {
  const gate = admission({ limit: 1 });
  const stream = enter(gate, 1, 0);
  const next = enter(gate, 1, 0);
  expect(next.verdicts).toBe(0);
  stream.permit?.asStream(3);
  expect(next.waitedMs).toBe(3);
  expect(gate.view(3)).toMatchObject({ inFlight: 1, streams: 1, queueDepth: 0 });
  expect(stream.permit?.release(4)).toBe(true);
  expect(gate.view(4)).toMatchObject({ inFlight: 1, streams: 0 });
});

test('streams still count against the caps of the instances', () => {
  const gate = admission({ maxInFlight: 4, evenInFlight: 4 });
  const callers = [0, 1, 2, 3].map(() => enter(gate, 1, 0));
  for (const { permit } of callers.slice(0, 3)) permit?.asStream(1);
  expect(gate.view(1)).toMatchObject({ inFlight: 1, streams: 3 });
  const fifth = enter(gate, 1, 2);
  expect(fifth.verdicts).toBe(0);
  callers[0]?.permit?.release(3);
  // A stream that ends makes room as well.
  expect(fifth.permit).toBeDefined();
});

test('a retry keeps its permit and begins a new sample', () => {
  const gate = admission();
  // Each request fails after 400 ms and is answered 20 ms after it was sent again: the service takes 20 ms.
  let now = 0;
  for (let round = 0; round < 40; round += 1) {
    const caller = enter(gate, 1, now);
    caller.permit?.attempt(now);
    ticks(gate, now, now + 400);
    caller.permit?.head(now + 400, 'failed');
    expect(gate.view(now + 400).inFlight).toBe(1);
    caller.permit?.attempt(now + 400);
    ticks(gate, now + 400, now + 420);
    caller.permit?.head(now + 420, 'sample');
    caller.permit?.release(now + 420);
    now += 420;
    // An answer without a retry, so that failures stay below half of the outcomes.
    const plain = enter(gate, 1, now);
    plain.permit?.attempt(now);
    ticks(gate, now, now + 20);
    plain.permit?.head(now + 20, 'sample');
    plain.permit?.release(now + 20);
    now += 20;
  }
  gate.tick(now);
  expect(gate.view(now).p50Ms).toBeGreaterThan(0);
  expect(gate.view(now).p50Ms).toBeLessThanOrEqual(20);
});

test('an attempt begun while one runs replaces it, and nothing is left under way', () => {
  const gate = admission();
  const caller = enter(gate, 1, 0);
  caller.permit?.attempt(0);
  caller.permit?.attempt(50);
  caller.permit?.release(60);
  expect(caller.permit?.attemptAtMs).toBeNaN();
  expect(gate.view(60).inFlight).toBe(0);
});

describe('whoever only reads a slow answer', () => {
  /** Twenty of twenty, all handed to the wire. */
  function full(policy: Parameters<typeof admission>[0] = {}): { gate: Admission; callers: Caller[] } {
    const gate = admission(policy);
    const callers = Array.from({ length: 20 }, () => enter(gate, 1, 0));
    for (const { permit } of callers) permit?.attempt(0);
    return { gate, callers };
  }

  test('keeps nobody out of a limit that was found: the head of its answer wakes the next', () => {
    const { gate, callers } = full();
    const next = enter(gate, 1, 0);
    callers[0]?.permit?.head(30, 'sample');
    expect(next.waitedMs).toBe(30);
    expect(gate.view(30).inFlight).toBe(21);
    callers[0]?.permit?.release(40);
    expect(enter(gate, 1, 41).verdicts).toBe(0);
  });

  test('keeps its place in a limit that was given', () => {
    const { gate, callers } = full({ limit: 20 });
    const next = enter(gate, 1, 0);
    callers[0]?.permit?.head(30, 'sample');
    expect(next.verdicts).toBe(0);
    callers[0]?.permit?.release(40);
    expect(next.waitedMs).toBe(40);
  });

  test('counts against the caps of the instances', () => {
    const { gate, callers } = full({ maxInFlight: 21, evenInFlight: 21 });
    for (const { permit } of callers) permit?.head(30, 'sample');
    expect(enter(gate, 1, 31).permit).toBeDefined();
    expect(enter(gate, 1, 31).verdicts).toBe(0);
  });

  test.each(['failed', 'drop'] as const)(
    'is not one whose attempt ended as %s and is made again: it has its place',
    (outcome) => {
      const { gate, callers } = full();
      const next = enter(gate, 1, 0);
      callers[0]?.permit?.head(30, outcome);
      callers[0]?.permit?.attempt(30);
      expect(next.verdicts).toBe(0);
      callers[1]?.permit?.release(50);
      expect(next.waitedMs).toBe(50);
    },
  );

  test('is not one whose attempt is replaced by another', () => {
    const { gate, callers } = full();
    const next = enter(gate, 1, 0);
    callers[0]?.permit?.attempt(30);
    expect(next.verdicts).toBe(0);
  });

  test('makes no room twice, whatever is reported of a stream', () => {
    const gate = admission();
    const { permit } = enter(gate, 1, 0);
    permit?.attempt(0);
    permit?.asStream(10);
    permit?.attempt(20);
    permit?.head(30, 'sample');
    permit?.release(40);
    const callers = Array.from({ length: 25 }, () => enter(gate, 1, 50));
    expect(callers.filter((caller) => caller.permit !== undefined)).toHaveLength(20);
  });
});
