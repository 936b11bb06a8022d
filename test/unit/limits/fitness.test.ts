import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../../src/kernel/random.ts';
import { StoreFitness } from '../../../src/limits/fitness.ts';

class Watched extends StoreFitness {
  readonly told: string[];

  constructor(random = seededRandom(1)) {
    const told: string[] = [];
    super(random, (state, reason) => told.push(reason === '' ? state : `${state} ${reason}`));
    this.told = told;
  }

  /** Connected and fit at 0. */
  started(): this {
    this.connected(0);
    this.beat(0, true);
    return this;
  }

  beat(now: number, inTime: boolean): void {
    this.beatSent(now);
    if (inTime) this.beatAnswered(now, true);
    else this.beatFailed(now, 'slow');
  }
}

const middle = (): number => 0.5;

describe('at the start', () => {
  test('nobody asks before the first heartbeat has come back in time', () => {
    const fitness = new Watched();
    expect(fitness.mayAsk(0)).toBe(false);
    expect(fitness.beatDue(0)).toBe(false);
    fitness.connected(10);
    expect(fitness.mayAsk(10)).toBe(false);
    expect(fitness.beatDue(10)).toBe(true);
    fitness.beatSent(10);
    expect(fitness.beatDue(10)).toBe(false);
    fitness.beatAnswered(11, true);
    expect(fitness.mayAsk(11)).toBe(true);
    expect(fitness.told).toEqual(['fit']);
  });

  test('a store that was never there is told once', () => {
    const fitness = new Watched();
    for (let i = 0; i < 10_000; i++) fitness.disconnected(i, 'ECONNREFUSED');
    expect(fitness.told).toEqual(['unfit ECONNREFUSED']);
    expect(fitness.reason()).toBe('ECONNREFUSED');
  });
});

describe('a missed deadline', () => {
  test('stops all calls at once, and the late reply lets them go on, untold', () => {
    const fitness = new Watched().started();
    fitness.missed(100);
    expect(fitness.mayAsk(100)).toBe(false);
    expect(fitness.state(100)).toBe('suspect');
    expect(fitness.reason()).toBe('slow');
    fitness.answered(130, false);
    expect(fitness.mayAsk(130)).toBe(true);
    expect(fitness.told).toEqual(['fit']);
  });

  test('pipelines that were in flight when it stalled are one incident', () => {
    const fitness = new Watched().started();
    for (let i = 0; i < 12; i++) fitness.missed(100 + i);
    fitness.answered(140, false);
    expect(fitness.state(140)).toBe('fit');
  });

  test('a suspicion of 250 ms becomes a pause', () => {
    const fitness = new Watched().started();
    fitness.missed(100);
    fitness.tick(349);
    expect(fitness.state(349)).toBe('suspect');
    fitness.tick(350);
    expect(fitness.state(350)).toBe('open');
    expect(fitness.told).toEqual(['fit', 'unfit silent']);
  });

  test('five in a row, each answered late, open it: slower than the deadline is as bad as gone', () => {
    const fitness = new Watched().started();
    for (let i = 0; i < 5; i++) {
      expect(fitness.mayAsk(i * 100)).toBe(true);
      fitness.missed(i * 100 + 25);
      fitness.answered(i * 100 + 60, false);
    }
    expect(fitness.state(500)).toBe('open');
    expect(fitness.told.at(-1)).toBe('unfit slow');
  });

  test('an answer in time ends the row', () => {
    const fitness = new Watched().started();
    for (let i = 0; i < 40; i++) {
      if (i % 4 === 3) fitness.answered(i * 100, true);
      else fitness.failed(i * 100, 'error');
    }
    expect(fitness.state(4000)).toBe('fit');
  });

  test('half of twenty in a second open it, half of nineteen do not', () => {
    for (const [pairs, state] of [
      [9, 'fit'],
      [10, 'open'],
    ] as const) {
      const fitness = new Watched().started();
      for (let i = 0; i < pairs; i++) {
        fitness.answered(500 + i, true);
        fitness.failed(500 + i, 'error');
      }
      expect(fitness.state(520)).toBe(state);
    }
  });

  test('what failed more than a second ago is forgotten', () => {
    const fitness = new Watched().started();
    for (let i = 0; i < 30; i++) {
      fitness.answered(i * 200, true);
      fitness.failed(i * 200, 'error');
    }
    expect(fitness.state(6000)).toBe('fit');
  });
});

describe('the way back', () => {
  test('a heartbeat tries it at the end of each pause, which doubles up to a second', () => {
    const fitness = new Watched(middle).started();
    fitness.refused(1000, 'OOM');
    const pauses: number[] = [];
    for (let now = 1000, since = now; pauses.length < 5; now++) {
      if (!fitness.beatDue(now)) continue;
      pauses.push(now - since);
      since = now;
      fitness.beatSent(now);
      fitness.beatFailed(now, 'OOM');
    }
    expect(pauses).toEqual([250, 250, 500, 1000, 1000]);
  });

  test('two heartbeats in time close it, and calls return within half a second', () => {
    const fitness = new Watched(middle).started();
    fitness.refused(1000, 'OOM');
    fitness.beat(1250, true);
    expect(fitness.state(1250)).toBe('open');
    expect(fitness.beatDue(1250)).toBe(true);
    fitness.beat(1260, true);
    expect(fitness.state(1260)).toBe('returning');
    expect(fitness.mayAsk(1509)).toBe(false);
    expect(fitness.mayAsk(1510)).toBe(true);
    expect(fitness.told).toEqual(['fit', 'unfit OOM', 'fit']);
  });

  test('one in time and one late do not', () => {
    const fitness = new Watched(middle).started();
    fitness.refused(1000, 'OOM');
    fitness.beat(1250, true);
    fitness.beat(1260, false);
    fitness.beat(1600, true);
    expect(fitness.state(1600)).toBe('open');
  });

  test('a new connection is tried at once, unless trials have failed', () => {
    const fitness = new Watched(middle).started();
    fitness.disconnected(1000, 'closed');
    fitness.connected(1060);
    expect(fitness.beatDue(1060)).toBe(true);
    fitness.beat(1060, false);
    fitness.disconnected(1061, 'closed');
    fitness.connected(1100);
    expect(fitness.beatDue(1100)).toBe(false);
    expect(fitness.beatDue(1310)).toBe(true);
  });

  test('a return that fails opens again at once', () => {
    const fitness = new Watched(middle).started();
    fitness.refused(1000, 'OOM');
    fitness.beat(1250, true);
    fitness.beat(1260, true);
    fitness.disconnected(1300, 'ECONNRESET');
    expect(fitness.mayAsk(2000)).toBe(false);
    expect(fitness.told).toEqual(['fit', 'unfit OOM']);
  });

  test('the pause is told to those who are denied', () => {
    const fitness = new Watched(middle).started();
    expect(fitness.pauseMs(900)).toBe(0);
    fitness.refused(1000, 'OOM');
    expect(fitness.pauseMs(1100)).toBe(150);
    fitness.disconnected(1100, 'closed');
    expect(fitness.pauseMs(1100)).toBe(1000);
  });
});

test('while fit a heartbeat goes each second, and one that is missed is a missed deadline', () => {
  const fitness = new Watched().started();
  expect(fitness.beatDue(999)).toBe(false);
  expect(fitness.beatDue(1000)).toBe(true);
  fitness.beat(1000, false);
  expect(fitness.state(1000)).toBe('suspect');
});
