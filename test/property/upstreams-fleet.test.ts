import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../src/kernel/random.ts';
import type { Evidence } from '../../src/kernel/evidence.ts';
import { Fleet } from '../../src/upstreams/fleet.ts';
import { opensNew } from '../../src/upstreams/instance-state.ts';
import {
  changed,
  DRAIN,
  FIVE_HARD,
  idOf,
  NO,
  PASS,
  policyOf,
  REFUSED,
  report,
  SILENCE,
} from '../unit/upstreams/fleet-model.ts';

const COUNT = 6;
const WARN: Evidence = {
  kind: 'warn',
  reason: 'check cache failing',
  failingChecks: ['cache'],
  refused: false,
};
const VOID: Evidence = { kind: 'void', reason: 'status 429', failingChecks: [], refused: false };
const CHECK: Evidence = { ...NO, failingChecks: ['postgres'] };
const EVIDENCE = [PASS, PASS, WARN, NO, CHECK, CHECK, SILENCE, SILENCE, REFUSED, DRAIN, VOID] as const;
const REPORTS = [
  report({ ok: 5, failedCallers: 0 }),
  FIVE_HARD,
  report({ soft: 20 }),
  report({ ok: 1, hard: 1 }),
  report({ ok: 1, drains: true }),
];

/** Ages change with time alone; whether there is one does not, nor does the moment in which a drain began. */
const AGES = new Set(['readyForMs', 'stateSinceMs']);

const index = fc.nat(COUNT - 1);
const step = fc.record({
  gapMs: fc.constantFrom(0, 1, 100, 250, 1000, 5000, 40_000),
  event: fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({ do: fc.constant('probe' as const), index, what: fc.nat(EVIDENCE.length - 1) }),
    },
    {
      weight: 4,
      arbitrary: fc.record({ do: fc.constant('passive' as const), index, what: fc.nat(REPORTS.length - 1) }),
    },
    fc.record({
      do: fc.constant('operate' as const),
      index,
      command: fc.constantFrom('drain', 'enable', 'enable', 'disable'),
      ttlMs: fc.constantFrom(undefined, 3000),
    }),
    fc.record({ do: fc.constant('configure' as const), index, version: fc.constantFrom('v1', 'v1', 'v2') }),
    fc.record({ do: fc.constant('tick' as const), index }),
    fc.record({ do: fc.constant('idle' as const), index }),
    fc.record({
      do: fc.constant('discover' as const),
      index,
      uid: fc.constantFrom('a', 'a', 'b'),
      leaving: fc.boolean(),
      readyHint: fc.constantFrom('ready', 'unknown', 'notReady'),
    }),
  ),
});
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** Runs a history; `each` sees the fleet after every step. */
function run(
  history: readonly Step[],
  seed: number,
  each: (fleet: Fleet, now: number, last: Step) => void,
): void {
  let now = 0;
  const policy = policyOf(COUNT, { servesBlamed: seed % 2 === 0 });
  const fleet = new Fleet(policy, seededRandom(seed), now, true);
  for (const one of history) {
    now += one.gapMs;
    const { event } = one;
    const id = idOf(event.index);
    switch (event.do) {
      case 'probe':
        fleet.probe(id, EVIDENCE[event.what]!, now);
        break;
      case 'passive':
        fleet.passive(id, REPORTS[event.what]!, now);
        break;
      case 'operate':
        fleet.operate(id, event.command, event.ttlMs, 'ann', now);
        break;
      case 'configure': {
        const instances = changed(policy, () => ({ version: event.version }));
        fleet.configure({ ...policy, instances: instances.filter((_, at) => at !== event.index) }, now);
        break;
      }
      case 'tick':
        fleet.tick(now);
        break;
      case 'idle':
        fleet.idle(id, now);
        break;
      case 'discover': {
        const { uid, leaving, readyHint } = event;
        const specs = changed(policy, (at) =>
          at === event.index ? { uid, leaving, readyHint } : { uid: 'a' },
        );
        fleet.discover(specs.slice(event.index % 2), now, false);
        break;
      }
    }
    each(fleet, now, one);
  }
}

const histories = fc.array(step, { maxLength: 150 });

