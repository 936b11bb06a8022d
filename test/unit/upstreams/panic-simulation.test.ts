import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../../src/kernel/random.ts';
import { TIMED_OUT } from '../../../src/readiness/probe-document.ts';
import { Balancer } from '../../../src/upstreams/balancer.ts';
import { ANY_VERSION } from '../../../src/upstreams/candidates.ts';
import type { Fleet } from '../../../src/upstreams/fleet.ts';
import { PanicTries } from '../../../src/upstreams/panic-tries.ts';
import { PassiveSlice } from '../../../src/upstreams/passive-slice.ts';
import { fleetOf, idOf, PASS, viewOf } from './fleet-model.ts';

/**
 * A supervisor, workers and instances on a virtual clock, by steps of 10 ms: of all instances only one passes its probes,
 * those of the others hang. The fleet, the balancers and what decides about tries are the real ones.
 *
 * Bounds, before the first run: while the others answer requests, half of the service is open within 4 s at 100 safe
 * requests a second and more (a hundred instances: 4 s for each dozen, for which 25 tries a second and worker are enough),
 * and within 3 s for each instance that has to come back at two a second and worker; it stays so.
 * While they do not, at most one request a second and worker is delayed at any load, and no state ever changes.
 */

interface World {
  readonly instances: number;
  readonly workers: number;
  readonly perSecond: number;
  readonly seconds: number;
  readonly answers: (instance: number) => boolean;
  /** Nobody asks in this span. */
  readonly quiet?: readonly [from: number, to: number];
  /** Tries of nobody: what would be without them. */
  readonly without?: boolean;
}

interface Course {
  readonly fleet: Fleet;
  /** When half were open first, s; Infinity: never. */
  readonly halfAt: number;
  readonly safe: number;
  readonly tries: number;
  /** Tries that got no answer. */
  readonly delayed: number;
  /** Fewest that were open after half were. */
  readonly fewestLater: number;
}

const STEP_MS = 10;
const ANSWER_MS = 20;
const LIMIT_MS = 80;
const PROBE_MS = 1000;
const TIMEOUT_MS = 500;
const REPORT_MS = 100;

class ModelWorker {
  readonly #balancer: Balancer;
  readonly #tries = new PanicTries();
  readonly #slices = new Map<string, PassiveSlice>();
  #sequence = -1;
  #running: { slot: number; endsAt: number; good: boolean } | undefined;
  made = 0;
  failed = 0;

  constructor(workers: number, seed: number) {
    const policy = { slaMs: 250, slowStartMs: 30_000, maxConcurrencyPerInstance: Infinity, workers };
    this.#balancer = new Balancer(policy, seededRandom(seed));
  }

