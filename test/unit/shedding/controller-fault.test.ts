/** A fault in the controller: the last good limit stays, and whoever waits is served or told, as ever. */
import { afterEach, describe, expect, test, vi } from 'vitest';
import { seededRandom } from '../../../src/kernel/random.ts';
import { Admission } from '../../../src/shedding/admission.ts';
import { Flight } from '../../../src/shedding/flight.ts';
import { Stall } from '../../../src/shedding/stall.ts';
import { Caller, enter, POLICY } from './fixture.ts';

afterEach(() => {
  vi.restoreAllMocks();
});

/** The clockwork goes on when a beat throws, and counts it (worker-beat.ts). */
class Beating {
  readonly gate: Admission;
  now = 0;
  faults = 0;
  /** From now on chance itself is a fault. */
  unlucky = false;
  readonly #running: { readonly caller: Caller; readonly doneAtMs: number }[] = [];

  constructor(workers = 1) {
    const random = seededRandom(1);
    const chance = (): number => {
      if (this.unlucky) throw new Error('no chance left');
      return random();
    };
    this.gate = new Admission({ ...POLICY, workers }, chance, 0);
  }

  /** So many at a time, each answered after 50 ms. */
  run(ms: number, callers: number): void {
    for (const endMs = this.now + ms; this.now < endMs;) {
      this.beat();
      this.#answer();
      while (this.#running.length < callers) {
        const caller = enter(this.gate, 1, this.now);
        caller.permit?.attempt(this.now);
        this.#running.push({ caller, doneAtMs: this.now + 50 });
      }
    }
  }

  beat(): void {
    this.now += 5;
    try {
      this.gate.tick(this.now);
    } catch {
      this.faults += 1;
    }
  }

  #answer(): void {
    while (this.#running[0] !== undefined && this.#running[0].doneAtMs <= this.now) {
      const caller = this.#running.shift()?.caller;
      caller?.permit?.head(this.now, 'sample');
      caller?.permit?.release(this.now);
    }
  }
}

/** A fault in each part that a beat walks through. */
const FAULTS: Readonly<Record<string, (beating: Beating) => void>> = {
  'chance, asked at the end of a calm window': (beating) => {
    beating.unlucky = true;
  },
  'the ages of what is in flight, asked by the brake': () => {
    vi.spyOn(Flight.prototype, 'mostlyOlderThan').mockImplementation(() => {
      throw new Error('no ages');
    });
  },
  'the counts of what is in flight': () => {
    vi.spyOn(Flight.prototype, 'advance').mockImplementationOnce(() => {
      throw new Error('no counts');
    });
  },
  'the lost pace': () => {
    vi.spyOn(Stall.prototype, 'tick').mockImplementation(() => {
      throw new Error('no pace');
    });
  },
};

describe.each(Object.entries(FAULTS))('a fault in %s', (_, break_) => {
  function broken(): Beating {
    const beating = new Beating();
    beating.run(3000, 10);
    expect(beating.faults).toBe(0);
    return beating;
  }

  test('is told to the clockwork, and keeps the last good limit', () => {
    const beating = broken();
    const { limit } = beating.gate.share(beating.now);
    break_(beating);
    beating.run(1000, 10);
    expect(beating.faults).toBeGreaterThan(0);
    expect(beating.gate.share(beating.now).limit).toBe(limit);
  });

  test('leaves nobody in line: who waited too long hears it, and who can go goes', () => {
    const beating = broken();
    const { gate } = beating;
    // Free permits are left to critical requests elsewhere, for a tenth of a second.
    gate.hear(
      {
        workers: 1,
        limit: 20,
        inFlight: 20,
        critical: 9,
        criticalWaiting: 5,
        bound: 1,
        ended: 9,
        awaitingAreaMs: 450,
      },
      beating.now,
    );
    const waiting = [0, 1, 2].map(() => enter(gate, 1, beating.now));
    expect(waiting.map((caller) => caller.verdicts)).toEqual([0, 0, 0]);
    break_(beating);
    for (let i = 0; i < 25; i += 1) beating.beat();
    expect(waiting.map((caller) => caller.permit !== undefined)).toEqual([true, true, true]);
  });

  test('refuses those whose time is over', () => {
    const beating = broken();
    const { gate } = beating;
    for (let i = 0; gate.view(beating.now).queueDepth === 0 && i < 200; i += 1) enter(gate, 1, beating.now);
    const late = enter(gate, 1, beating.now);
    break_(beating);
    for (let i = 0; i < 60; i += 1) beating.beat();
    expect(late.code).toBe('SPW_SHED_QUEUE_TIMEOUT');
    expect(gate.view(beating.now).queueDepth).toBe(0);
  });
});

test('a place in line is given up for nobody when the newcomer cannot be let in', () => {
  const beating = new Beating();
  beating.gate.configure({ ...POLICY, limit: 1, queue: 1 }, 0);
  enter(beating.gate, 1, 0);
  const sheddable = enter(beating.gate, 2, 0);
  beating.unlucky = true;
  const critical = new Caller(0);
  expect(() => {
    beating.gate.enter(critical, 1);
  }).toThrow('no chance left');
  // It waits still, or it has heard: it is not forgotten.
  expect(beating.gate.view(1).queueDepth + sheddable.verdicts).toBe(1);
});
