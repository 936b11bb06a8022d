import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../src/kernel/random.ts';
import { Balancer } from '../../src/upstreams/balancer.ts';
import { ALL_AT_CAP, NONE_READY } from '../../src/upstreams/pick.ts';
import type { InstanceView } from '../../src/upstreams/fleet.ts';
import { LatencyBook } from '../../src/upstreams/latency-book.ts';
import { view } from '../harness/instance-view.ts';

const CAP = 3;
const KINDS = ['ready', 'warming', 'trial', 'draining', 'down', 'panic', 'unready', 'absent'] as const;
type Kind = (typeof KINDS)[number];

/** An instance of each kind as the supervisor would show it. */
const LOOKS: Record<Exclude<Kind, 'absent'>, Partial<InstanceView>> = {
  ready: {},
  warming: { state: 'warming', readyForMs: 5000 },
  trial: { state: 'warming', readyForMs: 0, trial: true },
  draining: { state: 'draining', opensNew: false, drainForMs: 10 },
  down: { state: 'down', opensNew: false, keepsPinned: false, readyForMs: 0 },
  panic: { state: 'down', opensNew: false, keepsPinned: false, readyForMs: 0, panic: true },
  unready: { state: 'unready', opensNew: false, keepsPinned: false, readyForMs: 0 },
};

type Step =
  | { readonly do: 'update'; readonly kinds: readonly Kind[]; readonly versions: readonly number[] }
  | { readonly do: 'pick'; readonly pin: number; readonly tried: number; readonly makesPin: boolean }
  | { readonly do: 'head'; readonly which: number; readonly status: number; readonly rttMs: number }
  | { readonly do: 'end'; readonly which: number; readonly fails: boolean }
  | { readonly do: 'wait'; readonly ms: number };

const steps: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    do: fc.constant('update' as const),
    kinds: fc.array(fc.constantFrom(...KINDS), { minLength: 5, maxLength: 5 }),
    versions: fc.array(fc.nat(1), { minLength: 5, maxLength: 5 }),
  }),
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('pick' as const),
      pin: fc.integer({ min: -1, max: 5 }),
      tried: fc.nat(31),
      makesPin: fc.boolean(),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('head' as const),
      which: fc.nat(50),
      status: fc.constantFrom(200, 304, 404, 429, 500, 503),
      rttMs: fc.double({ min: 0, max: 1e4, noNaN: true }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant('end' as const), which: fc.nat(50), fails: fc.boolean() }),
  },
  fc.record({ do: fc.constant('wait' as const), ms: fc.constantFrom(0, 1, 100, 5000, 1e9) }),
);

