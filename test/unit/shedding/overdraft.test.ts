import { describe, expect, test } from 'vitest';
import { between, seededRandom } from '../../../src/kernel/random.ts';
import { overdrawn } from '../../../src/shedding/overdraft.ts';
import { admission, Bench, enter, type Caller } from './fixture.ts';

type Gate = ReturnType<typeof admission>;

function enterMany(gate: Gate, rank: 0 | 1, count: number, now = 0): Caller[] {
  return Array.from({ length: count }, () => enter(gate, rank, now));
}

const served = (callers: readonly Caller[]): number =>
  callers.filter(({ permit }) => permit !== undefined).length;

describe('the overdraft of critical requests', () => {
  test('is never below the allowance, and at most twice of it and two', () => {
    const random = seededRandom(41);
    for (let i = 0; i < 20_000; i += 1) {
      const allowance = Math.floor(between(random, 0, 60));
      const lower = Math.floor(between(random, 0, 120));
      const ratePerMs = random() < 0.3 ? 0 : between(random, 0, 2);
      const most = overdrawn(allowance, lower, ratePerMs, 250);
      expect(most).toBeGreaterThanOrEqual(allowance);
      expect(most).toBeLessThanOrEqual(Math.max(2 * allowance, allowance + 2));
      expect(most).toBeLessThanOrEqual(allowance + lower + 3);
      if (ratePerMs > 0) expect(most).toBeLessThanOrEqual(Math.max(allowance, 0.6 * 250 * ratePerMs));
    }
  });

  test('takes the place of each lower one, and three more', () => {
    expect(overdrawn(20, 7, 0, 250)).toBe(30);
    expect(overdrawn(20, 60, 0, 250)).toBe(40);
    expect(overdrawn(1, 60, 0, 250)).toBe(3);
  });

  test('alone is three more', () => {
    for (const allowance of [3, 20, 400]) expect(overdrawn(allowance, 0, 0, 250)).toBe(allowance + 3);
  });

  test('stays within what the present pace answers in 0.6 of the SLA', () => {
    expect(overdrawn(10, 20, 0.1, 250)).toBe(15);
    expect(overdrawn(10, 20, 0.01, 250)).toBe(10);
  });
});

describe('a critical request at a full service', () => {
  test('goes in place of the lower classes, as many as hold permits and the limit has', () => {
    const gate = admission();
    enterMany(gate, 1, 20);
    expect(served(enterMany(gate, 0, 30))).toBe(20);
    expect(gate.view(0)).toMatchObject({ inFlight: 40, queueDepth: 10 });
  });

  test('among its own kind gets three more than the limit', () => {
    const gate = admission();
    expect(served(enterMany(gate, 0, 40))).toBe(23);
  });

  test('leaves the lower classes waiting until the flight is back below the limit', () => {
    const gate = admission();
    enterMany(gate, 1, 20);
    const critical = enterMany(gate, 0, 5);
    const waiting = enter(gate, 1, 0);
    for (const { permit } of critical) permit?.release(1);
    expect(waiting.verdicts).toBe(0);
    const also = enter(gate, 1, 2);
    expect(also.verdicts).toBe(0);
    enterMany(gate, 0, 1, 3)[0]?.permit?.release(4);
    expect([waiting.verdicts, also.verdicts]).toEqual([0, 0]);
  });

  test('does not draw a lower one in with it when it is itself too late', () => {
    const gate = admission();
    enterMany(gate, 1, 20);
    const critical = enterMany(gate, 0, 20);
    const late = enter(gate, 0, 0, 5);
    const lower = enter(gate, 1, 0);
    expect(gate.view(0)).toMatchObject({ limit: 20, inFlight: 40, queueDepth: 2 });
    // A permit comes back when the critical one has no use for it any more; the flight is still far over the limit.
    critical[0]?.permit?.release(6);
    expect(late.code).toBe('SPW_SHED_DEADLINE');
    expect(lower.verdicts).toBe(0);
    expect(gate.view(6)).toMatchObject({ inFlight: 39, queueDepth: 1 });
  });

  test('counts the lower classes in other workers, as long as that is fresh', () => {
    const elsewhere = {
      workers: 1,
      limit: 10,
      inFlight: 9,
      critical: 2,
      criticalWaiting: 0,
      bound: 1,
      ended: 0,
      awaitingAreaMs: 0,
    };
    const gate = admission({ workers: 2 });
    gate.tick(5);
    gate.hear(elsewhere, 5);
    // Of ten: three more than the seven of lower classes over there.
    expect(served(enterMany(gate, 0, 40, 6))).toBe(20);
    const late = admission({ workers: 2 });
    late.hear(elsewhere, 0);
    for (let now = 5; now <= 300; now += 5) late.tick(now);
    expect(served(enterMany(late, 0, 40, 301))).toBe(13);
  });

  test('stays within the caps of the instances, streams and all', () => {
    const gate = admission({ maxInFlight: 22, evenInFlight: 22 });
    enterMany(gate, 1, 20);
    expect(served(enterMany(gate, 0, 10))).toBe(2);
    const streaming = admission({ maxInFlight: 22, evenInFlight: 22 });
    for (const { permit } of enterMany(streaming, 1, 20)) permit?.asStream(1);
    expect(served(enterMany(streaming, 0, 10, 2))).toBe(2);
  });

  test('waits like any other where the limit is given', () => {
    const gate = admission({ limit: 4 });
    enterMany(gate, 1, 4);
    expect(enter(gate, 0, 0).verdicts).toBe(0);
  });

  test('waits while the service has lost its pace', () => {
    const bench = new Bench();
    bench.run(3000, { callers: 60, latencyMs: (inFlight) => 50 * Math.max(1, inFlight / 30) });
    const kept = Math.floor(bench.gate.share(bench.now).limit);
    for (let i = 0; i < 50 && bench.limit === kept; i += 1)
      bench.run(5, { callers: 60, latencyMs: () => 5000 });
    // The limit is as it was: it is the stall that lets so few pass.
    expect(Math.floor(bench.gate.share(bench.now).limit)).toBe(kept);
    expect(bench.limit).toBeLessThan(bench.gate.view(bench.now).inFlight);
    expect(enter(bench.gate, 0, bench.now).verdicts).toBe(0);
  });
});
