/**
 * A process of its own that picks instances as a worker does, and tells what a pick cost: time, and bytes of the heap.
 *
 * The balancer is brought into the state of a busy one first: every instance has answered, requests are in flight, and in a
 * *mixed* fleet a tenth is slow and a fiftieth fails, so that pairs are drawn again. Then picks alone are timed, several
 * stretches in turn over all fleets; garbage is collected before each (`--expose-gc`) and not within one (young
 * objects have room, see pick.ts), so what the heap grows by is what the picks allocated. Called with the stretches and the picks of one.
 */
import process from 'node:process';

import { seededRandom } from '../../src/kernel/random.ts';
import { Balancer } from '../../src/upstreams/balancer.ts';
import type { PickRequest } from '../../src/upstreams/pick.ts';
import { Breaker } from '../../src/upstreams/breaker.ts';
import { view } from '../../test/harness/instance-view.ts';

export interface Stretch {
  readonly what: string;
  readonly nsEach: number;
  readonly bytesEach: number;
}

export interface PickReport {
  readonly stretches: readonly Stretch[];
  /** Picks that found nothing: nobody here is at a cap. */
  readonly refused: number;
}

const [stretches = 1, picks = 100_000] = process.argv.slice(2).map(Number);
/** As many as make every function hot and every array as long as it gets. */
const WARM_UP = 200_000;
const REQUEST: PickRequest = { pinned: -1, tried: [], makesPin: false };

/** Of the instances of a mixed fleet: how long an answer takes, and with which status. */
function answerOf(slot: number, mixed: boolean): { readonly ms: number; readonly status: number } {
  if (!mixed || slot % 10 > 0) return { ms: 5 + (slot % 7), status: 200 };
  return slot % 50 === 0 ? { ms: 0.5, status: 500 } : { ms: 40, status: 200 };
}

class BusyFleet {
  readonly what: string;
  readonly #balancer: Balancer;
  #now = 1;

  constructor(instances: number, mixed: boolean) {
    this.what = `${instances}${mixed ? ', a tenth slow or failing' : ''}`;
    this.#balancer = new Balancer(
      { slaMs: 250, slowStartMs: 30_000, maxConcurrencyPerInstance: 256, workers: 1 },
      Math.random,
    );
    this.#balancer.update(
      Array.from({ length: instances }, (_, index) => view(index)),
      0,
    );
    const inFlight: number[] = [];
    for (let turn = 0; turn < WARM_UP; turn += 1) {
      this.#now += 0.01;
      const slot = turn < 20 * instances ? turn % instances : this.#balancer.pick(REQUEST, this.#now);
      this.#balancer.started(slot, this.#now);
      inFlight.push(slot);
      const ended = inFlight.length > 4 * instances ? inFlight.shift() : undefined;
      if (ended === undefined) continue;
      const { ms, status } = answerOf(ended, mixed);
      this.#balancer.head(ended, ms, status, -1, this.#now);
      this.#balancer.finished(ended, this.#now);
    }
  }

  pick(times: number, notes: Notes): void {
    // One number for all: what a clock returns is an object of the clock's.
    const now = this.#now;
    notes.time(this.what, times, () => {
      for (let turn = 0; turn < times; turn += 1) {
        if (this.#balancer.pick(REQUEST, now) < 0) notes.refused += 1;
      }
    });
  }
}

class Notes {
  readonly stretches: Stretch[] = [];
  refused = 0;

  time(what: string, times: number, run: () => void): void {
    globalThis.gc?.();
    const before = process.memoryUsage().heapUsed;
    const from = process.hrtime.bigint();
    run();
    const tookNs = Number(process.hrtime.bigint() - from);
    const bytes = process.memoryUsage().heapUsed - before;
    this.stretches.push({ what, nsEach: tookNs / times, bytesEach: bytes / times });
  }
}

const breaker = new Breaker(
  { consecutive: 5, errorRatio: 0.5, minRequests: 20, openMs: 2000 },
  seededRandom(1),
);

function recordOutcomes(times: number, notes: Notes): void {
  notes.time('breaker', times, () => {
    const pass = breaker.allow(1);
    for (let turn = 0; turn < times; turn += 1) breaker.record('ok', 1, pass);
  });
}

function allStretches(): PickReport {
  const fleets = [new BusyFleet(10, false), new BusyFleet(1000, false), new BusyFleet(1000, true)];
  recordOutcomes(WARM_UP, new Notes());
  const notes = new Notes();
  for (let stretch = 0; stretch < stretches; stretch += 1) {
    for (const fleet of fleets) fleet.pick(picks, notes);
    recordOutcomes(picks, notes);
  }
  return { stretches: notes.stretches, refused: notes.refused };
}

process.send?.(allStretches(), () => process.exit(0));
