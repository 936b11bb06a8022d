import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { seededRandom } from '../../src/kernel/random.ts';
import type { Charge, Level, LimitDecision } from '../../src/limits/decision.ts';
import { compileRate } from '../../src/limits/gcra.ts';
import type { Lease } from '../../src/limits/lease.ts';
import type { LeasePolicy } from '../../src/limits/leases.ts';
import { Limiter } from '../../src/limits/limiter.ts';
import type { StoreCall } from '../../src/limits/store.ts';
import { Ask, Caller, ScriptedStore } from '../unit/limits/fixtures.ts';

/**
 * The account of leased units: granted = spent + expired + refunded + held, after every step of whatever happens: answers
 * in time, late and never, in any order; the share of an outage in the place of the store; requests that wait for each other;
 * units that come back; reloads; workers that come and go; buckets filled by an operator; a worker that leaves while it is
 * being answered.
 */

const POLICIES: readonly LeasePolicy[] = [
  { enforcement: 'auto', maxOverRatio: 0.2 },
  { enforcement: 'auto', maxOverRatio: 0.02 },
  { enforcement: 'leased', maxOverRatio: 0.05 },
  { enforcement: 'exact', maxOverRatio: 0.05 },
];
const LEVELS: readonly Level[] = ['client', 'route', 'tier', 'global'];

function chargesOf(scale: number): Charge[] {
  return LEVELS.map((level, i) => ({
    key: level,
    level,
    rate: compileRate((i + 1) * 500 * scale, (i + 1) * 60),
    enforced: level !== 'route',
  }));
}

/** A worker, its store, and all that is under way between the two. */
class Scene {
  now = 1000;
  readonly store = new ScriptedStore();
  readonly share = new ScriptedStore();
  readonly limiter = new Limiter({
    store: this.store,
    onUnavailable: 'local',
    workers: 1,
    random: seededRandom(3),
  });
  charges = chargesOf(1);
  readonly admitted: { caller: Caller; decision: LimitDecision }[] = [];
  readonly leases = new Set<Lease>();
  readonly #late: { call: StoreCall; answer: Ask }[] = [];

  constructor() {
    const { store, share } = this;
    const leases = POLICIES[0] as LeasePolicy;
    this.limiter.configure({ onUnavailable: 'local', store, share: { store: share, withinMs: 27 }, leases });
    for (const each of [store, share]) each.mode = 'late';
  }

  decide(levels: number, cost: number): void {
    const caller = new Caller(
      this.charges.filter((_, i) => (levels & (1 << i)) !== 0),
      cost,
    );
    this.limiter.decide(caller, this.now);
    void caller.done.then((decision) => this.admitted.push({ caller, decision }));
    for (const call of this.store.waiting)
      for (const lease of (call as { leases?: readonly (Lease | undefined)[] }).leases ?? [])
        if (lease !== undefined) this.leases.add(lease);
  }

  /** The store, or the share, decides a call that waits; `end` says what the worker hears of it. */
  answer(store: ScriptedStore, which: number, end: 'in time' | 'late' | 'never'): void {
    const [call] = store.waiting.splice(which % Math.max(1, store.waiting.length), 1);
    if (call === undefined) return;
    if (end === 'in time') {
      store.buckets.decide(call, this.now);
      return;
    }
    const answer = new Ask(call.keys, call.terms);
    store.buckets.decide(answer, this.now);
    call.unavailable(this.now);
    if (end === 'late') this.#late.push({ call, answer });
  }

  late(): void {
    const next = this.#late.shift();
    if (next !== undefined) next.call.late?.(next.answer.reply ?? [], this.now);
  }

  /** @returns units that a lease has taken over */
  giveBack(): number {
    const done = this.admitted.pop();
    if (done === undefined) return 0;
    const { granted } = this.limiter.leaseTokens(this.now);
    this.limiter.giveBack(done.caller, done.decision, this.now - 10, this.now);
    return this.limiter.leaseTokens(this.now).granted - granted;
  }