  look(fleet: Fleet, now: number): void {
    if (this.#sequence === fleet.sequence) return;
    this.#sequence = fleet.sequence;
    this.#balancer.update(fleet.views(now), now);
    this.#tries.list(this.#balancer.silent);
  }

  request(now: number, answers: (id: string) => boolean, mayTry: boolean): void {
    const tried = mayTry && this.#tries.active ? this.#tries.ask(ANY_VERSION, now) : -1;
    const slot = tried >= 0 ? tried : this.#balancer.pick({ pinned: -1, tried: [], makesPin: false }, now);
    const id = this.#balancer.idOf(slot);
    if (tried < 0) {
      this.#note(id);
      return;
    }
    this.made++;
    this.#tries.begun(LIMIT_MS, now);
    const good = answers(id);
    this.#running = { slot, endsAt: now + (good ? ANSWER_MS : LIMIT_MS), good };
  }

  step(now: number): void {
    if (this.#running === undefined || this.#running.endsAt > now) return;
    const { slot, good } = this.#running;
    this.#running = undefined;
    this.#tries.ended(slot, good, now);
    if (good) this.#note(this.#balancer.idOf(slot));
    else this.failed++;
  }

  report(fleet: Fleet, now: number): void {
    for (const [id, slice] of this.#slices) if (!slice.empty) fleet.passive(id, slice.take(), now);
  }

  #note(id: string): void {
    const slice = this.#slices.get(id) ?? new PassiveSlice();
    this.#slices.set(id, slice);
    slice.record('ok', 1);
  }
}

function simulate(world: World, seed: number): Course {
  const { instances, workers, perSecond, answers, quiet = [0, 0] } = world;
  const random = seededRandom(seed);
  const fleet = fleetOf(instances);
  const crew = Array.from({ length: workers }, (_, index) => new ModelWorker(workers, seed + index));
  const probesAt = Array.from({ length: instances }, () => random() * PROBE_MS);
  const good = new Set(
    Array.from({ length: instances }, (_, index) => index)
      .filter(answers)
      .map(idOf),
  );
  let due = 0;
  let safe = 0;
  let halfAt = Infinity;
  let fewestLater = Infinity;
  for (let now = 0; now < world.seconds * 1000; now += STEP_MS) {
    for (const [index, at] of probesAt.entries()) {
      if (at > now) continue;
      probesAt[index] = at + PROBE_MS * (0.9 + 0.2 * random());
      // A silence is known when its time is over.
      if (index === 0) fleet.probe(idOf(0), PASS, now);
      else if (now > TIMEOUT_MS) fleet.probe(idOf(index), TIMED_OUT, now);
    }
    for (const worker of crew) {
      worker.step(now);
      worker.look(fleet, now);
      if (now % REPORT_MS === 0) worker.report(fleet, now);
    }
    if (now % REPORT_MS === 0) fleet.tick(now);
    const asks = now < quiet[0] || now >= quiet[1];
    for (due += asks ? (perSecond * STEP_MS) / 1000 : 0; due >= 1 && viewOf(fleet, 0).opensNew; due--) {
      safe++;
      crew[Math.floor(random() * workers)]?.request(now, (id) => good.has(id), world.without !== true);
    }
    const open = fleet.views(now).filter(({ opensNew }) => opensNew).length;
    if (halfAt < Infinity) fewestLater = Math.min(fewestLater, open);
    else if (2 * open >= instances) halfAt = now / 1000;
  }
  const sum = (of: (worker: ModelWorker) => number): number =>
    crew.reduce((all, worker) => all + of(worker), 0);
  const tries = sum(({ made }) => made);
  return { fleet, halfAt, safe, tries, delayed: sum(({ failed }) => failed), fewestLater };
}

/** Until all the silent ones are down: two silences, and the first second in which answers are those of before. */
const DOWN_S = 4;

describe('probes lie of all but one', () => {
  it('without tries they stay out for good', () => {
    const { halfAt } = simulate(
      { instances: 5, workers: 2, perSecond: 200, seconds: 60, answers: () => true, without: true },
      1,
    );
    expect(halfAt).toBe(Infinity);
  });

  it.each([
    [5, 2, 100],
    [5, 2, 400],
    [5, 8, 800],
    [20, 4, 1000],
    [100, 4, 2000],
  ])('%i instances, %i workers, %i requests a second: half are open soon, and stay', (...of) => {
    const [instances, workers, perSecond] = of;
    for (const seed of [1, 2, 3, 4, 5]) {
      const course = simulate({ instances, workers, perSecond, seconds: 60, answers: () => true }, seed);
      expect(course.halfAt).toBeLessThanOrEqual(DOWN_S + 4 * Math.ceil(instances / 24));
      expect(2 * course.fewestLater).toBeGreaterThanOrEqual(instances);
    }
  });

  it.each([
    [5, 1],
    [5, 2],
    [20, 2],
  ])('%i instances, %i workers, hardly any load: 3 s for each that comes back', (instances, workers) => {
    for (const seed of [1, 2, 3, 4, 5]) {
      const perSecond = 2 * workers;
      const course = simulate({ instances, workers, perSecond, seconds: 60, answers: () => true }, seed);
      expect(course.halfAt).toBeLessThanOrEqual(DOWN_S + 3 * (Math.ceil(instances / 2) - 1));
      expect(2 * course.fewestLater).toBeGreaterThanOrEqual(instances);
    }
  });

  it('a minute in which nobody asks costs that minute and nothing else', () => {
    for (const seed of [1, 2, 3]) {
      const { halfAt } = simulate(
        { instances: 5, workers: 2, perSecond: 100, seconds: 90, answers: () => true, quiet: [3000, 63_000] },
        seed,
      );
      expect(halfAt).toBeLessThanOrEqual(63 + 4);
    }
  });

  it('those that answer come back past those that do not', () => {
    for (const seed of [1, 2, 3, 4, 5]) {
      const { fleet, halfAt } = simulate(
        { instances: 7, workers: 2, perSecond: 200, seconds: 60, answers: (index) => index > 3 },
        seed,
      );
      // The three that do not are tried first, a second each.
      expect(halfAt).toBeLessThanOrEqual(DOWN_S + 3 + 4);
      for (const index of [1, 2, 3]) expect(viewOf(fleet, index).state).toBe('down');
    }
  });

  it.each([
    [1, 4],
    [2, 200],
    [8, 4000],
  ])('they are dead: %i workers, %i requests a second: one a second and worker is delayed', (...of) => {
    const [workers, perSecond] = of;
    const seconds = 60;
    const course = simulate({ instances: 5, workers, perSecond, seconds, answers: () => false }, 1);
    expect(course.tries).toBeGreaterThan(0.5 * workers * seconds);
    expect(course.delayed).toBeLessThanOrEqual(workers * (seconds + 1));
    expect(course.fleet.views(0).filter(({ opensNew }) => opensNew)).toHaveLength(1);
  });
});