describe('the balancer, for any history', () => {
  it('gives nothing new to a closed instance, keeps every cap, and says why it gives nothing', () => {
    fc.assert(
      fc.property(fc.array(steps, { maxLength: 120 }), fc.integer(), (history, seed) => {
        const policy = { slaMs: 250, slowStartMs: 30_000, maxConcurrencyPerInstance: CAP, workers: 1 };
        const balancer = new Balancer(policy, seededRandom(seed));
        let views: InstanceView[] = [];
        let now = 0;
        // The naive model: which request is where, by incarnation. One that was away is a new one.
        const lives = new Map<string, number>();
        const keyOf = ({ id, version }: InstanceView): string =>
          `${id} ${version} ${lives.get(`${id} ${version}`)}`;
        const running: { slot: number; key: string }[] = [];
        const countOf = (key: string): number => running.filter((one) => one.key === key).length;
        for (const step of history) {
          switch (step.do) {
            case 'update':
              {
                const before = new Set(views.map(({ id, version }) => `${id} ${version}`));
                views = step.kinds.flatMap((kind, index) =>
                  kind === 'absent'
                    ? []
                    : [view(index, { ...LOOKS[kind], version: `v${step.versions[index]}` })],
                );
                for (const { id, version } of views) {
                  const name = `${id} ${version}`;
                  if (!before.has(name)) lives.set(name, (lives.get(name) ?? 0) + 1);
                }
              }
              balancer.update(views, now);
              break;
            case 'wait':
              now += step.ms;
              break;
            case 'pick': {
              const pinned = balancer.slotOf(`10.0.0.${step.pin}:80`);
              const triedViews = views.filter((_, index) => (step.tried & (1 << index)) !== 0);
              const tried = triedViews.map(({ id }) => balancer.slotOf(id));
              const slot = balancer.pick({ pinned, tried, makesPin: step.makesPin }, now);
              const open = views.filter(({ opensNew }) => opensNew);
              const candidates = open.length > 0 ? open : views.filter(({ panic }) => panic);
              const untried = candidates.filter((one) => !triedViews.includes(one));
              if (slot === NONE_READY) expect(untried).toEqual([]);
              else if (slot === ALL_AT_CAP) {
                expect(untried.length).toBeGreaterThan(0);
                // A young one may be thinned to a single request.
                for (const one of untried) expect(countOf(keyOf(one))).toBeGreaterThanOrEqual(1);
              } else {
                const chosen = views.find(({ id }) => balancer.slotOf(id) === slot)!;
                expect(triedViews).not.toContain(chosen);
                if (balancer.lastReason === 'pinned') {
                  expect(slot).toBe(pinned);
                  expect(chosen.keepsPinned || candidates.includes(chosen)).toBe(true);
                } else expect(candidates).toContain(chosen);
                expect(countOf(keyOf(chosen))).toBeLessThan(chosen.trial ? 1 : CAP);
                balancer.started(slot, now);
                running.push({ slot, key: keyOf(chosen) });
              }
              break;
            }
            case 'head': {
              const one = running[step.which % Math.max(1, running.length)];
              if (one !== undefined) balancer.head(one.slot, step.rttMs, step.status, 1e6, now);
              break;
            }
            case 'end': {
              const [one] = running.splice(step.which % Math.max(1, running.length), 1);
              if (one === undefined) break;
              if (step.fails) balancer.failed(one.slot, 'reset', now);
              balancer.finished(one.slot, now);
              break;
            }
          }
          for (const one of views)
            expect(balancer.inFlight(balancer.slotOf(one.id))).toBe(countOf(keyOf(one)));
          expect(new Set(views.map(({ id }) => balancer.slotOf(id))).size).toBe(views.length);
        }
        for (const { slot } of running) balancer.finished(slot, now);
        for (let slot = 0; slot < 64; slot++) expect(balancer.inFlight(slot)).toBe(0);
        for (const { rttMs, blame } of balancer.view(now)) {
          expect(Number.isFinite(rttMs) && rttMs >= 0).toBe(true);
          expect(blame >= 0 && blame <= 1).toBe(true);
        }
      }),
      { numRuns: 400 },
    );
  });
});

/** What a request at a slot is expected to take, beside another one. */
function expectedMs(book: LatencyBook, slot: number, now: number, beside = slot): number {
  const into = new Float64Array(1);
  book.expect(into, 0, slot, now, beside);
  return into[0] ?? Number.NaN;
}

describe('the estimate, after any gap', () => {
  it('is finite and positive, and never above the largest thing measured or guessed', () => {
    const sample = fc.record({
      gapMs: fc.oneof(fc.double({ min: 0, max: 1e5, noNaN: true }), fc.constant(1e15)),
      rttMs: fc.double({ min: 0, max: 1e6, noNaN: true }),
      status: fc.constantFrom(200, 404, 500, 503),
    });
    fc.assert(
      fc.property(fc.array(sample, { maxLength: 50 }), (samples) => {
        const book = new LatencyBook();
        book.grow(1);
        book.begin(0, 125, 0);
        let now = 0;
        let largest = 125;
        for (const { gapMs, rttMs, status } of samples) {
          now += gapMs;
          book.answer(0, rttMs, status, -1, now);
          largest = Math.max(largest, rttMs);
          expect(book.rttMs(0, now)).toBeLessThanOrEqual(largest * (1 + 1e-12));
          const expected = expectedMs(book, 0, now);
          expect(Number.isFinite(expected) && expected > 0).toBe(true);
        }
      }),
    );
  });
});
