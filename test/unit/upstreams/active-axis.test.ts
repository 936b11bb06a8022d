import { describe, expect, it } from 'vitest';
import type { Evidence } from '../../../src/kernel/evidence.ts';
import { ActiveAxis } from '../../../src/upstreams/active-axis.ts';
import { RemovalGovernor } from '../../../src/upstreams/governor.ts';

const POLICY = { intervalMs: 1000, timeoutMs: 500, rise: 2, fall: 2 };

function evidence(kind: Evidence['kind'], more: Partial<Evidence> = {}): Evidence {
  return { kind, reason: kind, failingChecks: [], refused: false, ...more };
}
const PASS = evidence('pass', { reason: '' });
const WARN = evidence('warn', { reason: 'check cache failing' });
const NO = evidence('explicit', { reason: 'status 503' });
const SILENCE = evidence('absent', { reason: 'timeout' });
const REFUSED = evidence('absent', { reason: 'connection refused', refused: true });

/** Feeds evidence at the given moments; `allowed` is the governor's answer. */
function fed(steps: readonly (readonly [number, Evidence])[], allowed = true, policy = POLICY): ActiveAxis {
  const axis = new ActiveAxis();
  for (const [now, item] of steps) axis.take(item, now, policy, () => allowed);
  return axis;
}

describe('what probes make of an instance', () => {
  it('a joiner needs one pass', () => {
    expect(fed([]).value).toBe('unknown');
    expect(fed([[0, PASS]]).value).toBe('pass');
    expect(fed([[0, WARN]]).value).toBe('warn');
  });

  it('an explicit no acts at once', () => {
    const axis = fed([
      [0, PASS],
      [1000, NO],
    ]);
    expect(axis.value).toBe('failExplicit');
    expect(axis.reason).toBe('status 503');
  });

  it('silence acts after fall of them in a row', () => {
    expect(
      fed([
        [0, PASS],
        [1, SILENCE],
      ]).value,
    ).toBe('pass');
    expect(
      fed([
        [0, PASS],
        [1, SILENCE],
        [2, SILENCE],
      ]).value,
    ).toBe('failSilent');
    expect(
      fed([
        [0, PASS],
        [1, SILENCE],
        [2, PASS],
        [3, SILENCE],
      ]).value,
    ).toBe('pass');
  });

  it('silence never takes an explicit no back', () => {
    const axis = fed([
      [0, NO],
      [1, SILENCE],
      [2, REFUSED],
      [3, REFUSED],
    ]);
    expect(axis.value).toBe('failExplicit');
    expect(axis.reason).toBe('status 503');
    expect(axis.portClosed).toBe(true);
  });

  it('without a token the axis keeps its value and says that it is held', () => {
    const axis = fed(
      [
        [0, PASS],
        [1, SILENCE],
        [2, SILENCE],
      ],
      false,
    );
    expect(axis.value).toBe('pass');
    expect(axis.held).toBe(true);
    expect(axis.reason).toBe('held: timeout');
    axis.settle(3, POLICY, () => true);
    expect(axis.value).toBe('failSilent');
    expect(axis.reason).toBe('timeout');
  });

  it('a held instance that answers again is held no more', () => {
    const axis = fed(
      [
        [0, PASS],
        [1, SILENCE],
        [2, SILENCE],
        [3, PASS],
      ],
      false,
    );
    expect(axis.held).toBe(false);
    expect(axis.reason).toBe('');
  });

  it('a port that refused twice needs no token', () => {
    const axis = fed(
      [
        [0, PASS],
        [1, REFUSED],
        [2, REFUSED],
      ],
      false,
    );
    expect(axis.value).toBe('failSilent');
    expect(axis.reason).toBe('connection refused');
  });

  it('a return needs rise answers and the hold since leaving', () => {
    const axis = fed([
      [0, PASS],
      [1000, NO],
      [1250, PASS],
      [1500, PASS],
    ]);
    expect(axis.value).toBe('failExplicit');
    axis.settle(2999, POLICY, () => true);
    expect(axis.value).toBe('failExplicit');
    axis.settle(3000, POLICY, () => true);
    expect(axis.value).toBe('pass');
    const once = fed([
      [0, NO],
      [5000, PASS],
    ]);
    once.settle(60_000, POLICY, () => true);
    expect(once.value).toBe('failExplicit');
  });

  it('the hold is two short intervals where intervals are short', () => {
    const policy = { intervalMs: 100, timeoutMs: 50, rise: 1, fall: 2 };
    const axis = fed([[0, NO]], true, policy);
    axis.take(PASS, 199, policy, () => true);
    expect(axis.value).toBe('failExplicit');
    axis.take(PASS, 200, policy, () => true);
    expect(axis.value).toBe('pass');
  });

  it('a warning acts at once and ends after rise plain passes', () => {
    const axis = fed([
      [0, PASS],
      [1, WARN],
      [2, PASS],
    ]);
    expect(axis.value).toBe('warn');
    axis.take(WARN, 3, POLICY, () => true);
    axis.take(PASS, 4, POLICY, () => true);
    expect(axis.value).toBe('warn');
    axis.take(PASS, 5, POLICY, () => true);
    expect(axis.value).toBe('pass');
    expect(axis.reason).toBe('');
  });

  it('a failed one that answers with warnings returns with a warning', () => {
    const axis = fed([
      [0, NO],
      [5000, WARN],
      [5250, WARN],
    ]);
    expect(axis.value).toBe('warn');
    expect(axis.reason).toBe('check cache failing');
  });

  it('void evidence changes nothing', () => {
    const axis = fed([
      [0, PASS],
      [1, SILENCE],
      [2, evidence('void')],
      [3, SILENCE],
    ]);
    expect(axis.value).toBe('failSilent');
    expect(fed([[0, evidence('void')]]).value).toBe('unknown');
  });

  it('a joiner that stays silent is down without a token, since nothing is taken from anybody', () => {
    expect(
      fed(
        [
          [0, SILENCE],
          [1, SILENCE],
        ],
        false,
      ).value,
    ).toBe('failSilent');
  });
});

describe('the governor of removals by silence', () => {
  it('lets one in ten go per ten seconds, at least one', () => {
    const governor = new RemovalGovernor();
    const taken = (now: number): boolean => governor.take(20, 0, now);
    expect([taken(0), taken(1), taken(2), taken(9999)]).toEqual([true, true, false, false]);
    expect([taken(10_000), taken(10_000), taken(10_001)]).toEqual([true, false, true]);
    const small = new RemovalGovernor();
    expect([small.take(3, 0, 0), small.take(3, 0, 1), small.take(3, 0, 10_000)]).toEqual([true, false, true]);
  });

  it('lets at most half be out for silence, but one of one go', () => {
    const governor = new RemovalGovernor();
    expect(governor.take(4, 2, 0)).toBe(false);
    expect(governor.take(4, 1, 0)).toBe(true);
    expect(new RemovalGovernor().take(1, 0, 0)).toBe(true);
  });
});
