/**
 * The open-loop sender: Poisson arrivals that do not wait for answers, each timed from the moment it was *meant* to
 * leave. A closed loop slows down with the server and so hides overload (coordinated omission); users do not.
 *
 * Arrivals are drawn beforehand one by one; a 1 ms timer sends what is due, so the sender adds about a millisecond,
 * reports how much (`senderLag…`), and needs no busy loop. Keep-alive connections are reused (load-sender.ts); a new one
 * is opened when none is idle, up to `maxConnections`, past which requests wait in the sender, their clocks running.
 * A request on a reused connection that ends before any byte came is sent once more, as every HTTP client does; those
 * are counted apart.
 */
import { seededRandom } from '../../src/kernel/random.ts';
import type { Random } from '../../src/kernel/random.ts';
import type { LoadJournal } from './load-journal.ts';
import { Sender } from './load-sender.ts';
import type { RequestClass, SenderOptions } from './load-sender.ts';
import { LoadStatistics } from './load-statistics.ts';
import type { LoadResult } from './load-statistics.ts';

export interface LoadClass extends RequestClass {
  /** Share of the arrivals of the run's phases; shares are relative to their sum. */
  readonly share: number;
  /** Arrivals of this class alone, beside those of the run; its share is then 0. */
  readonly phases?: readonly Phase[];
}

export interface Phase {
  readonly seconds: number;
  readonly ratePerSecond: number;
}

export interface OpenLoopOptions extends Omit<SenderOptions, 'classes'> {
  readonly classes: readonly LoadClass[];
  /** Run one after the other without a gap. */
  readonly phases: readonly Phase[];
  readonly slaMs: number;
  /** Requests intended before this moment are sent, and shown in the bins, but not counted. */
  readonly measureFromMs?: number;
  /** Likewise for requests intended from this moment on. */
  readonly measureUntilMs?: number;
  readonly binMs?: number;
  readonly seed?: number;
  /** Takes down every attempt. */
  readonly journal?: LoadJournal;
  /** Ends the arrivals early; what is in flight is still waited for. */
  readonly signal?: AbortSignal;
  /** Called at the start with a look at the run: how many requests are unanswered, and ms since the start. */
  readonly onStart?: (look: () => { readonly pending: number; readonly atMs: number }) => void;
}

/** The moments of a Poisson process, phase by phase, in ms since the start; Infinity after the last phase. */
export function arrivals(phases: readonly Phase[], random: Random): () => number {
  let phaseIndex = 0;
  let phaseStartMs = 0;
  let atMs = 0;
  return () => {
    for (;;) {
      const phase = phases[phaseIndex];
      if (phase === undefined) return Infinity;
      const phaseEndMs = phaseStartMs + phase.seconds * 1000;
      // Memoryless: what is left of a gap at the end of a phase is drawn anew at the next phase's rate.
      const next =
        atMs + (phase.ratePerSecond > 0 ? (-Math.log(1 - random()) * 1000) / phase.ratePerSecond : Infinity);
      if (next < phaseEndMs) {
        atMs = next;
        return next;
      }
      atMs = phaseEndMs;
      phaseStartMs = phaseEndMs;
      phaseIndex += 1;
    }
  };
}

/** Which class the next arrival has, by shares. */
function classPicker(classes: readonly LoadClass[], random: Random): () => number {
  let sum = 0;
  const bounds = classes.map((load) => {
    sum += load.share;
    return sum;
  });
  return () => {
    const point = random() * sum;
    const index = bounds.findIndex((bound) => point < bound);
    return index < 0 ? bounds.length - 1 : index;
  };
}

/** Who comes when: the next arrival of all sources, in order; at Infinity nobody comes any more. */
interface Schedule {
  atMs: number;
  classIndex: number;
  advance: () => void;
}

function scheduleOf(options: OpenLoopOptions): Schedule {
  const seed = options.seed ?? 1;
  const pick = classPicker(options.classes, seededRandom(seed + 1));
  const sources = [{ next: arrivals(options.phases, seededRandom(seed)), classOf: pick }];
  for (const [index, { phases }] of options.classes.entries()) {
    // Far from the seeds of neighbouring runs: two sources of one seed would arrive together.
    const random = seededRandom(seed + 7919 * (index + 1));
    if (phases !== undefined) sources.push({ next: arrivals(phases, random), classOf: () => index });
  }
  const due = sources.map(({ next, classOf }) => ({ next, classOf, atMs: next() }));
  const schedule: Schedule = {
    atMs: Infinity,
    classIndex: 0,
    advance: () => {
      let first = due[0];
      for (const each of due) if (first === undefined || each.atMs < first.atMs) first = each;
      schedule.atMs = first?.atMs ?? Infinity;
      if (first === undefined || first.atMs === Infinity) return;
      schedule.classIndex = first.classOf();
      first.atMs = first.next();
    },
  };
  schedule.advance();
  return schedule;
}

function lengthMs(phases: readonly Phase[]): number {
  return phases.reduce((sum, phase) => sum + phase.seconds * 1000, 0);
}

/** Runs all phases, waits for what is in flight, and returns what came of it. */
export async function runOpenLoop(options: OpenLoopOptions): Promise<LoadResult> {
  const totalMs = Math.max(lengthMs(options.phases), ...options.classes.map((c) => lengthMs(c.phases ?? [])));
  const measureFromMs = options.measureFromMs ?? 0;
  const measureUntilMs = Math.min(options.measureUntilMs ?? totalMs, totalMs);
  const names = options.classes.map((load) => load.name);
  const statistics = new LoadStatistics(names, options.slaMs, options.binMs ?? 1000, {
    measureFromMs,
    measureUntilMs,
  });
  const schedule = scheduleOf(options);
  const startedAt = performance.now();
  const random = seededRandom((options.seed ?? 1) + 2);
  const ends = { statistics, journal: options.journal, random, startedAt, retryUntilMs: totalMs };
  const sender = new Sender(options, ends);
  options.onStart?.(() => ({ pending: sender.pending, atMs: performance.now() - startedAt }));
  const done = Promise.withResolvers<void>();
  let endedMs = totalMs;
  let expireAtMs = 0;

  const tick = (): void => {
    const nowMs = performance.now() - startedAt;
    if (options.signal?.aborted === true && schedule.atMs !== Infinity) {
      schedule.atMs = Infinity;
      endedMs = nowMs;
    }
    while (schedule.atMs <= nowMs) {
      const { atMs, classIndex } = schedule;
      sender.send({ classIndex, atMs, firstAtMs: atMs, attempt: 0, resent: false }, nowMs - atMs);
      schedule.advance();
    }
    if (nowMs >= expireAtMs) {
      sender.expire(nowMs);
      expireAtMs = nowMs + 20;
    }
    if (schedule.atMs === Infinity && sender.pending === 0) done.resolve();
    else setTimeout(tick, 1);
  };
  tick();
  await done.promise;
  sender.close();
  return statistics.result(Math.max(0.001, (Math.min(endedMs, measureUntilMs) - measureFromMs) / 1000));
}
