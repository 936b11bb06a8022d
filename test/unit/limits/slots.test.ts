import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../../src/kernel/random.ts';
import type { LimitDecision } from '../../../src/limits/decision.ts';
import { EmbeddedStore } from '../../../src/limits/embedded-store.ts';
import { SLOT_RENEWAL_MS, SLOT_TTL_MS } from '../../../src/limits/slot-table.ts';
import { Slots } from '../../../src/limits/slots.ts';
import type { ClientSlots, SlotCaller, SlotLimit } from '../../../src/limits/slots.ts';
import type { LimitStore, SlotsCall, StoreView } from '../../../src/limits/store.ts';

/** A request: what became of it, and the slot that it holds. */
class Request implements SlotCaller {
  readonly limit: SlotLimit;
  told: 'waits' | 'in flight' | 'over' | LimitDecision = 'waits';
  #slots: ClientSlots | undefined;

  constructor(most: number, key = 'spw:{c.x}:n') {
    this.limit = { key, most, enforced: true };
  }

  slotGranted(slots: ClientSlots): void {
    expect(this.told).toBe('waits');
    this.told = 'in flight';
    this.#slots = slots;
  }

  slotRefused(refusal: LimitDecision): void {
    expect(this.told).toBe('waits');
    this.told = refusal;
  }

  end(now: number): void {
    this.told = 'over';
    this.#slots?.release(now);
    this.#slots = undefined;
  }

  get path(): string {
    return typeof this.told === 'string' ? this.told : this.told.path;
  }
}

/** A worker's way to the store that the test holds in its hands. */
class Wire implements LimitStore {
  readonly shared: EmbeddedStore;
  mode: 'at once' | 'later' | 'lost' = 'at once';
  gatewaysHeard = 1;
  readonly sent: { call: SlotsCall; need: number; keep: number; most: number }[] = [];
  trips = 0;

  constructor(shared: EmbeddedStore) {
    this.shared = shared;
  }

  slots(call: SlotsCall, now: number): boolean {
    if (this.mode === 'lost') return false;
    this.trips++;
    const { need, keep, most } = call;
    if (this.mode === 'at once') return this.shared.slots(call, now);
    this.sent.push({ call, need, keep, most });
    return true;
  }

  /** The first question on its way arrives and is answered. */
  deliver(now: number): void {
    const { call, need, keep, most } = this.sent.shift() ?? expect.fail('nothing was asked');
    call.answered(this.shared.grantSlots(call.key, call.worker, need, keep, most, now), now);
  }

  decide(): boolean {
    return false;
  }

  refund(): boolean {
    return false;
  }

  gateways(): number {
    return this.gatewaysHeard;
  }

  workers(): number {
    return 0;
  }

  pauseMs(): number {
    return 250;
  }

  view(): StoreView {
    return this.shared.view();
  }
}

function world(workers = 1): { wires: Wire[]; slots: Slots[] } {
  const shared = new EmbeddedStore(1000, seededRandom(3));
  const wires = Array.from({ length: workers }, () => new Wire(shared));
  const slots = wires.map((wire, i) => {
    const each = new Slots(`w${i}`, wire, 'local');
    each.configure({ store: wire, onUnavailable: 'local', workers });
    return each;
  });
  return { wires, slots };
}

function take(slots: Slots, most: number, now: number): Request {
  const request = new Request(most);
  slots.take(request, now);
  return request;
}

const KEY = 'spw:{c.x}:n';

