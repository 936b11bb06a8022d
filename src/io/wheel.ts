/**
 * One timer wheel a worker instead of a timer a request.
 *
 * Whatever can run out of time is an entry with one moment; arming and disarming are a few pointer writes. The wheel
 * has 512 slots of 10 ms (5.12 s a turn); an entry further away simply stays in its slot for more turns. Half the slot
 * width would double the ticks for a precision nobody has asked for; double would make deadlines late by 20 ms, which
 * is the most the contract allows. Fires late by up to one slot, never early.
 */

const SLOT_MS = 10;
const SLOTS = 512;

/** Something with at most one pending moment. Embed it in the object that owns the time limit. */
export class WheelEntry {
  /** Moment (monotonic ms) at which `expired` is due; 0 while disarmed. */
  dueMs = 0;
  wheelPrevious: WheelEntry | undefined = undefined;
  wheelNext: WheelEntry | undefined = undefined;
  wheelSlot = -1;

  /** Called once when the moment has come; the entry is disarmed before. */
  expired(_now: number): void {
    // An entry armed without an owner has nothing to do.
  }
}

export class Wheel {
  readonly #heads: (WheelEntry | undefined)[] = Array.from({ length: SLOTS });
  #tick: number;
  #size = 0;

  constructor(now: number) {
    this.#tick = Math.floor(now / SLOT_MS);
  }

  /** Entries armed now. */
  get size(): number {
    return this.#size;
  }

  /** Sets or moves the moment of an entry. A moment in the past fires at the next turn. */
  arm(entry: WheelEntry, dueMs: number): void {
    if (entry.wheelSlot >= 0) this.#unlink(entry);
    entry.dueMs = dueMs;
    const tick = Math.max(Math.floor(dueMs / SLOT_MS) + 1, this.#tick + 1);
    const slot = tick % SLOTS;
    entry.wheelSlot = slot;
    const head = this.#heads[slot];
    entry.wheelPrevious = undefined;
    entry.wheelNext = head;
    if (head !== undefined) head.wheelPrevious = entry;
    this.#heads[slot] = entry;
    this.#size++;
  }

  disarm(entry: WheelEntry): void {
    if (entry.wheelSlot >= 0) this.#unlink(entry);
  }

  /** Fires what is due; call it about every slot. After a blocked loop it visits every slot it missed, once. */
  turn(now: number): void {
    const target = Math.floor(now / SLOT_MS);
    const missed = Math.min(target - this.#tick, SLOTS);
    // Whatever is armed by what fires now belongs to a later turn.
    if (target > this.#tick) this.#tick = target;
    for (let step = 1; step <= missed; step++) this.#visit((target - missed + step) % SLOTS, now);
  }

  /** Visits every entry that is armed; the visitor may arm and disarm none. For rare events: there are as many as requests. */
  each(visit: (entry: WheelEntry) => void): void {
    for (const head of this.#heads) {
      for (let entry = head; entry !== undefined; entry = entry.wheelNext) visit(entry);
    }
  }

  #visit(slot: number, now: number): void {
    let entry = this.#heads[slot];
    while (entry !== undefined) {
      const next: WheelEntry | undefined = entry.wheelNext;
      if (entry.dueMs <= now) {
        this.#unlink(entry);
        entry.expired(now);
        // What expired may have disarmed or re-armed its neighbour: then the rest of the chain is read anew.
        if (next !== undefined && next.wheelSlot !== slot) {
          entry = this.#heads[slot];
          continue;
        }
      }
      entry = next;
    }
  }

  #unlink(entry: WheelEntry): void {
    if (entry.wheelPrevious === undefined) this.#heads[entry.wheelSlot] = entry.wheelNext;
    else entry.wheelPrevious.wheelNext = entry.wheelNext;
    if (entry.wheelNext !== undefined) entry.wheelNext.wheelPrevious = entry.wheelPrevious;
    entry.wheelPrevious = undefined;
    entry.wheelNext = undefined;
    entry.wheelSlot = -1;
    entry.dueMs = 0;
    this.#size--;
  }
}