  expectBalance(): void {
    const { granted, spent, expired, refunded } = this.limiter.leaseTokens(this.now);
    let held = 0;
    for (const { tokens, reserved } of this.leases) {
      expect(Math.min(tokens, reserved)).toBeGreaterThanOrEqual(0);
      held += tokens + reserved;
    }
    expect(granted).toBe(spent + expired + refunded + held);
  }
}

const steps = fc.array(
  fc.oneof(
    {
      weight: 12,
      arbitrary: fc.record({
        does: fc.constant('decide' as const),
        levels: fc.constantFrom(1, 8, 12, 14, 15),
        cost: fc.constantFrom(1, 1, 1, 3),
        times: fc.constantFrom(1, 5, 40),
      }),
    },
    {
      weight: 5,
      arbitrary: fc.record({ does: fc.constant('wait' as const), ms: fc.constantFrom(1, 1, 8, 90, 150) }),
    },
    {
      weight: 10,
      arbitrary: fc.record({
        does: fc.constant('answer' as const),
        of: fc.constantFrom('store' as const, 'share' as const),
        which: fc.nat(5),
        times: fc.constantFrom(1, 100),
        end: fc.constantFrom(
          'in time' as const,
          'in time' as const,
          'in time' as const,
          'late' as const,
          'never' as const,
        ),
      }),
    },
    { weight: 3, arbitrary: fc.record({ does: fc.constant('late' as const) }) },
    { weight: 4, arbitrary: fc.record({ does: fc.constant('give back' as const) }) },
    {
      weight: 2,
      arbitrary: fc.record({
        does: fc.constant('reload' as const),
        policy: fc.nat(3),
        scale: fc.constantFrom(1, 0.1, 4),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ does: fc.constant('holders' as const), holders: fc.constantFrom(1, 2, 9, 60) }),
    },
    { weight: 1, arbitrary: fc.record({ does: fc.constant('fill' as const) }) },
    { weight: 1, arbitrary: fc.record({ does: fc.constant('drain' as const) }) },
  ),
  { minLength: 20, maxLength: 120 },
);

test('leased units: granted is spent, expired, refunded and held, after every step', async () => {
  let takenOver = 0;
  let shared = 0;
  const all = { granted: 0, expired: 0, refunded: 0 };
  await fc.assert(
    fc.asyncProperty(steps, async (list) => {
      const scene = new Scene();
      const { limiter, store } = scene;
      for (const step of list) {
        switch (step.does) {
          case 'decide':
            for (let i = 0; i < step.times; i++) scene.decide(step.levels, step.cost);
            break;
          case 'wait':
            scene.now += step.ms;
            break;
          case 'answer':
            for (let i = 0; i < step.times && scene[step.of].waiting.length > 0; i++)
              scene.answer(scene[step.of], step.which, step.end);
            break;
          case 'late':
            scene.late();
            break;
          case 'give back':
            // Callers are told in promises.
            await Promise.resolve();
            takenOver += scene.giveBack();
            break;
          case 'reload':
            scene.charges = chargesOf(step.scale);
            limiter.configure({ onUnavailable: 'local', leases: POLICIES[step.policy] as LeasePolicy });
            break;
          case 'holders':
            store.holders = step.holders;
            break;
          case 'fill':
            for (const key of LEVELS) store.buckets.forget(key);
            limiter.forget(LEVELS);
            break;
          case 'drain':
            limiter.drain(scene.now);
            break;
          default:
            step satisfies never;
        }
        scene.expectBalance();
      }
      shared += scene.share.asked;
      // Nothing is under way any more, and in a while nothing is held. What the share answers may have others ask the store.
      while (store.waiting.length + scene.share.waiting.length > 0)
        for (const each of [store, scene.share]) scene.answer(each, 0, 'in time');
      scene.now += 1000;
      const tokens = limiter.leaseTokens(scene.now);
      expect(tokens.granted).toBe(tokens.spent + tokens.expired + tokens.refunded);
      for (const event of ['granted', 'expired', 'refunded'] as const) all[event] += tokens[event];
    }),
    { numRuns: 150 },
  );
  // Each way was gone.
  expect(Math.min(takenOver, shared, all.refunded)).toBeGreaterThan(10);
  expect(Math.min(all.granted - all.expired, all.expired)).toBeGreaterThan(100);
});
