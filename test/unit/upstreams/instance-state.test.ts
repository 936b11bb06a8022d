import { describe, expect, it } from 'vitest';
import {
  deriveState,
  INSTANCE_STATES,
  isFault,
  opensNew,
  type Active,
  type Admin,
  type InstanceState,
  type Passive,
  type Presence,
} from '../../../src/upstreams/instance-state.ts';

const ADMIN: readonly Admin[] = ['enabled', 'draining', 'disabled'];
const PRESENCE: readonly Presence[] = ['present', 'leaving', 'gone'];
const ACTIVE: readonly Active[] = ['unknown', 'pass', 'warn', 'failExplicit', 'failSilent'];
const PASSIVE: readonly Passive[] = ['ok', 'ejected', 'trial'];

type Row = { admin: Admin; presence: Presence; active: Active; passive: Passive };

const ROWS: Row[] = ADMIN.flatMap((admin) =>
  PRESENCE.flatMap((presence) =>
    ACTIVE.flatMap((active) => PASSIVE.map((passive) => ({ admin, presence, active, passive }))),
  ),
);

/** The table of the design, each row by its own words and independent of the order of the others. */
const TABLE: Record<InstanceState, (row: Row) => boolean> = {
  disabled: (row) => row.admin === 'disabled',
  gone: (row) => row.admin !== 'disabled' && row.presence === 'gone',
  unready: (row) => serving(row) && row.active === 'failExplicit',
  down: (row) => serving(row) && row.active === 'failSilent',
  ejected: (row) => serving(row) && !failing(row) && row.passive === 'ejected',
  joining: (row) => serving(row) && row.active === 'unknown' && row.passive !== 'ejected',
  draining: (row) => serving(row) && answering(row) && !staying(row),
  degraded: (row) => staying(row) && row.active === 'warn' && row.passive !== 'ejected',
  warming: (row) => staying(row) && row.active === 'pass' && row.passive === 'trial',
  ready: (row) => staying(row) && row.active === 'pass' && row.passive === 'ok',
};

const serving = (row: Row): boolean => row.admin !== 'disabled' && row.presence !== 'gone';
const staying = (row: Row): boolean => row.admin === 'enabled' && row.presence === 'present';
const failing = (row: Row): boolean => row.active === 'failExplicit' || row.active === 'failSilent';
const answering = (row: Row): boolean =>
  (row.active === 'pass' || row.active === 'warn') && row.passive !== 'ejected';

describe('the state of an instance', () => {
  it('is one and only one row of the table, for each of the 135 combinations', () => {
    expect(ROWS).toHaveLength(135);
    for (const row of ROWS) {
      const matching = INSTANCE_STATES.filter((state) => TABLE[state](row));
      expect([deriveState(row.admin, row.presence, row.active, row.passive, false)]).toEqual(matching);
    }
  });

  it('has as many combinations of each state as the design counts', () => {
    const counts = Object.fromEntries(INSTANCE_STATES.map((state) => [state, 0]));
    for (const { admin, presence, active, passive } of ROWS) {
      const state = deriveState(admin, presence, active, passive, false);
      counts[state] = (counts[state] ?? 0) + 1;
    }
    expect(counts).toEqual({
      disabled: 45,
      gone: 30,
      unready: 12,
      down: 12,
      ejected: 12,
      joining: 8,
      draining: 12,
      degraded: 2,
      warming: 1,
      ready: 1,
    });
  });

  it('differs for a young instance only in that a ready one is warming', () => {
    for (const { admin, presence, active, passive } of ROWS) {
      const grown = deriveState(admin, presence, active, passive, false);
      const young = deriveState(admin, presence, active, passive, true);
      expect(young).toBe(grown === 'ready' ? 'warming' : grown);
    }
  });

  it('takes new sessions only when enabled, present, answering and not ejected', () => {
    for (const row of ROWS) {
      const state = deriveState(row.admin, row.presence, row.active, row.passive, false);
      expect(opensNew(state)).toBe(staying(row) && answering(row));
      expect(isFault(state)).toBe(serving(row) && (failing(row) || row.passive === 'ejected'));
    }
  });
});