describe('a fleet, for any history', () => {
  it('shows views that agree with themselves, and counts that agree with the views', () => {
    fc.assert(
      fc.property(histories, fc.integer(), (history, seed) => {
        run(history, seed, (fleet, now) => {
          const views = fleet.views(now);
          for (const view of views) {
            expect(view.opensNew).toBe(opensNew(view.state));
            if (view.opensNew) expect(view.keepsPinned).toBe(true);
            else if (view.keepsPinned) expect(view.state).toBe('draining');
            if (view.panic) expect(view.state).toBe('down');
            if (view.timedOut) expect(view.panic).toBe(true);
            if (view.trial) expect(view.opensNew).toBe(true);
            expect(view.versionSeq).toBeGreaterThan(0);
            expect(view.stateSinceMs).toBeGreaterThanOrEqual(0);
            expect(
              Object.values(view).every((value) => typeof value !== 'number' || Number.isFinite(value)),
            ).toBe(true);
          }
          const { counts, state } = fleet.state(now);
          for (const [name, count] of Object.entries(counts)) {
            expect(views.filter((view) => view.state === name)).toHaveLength(count);
          }
          expect(state === 'up' || state === 'degraded').toBe(views.some((view) => view.opensNew));
        });
      }),
      { numRuns: 300 },
    );
  });

  it('grows its sequence exactly when something that others see has changed', () => {
    fc.assert(
      fc.property(histories, fc.integer(), (history, seed) => {
        let sequence = -1;
        let seen = '';
        run(history, seed, (fleet, now) => {
          const face = JSON.stringify(fleet.views(now), (key, value: unknown) => {
            if (key === 'drainForMs' && value !== -1) return now - Number(value);
            return AGES.has(key) ? value === -1 : value;
          });
          if (face === seen) expect(fleet.sequence).toBe(sequence);
          else expect(fleet.sequence).toBeGreaterThan(sequence);
          sequence = fleet.sequence;
          seen = face;
        });
      }),
      { numRuns: 300 },
    );
  });

  it('never ejects the last open one, nor more than a third', () => {
    fc.assert(
      fc.property(histories, fc.integer(), (history, seed) => {
        let ejectedBefore = new Set<string>();
        run(history, seed, (fleet, now, { event }) => {
          const views = fleet.views(now);
          const ejected = new Set(views.filter(({ state }) => state === 'ejected').map(({ id }) => id));
          if (event.do === 'passive') {
            for (const id of ejected) {
              if (ejectedBefore.has(id)) continue;
              expect(views.some(({ opensNew: open }) => open)).toBe(true);
              expect(ejected.size).toBeLessThanOrEqual(2); // a third of six
            }
          }
          ejectedBefore = ejected;
        });
      }),
      { numRuns: 300 },
    );
  });

  it('silence alone never takes out more than one in ten seconds, nor more than half', () => {
    const silences = fc.array(
      fc.record({ gapMs: fc.constantFrom(0, 100, 1000, 4000), index, silent: fc.boolean() }),
      { maxLength: 200 },
    );
    fc.assert(
      fc.property(silences, (history) => {
        const fleet = new Fleet(policyOf(COUNT), seededRandom(1), 0, true);
        for (let at = 0; at < COUNT; at++) fleet.probe(idOf(at), PASS, 0);
        let now = 0;
        const removedAt: number[] = [];
        let before = 0;
        for (const { gapMs, index: which, silent } of history) {
          now += gapMs;
          fleet.probe(idOf(which), silent ? SILENCE : PASS, now);
          const down = fleet.state(now).counts.down;
          if (down > before) removedAt.push(now);
          before = down;
          expect(down).toBeLessThanOrEqual(COUNT / 2);
        }
        for (const [at, moment] of removedAt.entries()) {
          if (at > 0) expect(moment - (removedAt[at - 1] ?? 0)).toBeGreaterThanOrEqual(10_000);
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe('probes of one instance, against a model that keeps the whole history', () => {
  it('agree at every step', () => {
    const probes = fc.array(
      fc.record({
        gapMs: fc.constantFrom(250, 700, 1000, 3000),
        what: fc.constantFrom(PASS, PASS, WARN, NO, REFUSED),
      }),
      { maxLength: 60 },
    );
    fc.assert(
      fc.property(
        probes,
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 2, max: 4 }),
        (history, rise, fall) => {
          const readiness = { intervalMs: 1000, timeoutMs: 500, rise, fall };
          const fleet = new Fleet(policyOf(1, { readiness, slowStartMs: 0 }), seededRandom(1), 0, false);
          const past: { at: number; what: Evidence }[] = [];
          let expected = 'joining';
          let leftAt = 0;
          let now = 0;
          for (const { gapMs, what } of history) {
            now += gapMs;
            past.push({ at: now, what });
            const trailing = (test: (one: Evidence) => boolean): number =>
              past.length - 1 - past.findLastIndex((one) => !test(one.what));
            const answers = trailing((one) => one === PASS || one === WARN);
            const passes = trailing((one) => one === PASS);
            const refusals = trailing((one) => one === REFUSED);
            if (what === NO) {
              if (expected !== 'unready') leftAt = now;
              expected = 'unready';
            } else if (what === REFUSED) {
              if (refusals >= fall && expected !== 'unready' && expected !== 'down') {
                expected = 'down';
                leftAt = now;
              }
            } else if (expected === 'joining') expected = what === PASS ? 'ready' : 'degraded';
            else if (expected === 'unready' || expected === 'down') {
              if (answers >= rise && now - leftAt >= 2000) expected = passes >= rise ? 'ready' : 'degraded';
            } else if (what === WARN) expected = 'degraded';
            else if (passes >= rise) expected = 'ready';
            fleet.probe(idOf(0), what, now);
            expect(fleet.views(now)[0]?.state).toBe(expected);
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});