describe('slots of a client in one worker', () => {
  test('as many as the limit are in flight, the next is told to come back in a second or two', () => {
    const [slots = expect.fail()] = world().slots;
    const requests = Array.from({ length: 4 }, () => take(slots, 3, 0));
    expect(requests.map(({ path }) => path)).toEqual(['in flight', 'in flight', 'in flight', 'hold']);
    expect(requests[3]?.told).toMatchObject({
      refusedBy: 'concurrency',
      code: 'SPW_CONCURRENCY_CLIENT',
      retryAfterMs: 1000,
      jitterSeconds: 1,
    });
  });

  test('an ended request makes room at once, and a client that holds nothing is forgotten', () => {
    const [slots = expect.fail()] = world().slots;
    const first = take(slots, 1, 0);
    expect(take(slots, 1, 0).path).toBe('hold');
    first.end(1);
    const second = take(slots, 1, 1);
    expect(second.path).toBe('in flight');
    second.end(2);
    expect(slots.size()).toBe(0);
  });

  test('one question at a time: who comes meanwhile rides on the next', () => {
    const { wires, slots } = world();
    const [wire = expect.fail()] = wires;
    const [worker = expect.fail()] = slots;
    wire.mode = 'later';
    const first = take(worker, 10, 0);
    const others = Array.from({ length: 5 }, () => take(worker, 10, 0));
    expect(wire.sent).toHaveLength(1);
    wire.deliver(1);
    expect([first.path, others[0]?.path]).toEqual(['in flight', 'waits']);
    expect(wire.sent).toHaveLength(1);
    wire.deliver(2);
    expect(others.map(({ path }) => path)).toEqual(Array(5).fill('in flight'));
    expect(wire.trips).toBe(2);
  });

  test('a slot that comes free here goes to who waits here, without the answer', () => {
    const { wires, slots } = world();
    const [wire = expect.fail()] = wires;
    const [worker = expect.fail()] = slots;
    const first = take(worker, 10, 0);
    wire.mode = 'later';
    const second = take(worker, 10, 0);
    expect(second.path).toBe('waits');
    first.end(1);
    expect(second.path).toBe('in flight');
  });

  test('a slot that was given back is not used while the store is told so', () => {
    const { wires, slots } = world(2);
    const [wire = expect.fail()] = wires;
    const [here = expect.fail(), there = expect.fail()] = slots;
    const first = take(here, 1, 0);
    wire.mode = 'later';
    first.end(1);
    // The order is on its way: another worker may have the slot by the time of the answer.
    const second = take(here, 1, 1);
    expect(second.path).toBe('waits');
    wire.deliver(2);
    expect(take(there, 1, 2).path).toBe('in flight');
    wire.deliver(3);
    expect(second.path).toBe('waits');
    here.tick(6);
    wire.deliver(7);
    expect(second.path).toBe('store');
  });

  test('a large limit with plenty left keeps idle slots, and a sequence of requests needs one trip', () => {
    const { wires, slots } = world();
    const [worker = expect.fail()] = slots;
    for (let i = 0; i < 100; i++) take(worker, 100, i).end(i);
    expect(wires[0]?.trips).toBe(1);
    worker.tick(SLOT_RENEWAL_MS + 100);
    expect(worker.size()).toBe(0);
  });

  test('after a peak idle slots go back without waiting for the renewal', () => {
    const { wires, slots } = world(2);
    const [here = expect.fail(), there = expect.fail()] = slots;
    const peak = Array.from({ length: 40 }, () => take(here, 100, 0));
    for (const request of peak) request.end(1);
    const rest = Array.from({ length: 97 }, () => take(there, 100, 1));
    expect(rest.filter(({ path }) => path === 'in flight').length).toBeGreaterThanOrEqual(96);
    expect(wires[0]?.trips).toBeLessThan(60);
  });
});

describe('slots of a client over several workers', () => {
  test('together never more than the limit, and every one of it can be used', () => {
    const { slots } = world(4);
    for (const most of [1, 2, 3, 7, 31]) {
      const now = most * 100;
      const requests = Array.from({ length: most }, (_, i) => take(slots[i % 4] ?? expect.fail(), most, now));
      expect(requests.map(({ path }) => path)).toEqual(Array(most).fill('in flight'));
      const over = slots.map((worker) => take(worker, most, now));
      for (const worker of slots) worker.tick(now + 10);
      for (const { path } of over) expect(['hold', 'store']).toContain(path);
      for (const request of requests) request.end(now + 20);
    }
  });

  test('a no is asked once more, since the caller may be faster than the slot that it left at another worker', () => {
    const { wires, slots } = world(2);
    const [here = expect.fail(), there = expect.fail()] = slots;
    const first = take(here, 1, 0);
    const next = take(there, 1, 1);
    expect(next.path).toBe('waits');
    first.end(2);
    there.tick(6);
    expect(next.path).toBe('in flight');
    expect(wires[1]?.trips).toBe(2);
  });

  test('while a client is at its limit a worker asks once in ten milliseconds', () => {
    const { wires, slots } = world(2);
    const [here = expect.fail(), there = expect.fail()] = slots;
    take(here, 1, 0);
    for (let now = 1; now < 1000; now++) {
      take(there, 1, now);
      if (now % 5 === 0) there.tick(now);
    }
    expect(wires[1]?.trips).toBeLessThan(150);
  });

  test("a dead worker's slots come back after five seconds, those of a living one never", () => {
    const { slots } = world(3);
    const [dead = expect.fail(), living = expect.fail(), asks = expect.fail()] = slots;
    take(dead, 3, 0);
    take(living, 3, 0);
    const held = [take(asks, 3, 0)];
    expect(held[0]?.path).toBe('in flight');
    for (let now = 5; now < 20_000; now += 5) {
      living.tick(now);
      asks.tick(now);
      const inFlight = held.filter(({ path }) => path === 'in flight').length;
      if (now < SLOT_TTL_MS) expect(inFlight).toBe(1);
      if (now % 500 === 0) held.push(take(asks, 3, now));
    }
    expect(held.filter(({ path }) => path === 'in flight')).toHaveLength(2);
  });

  test('a worker that stood still uses no idle slot of before', () => {
    const { wires, slots } = world(2);
    const [still = expect.fail(), other = expect.fail()] = slots;
    const kept = take(still, 40, 0);
    kept.end(0);
    const all = Array.from({ length: 40 }, () => take(other, 40, SLOT_TTL_MS + 1));
    expect(all.filter(({ path }) => path === 'in flight')).toHaveLength(40);
    const late = take(still, 40, SLOT_TTL_MS + 2);
    still.tick(SLOT_TTL_MS + 10);
    expect(late.path).toBe('store');
    expect(wires[0]?.trips).toBe(3);
  });

  test('a lowered limit cuts nobody, and begins nothing new until there is room', () => {
    const { slots } = world(2);
    const [here = expect.fail(), there = expect.fail()] = slots;
    const before = Array.from({ length: 6 }, () => take(here, 8, 0));
    expect(take(here, 3, 1).path).toBe('hold');
    const refused = take(there, 3, 1);
    there.tick(10);
    expect(refused.path).toBe('store');
    for (const request of before.slice(0, 4)) request.end(20);
    expect(take(there, 3, 40).path).toBe('in flight');
    const over = take(there, 3, 40);
    there.tick(50);
    expect(over.path).toBe('store');
  });
});

