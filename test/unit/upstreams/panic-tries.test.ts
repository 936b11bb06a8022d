import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ANY_VERSION, COMMON_VERSIONS, type SilentSlot } from '../../../src/upstreams/candidates.ts';
import { isGoodAnswer, PanicTries, tryLimitMs } from '../../../src/upstreams/panic-tries.ts';

function silent(...slots: number[]): SilentSlot[] {
  return slots.map((slot) => ({ slot, version: 0, apart: false }));
}

function triesOf(...slots: number[]): PanicTries {
  const tries = new PanicTries();
  tries.list(silent(...slots));
  return tries;
}

/** `count` safe requests from `from` on, one every `everyMs`; each try ends as `ends` says after `takesMs`. */
function run(
  tries: PanicTries,
  { from = 0, count, everyMs }: { from?: number; count: number; everyMs: number },
  good: (slot: number) => boolean,
  takesMs = 0,
): { at: number; slot: number }[] {
  const made: { at: number; slot: number }[] = [];
  let running: { slot: number; endsAt: number } | undefined;
  for (let index = 0; index < count; index++) {
    const at = from + index * everyMs;
    if (running !== undefined && running.endsAt <= at) {
      tries.ended(running.slot, good(running.slot), running.endsAt);
      running = undefined;
    }
    const slot = tries.ask(ANY_VERSION, at);
    if (slot < 0) continue;
    made.push({ at, slot });
    tries.begun(takesMs, at);
    running = { slot, endsAt: at + takesMs };
  }
  return made;
}

describe('tries at silent instances', () => {
  it('nobody is silent: none, and that is one question', () => {
    const tries = new PanicTries();
    expect(tries.active).toBe(false);
    expect(tries.ask(ANY_VERSION, 0)).toBe(-1);
    tries.list(silent(3));
    expect(tries.active).toBe(true);
    tries.list([]);
    expect(tries.active).toBe(false);
  });

  it('a quiet service tries once a second, and the same instance until it is back', () => {
    const made = run(triesOf(1, 2, 3), { count: 30, everyMs: 200 }, () => true);
    expect(made.map(({ at }) => at)).toEqual([0, 1000, 2000, 3000, 4000, 5000]);
    expect(new Set(made.map(({ slot }) => slot))).toEqual(new Set([1]));
  });

  it('a busy one tries with a twentieth of its safe requests, and several at a time', () => {
    const made = run(triesOf(1, 2, 3), { count: 2000, everyMs: 2 }, () => true);
    // 25 a second would be paid for; three instances take two each.
    expect(made.length).toBeGreaterThanOrEqual(24);
    expect(made.length).toBeLessThanOrEqual(101);
    for (const slot of [1, 2, 3]) {
      const times = made.filter((one) => one.slot === slot).map(({ at }) => at);
      expect(times.length).toBeGreaterThanOrEqual(8);
      for (const [index, at] of times.slice(1).entries())
        expect(at - (times[index] ?? 0)).toBeGreaterThanOrEqual(500);
    }
  });

  it('who does not answer costs one try a second, whatever the load, each at another one', () => {
    const made = run(triesOf(1, 2, 3), { count: 5000, everyMs: 1 }, () => false, 100);
    expect(made.map(({ slot }) => slot)).toEqual([1, 2, 3, 1, 2]);
    expect(made.map(({ at }) => at)).toEqual([0, 1100, 2200, 3300, 4400]);
  });

  it('those that answer are tried on beside those that do not', () => {
    const made = run(triesOf(1, 2, 3, 4), { count: 5000, everyMs: 1 }, (slot) => slot > 2, 80);
    const dead = made.filter(({ slot }) => slot <= 2);
    const alive = made.filter(({ slot }) => slot > 2);
    expect(dead.length).toBeLessThanOrEqual(5);
    // From when they were found on, every half second.
    expect(alive.length).toBeGreaterThanOrEqual(8);
  });

  it('one is on its way at a time, be its end told late; one whose caller left stands in the way for twice its time', () => {
    const tries = triesOf(1, 2);
    expect(tries.ask(ANY_VERSION, 0)).toBe(1);
    tries.begun(1500, 0);
    for (let at = 0; at < 3000; at += 10) expect(tries.ask(ANY_VERSION, at)).toBe(-1);
    expect(tries.ask(ANY_VERSION, 3000)).toBe(1);
  });

  it('another picture keeps what was learned of those that stay', () => {
    const tries = triesOf(1, 2, 3);
    expect(tries.ask(ANY_VERSION, 0)).toBe(1);
    tries.ended(1, false, 50);
    tries.list(silent(1, 3, 2));
    expect(tries.ask(ANY_VERSION, 1050)).toBe(2);
    tries.ended(2, true, 1060);
    tries.list(silent(1, 3));
    expect(tries.ask(ANY_VERSION, 2060)).toBe(1);
  });

  it('a version is tried by who asks for it, and one that stands apart by nobody else', () => {
    const tries = new PanicTries();
    tries.list([
      { slot: 7, version: 1, apart: true },
      { slot: 8, version: 2, apart: false },
    ]);
    expect(tries.ask(0, 0)).toBe(-1);
    expect(tries.ask(COMMON_VERSIONS, 0)).toBe(8);
    expect(tries.ask(1, 1000)).toBe(7);
    expect(tries.ask(ANY_VERSION, 2000)).toBe(7);
  });

  it('for any load: at most a twentieth of the safe requests and one a second', () => {
    const gap = fc.constantFrom(0, 1, 7, 40, 300, 1000, 5000);
    const request = fc.record({ gap, good: fc.boolean(), takesMs: fc.constantFrom(0, 30, 400) });
    fc.assert(
      fc.property(fc.array(request, { maxLength: 400 }), fc.integer({ min: 1, max: 5 }), (requests, n) => {
        const tries = triesOf(...Array.from({ length: n }, (_, slot) => slot));
        const times: { at: number; served: number }[] = [];
        let now = 0;
        for (const [served, { gap: gapMs, good, takesMs }] of requests.entries()) {
          now += gapMs;
          const slot = tries.ask(ANY_VERSION, now);
          if (slot < 0) continue;
          times.push({ at: now, served });
          tries.begun(takesMs, now);
          tries.ended(slot, good, now);
        }
        for (const [index, from] of times.entries())
          for (const [more, to] of times.slice(index).entries())
            expect(more).toBeLessThanOrEqual(
              (to.at - from.at) / 1000 + 0.05 * (to.served - from.served) + 1e-9,
            );
      }),
    );
  });
});

describe('the time of a try', () => {
  it('is four medians, at least 50 ms, at most half of the rest of the SLA, the configured try and a third of what is left', () => {
    expect(tryLimitMs(250, 20, Infinity, 10_000)).toBe(80);
    expect(tryLimitMs(250, 1, Infinity, 10_000)).toBe(50);
    expect(tryLimitMs(250, 0, Infinity, 10_000)).toBe(125);
    expect(tryLimitMs(250, 400, Infinity, 10_000)).toBe(125);
    expect(tryLimitMs(250, 400, 60, 10_000)).toBe(60);
    expect(tryLimitMs(250, 400, Infinity, 150)).toBe(50);
  });
});

it('an answer speaks for an instance unless it is a failure or a refusal of its own', () => {
  const statuses = [101, 200, 304, 404, 407, 428, 429, 430, 499, 500, 501, 503, 599];
  expect(statuses.filter((status) => !isGoodAnswer(status))).toEqual([429, 500, 501, 503, 599]);
});