describe('slots without the store', () => {
  test("growth ends at the worker's part of the limit over the gateways; what is in flight stays", () => {
    const { wires, slots } = world(2);
    const [wire = expect.fail()] = wires;
    const [worker = expect.fail()] = slots;
    const before = Array.from({ length: 5 }, () => take(worker, 16, 0));
    wire.mode = 'lost';
    wire.gatewaysHeard = 2;
    // 16 / 2 gateways / 2 workers = 4, and five are in flight.
    expect(take(worker, 16, 1).path).toBe('fallback');
    before[0]?.end(2);
    expect(take(worker, 16, 3).path).toBe('fallback');
    before[1]?.end(4);
    expect(take(worker, 16, 5).path).toBe('in flight');
    expect(worker.inFlight(KEY)).toBe(4);
  });

  test('a part is never none', () => {
    const { wires, slots } = world(4);
    for (const wire of wires) wire.mode = 'lost';
    expect(slots.map((worker) => take(worker, 2, 0).path)).toEqual(Array(4).fill('in flight'));
    expect(take(slots[0] ?? expect.fail(), 2, 0).path).toBe('fallback');
  });

  test('`allow` lets in, `deny` says that the store is down', () => {
    const { wires, slots } = world(1);
    const [wire = expect.fail()] = wires;
    const [worker = expect.fail()] = slots;
    wire.mode = 'lost';
    worker.configure({ store: wire, onUnavailable: 'allow', workers: 1 });
    expect(Array.from({ length: 3 }, () => take(worker, 2, 0).path)).toEqual([
      'in flight',
      'in flight',
      'hold',
    ]);
    worker.configure({ store: wire, onUnavailable: 'deny', workers: 1 });
    const other = new Request(2, 'other');
    worker.take(other, 0);
    expect(other.told).toMatchObject({ code: 'SPW_RATE_STORE_DOWN', refusedBy: '', retryAfterMs: 1250 });
  });

  test('an answer that does not come changes nothing that was held, and the next question says what is in use', () => {
    const { wires, slots } = world(1);
    const [wire = expect.fail()] = wires;
    const [worker = expect.fail()] = slots;
    take(worker, 4, 0);
    wire.mode = 'later';
    const waiting = Array.from({ length: 4 }, () => take(worker, 4, 1));
    wire.sent.shift()?.call.unavailable(26);
    // One worker alone has the whole limit as its part.
    expect(waiting.map(({ path }) => path)).toEqual(['in flight', 'in flight', 'in flight', 'fallback']);
    worker.tick(26 + SLOT_RENEWAL_MS);
    expect(wire.sent[0]).toMatchObject({ need: 4, keep: 4 });
  });

  test('another store is told what is in use', () => {
    const { wires, slots } = world(1);
    const [worker = expect.fail()] = slots;
    take(worker, 4, 0);
    const other = new Wire(new EmbeddedStore(10, seededRandom(1)));
    worker.configure({ store: other, onUnavailable: 'local', workers: 1 });
    worker.tick(5);
    expect(other.trips).toBe(1);
    expect(wires[0]?.trips).toBe(1);
    expect(Array.from({ length: 4 }, () => take(worker, 4, 6).path)).toEqual([
      'in flight',
      'in flight',
      'in flight',
      'hold',
    ]);
  });
});
