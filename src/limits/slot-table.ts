/**
 * Who holds a client's concurrency slots: for each client a few workers, each with a count that ends by itself.
 *
 * A worker tells how many it needs in all and gets what the others leave of the limit, so a lost answer or a repeated
 * question corrects itself with the next one: counts are set, never added. A worker that dies takes its slots along for
 * `SLOT_TTL_MS`; one that lives asks again each `SLOT_RENEWAL_MS`. What is in use cannot be taken back: a limit that was
 * lowered, or slots that ended while their worker stood still, are noted as what they are, and no other worker gets a
 * slot until there is room again.
 *
 * Where the limit is large and less than half of it is held, a worker gets a quarter more than it needs, and sees by that
 * that it may keep idle slots for its next requests. Small limits never have such slots: one that lies idle here would
 * refuse a request elsewhere.
 *
 * `src/io/limit-store/scripts.ts` is the same function in Lua; a differential test holds the two together.
 * Source: limits.md §3; leases after Gray and Cheriton.
 */
import { TICKS_PER_MS } from './gcra.ts';

/** A dead worker's slots come back after this. Half and a worker that stands still for 2 s loses them; double is felt. */
export const SLOT_TTL_MS = 5000;
/** Two renewals may be lost before slots end. At half the idle cost doubles; at double the first lost one ends them. */
export const SLOT_RENEWAL_MS = 2000;
/** Limits below this have no idle slots. At 16 eight idle ones are half of it; at 64 it is the large who pay trips. */
export const ROOMY_LIMIT = 32;
/** What is added where there is plenty, one part in four of the need. */
export const SPARE_PART = 4;
/** Clients looked at for each question; 1 just keeps pace with a spray, 4 doubles what a question costs. */
const LOOKED_AT = 2;

const TTL_TICKS = SLOT_TTL_MS * TICKS_PER_MS;

/** One worker's slots of a client. */
export interface SlotHolder {
  readonly worker: string;
  count: number;
  /** Ticks. */
  expires: number;
}

/**
 * Grants slots of one client.
 * @param holders all workers that hold some; changed in place, whose time is over are thrown out
 * @param now ticks
 * @returns what the worker holds from now on, see `SlotsCall`
 */
export function grantSlots(
  holders: SlotHolder[],
  worker: string,
  need: number,
  keep: number,
  most: number,
  now: number,
): number {
  let others = 0;
  let own: SlotHolder | undefined;
  let left = 0;
  for (const holder of holders) {
    if (holder.worker === worker) own = holder;
    else {
      if (holder.expires <= now) continue;
      // A clock that was stepped back may not keep a dead worker's slots for longer.
      holder.expires = Math.min(holder.expires, now + TTL_TICKS);
      others += holder.count;
      holders[left++] = holder;
    }
  }
  holders.length = left;
  const roomy = most >= ROOMY_LIMIT && (others + need) * 2 < most;
  const wanted = roomy && need > 0 ? need + Math.ceil(need / SPARE_PART) : need;
  const granted = Math.max(keep, Math.min(wanted, most - others));
  if (granted <= 0) return 0;
  own ??= { worker, count: 0, expires: 0 };
  own.count = granted;
  own.expires = now + TTL_TICKS;
  holders.push(own);
  return granted;
}

/** The slots of all clients in this process's memory, bounded; no timers: each question throws out what has ended. */
export class SlotTable {
  readonly #capacity: number;
  /** By the time of the last question, so that whoever ends first is first. */
  readonly #clients = new Map<string, SlotHolder[]>();
  /** Goes on where it was: one made anew walks over everything that was deleted, 60 µs a question in a spray. */
  #order = this.#clients.entries();
  /** The first of them, once `#order` has come to it. */
  #first: readonly [string, SlotHolder[]] | undefined = undefined;

  /** @param capacity the most clients kept; past it the one that was quiet longest is forgotten until its renewal. */
  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** `now`: ticks. See `grantSlots`. */
  grant(key: string, worker: string, need: number, keep: number, most: number, now: number): number {
    const clients = this.#clients;
    const holders = clients.get(key) ?? [];
    this.#delete(key);
    const granted = grantSlots(holders, worker, need, keep, most, now);
    this.sweep(now, LOOKED_AT);
    if (holders.length === 0) return granted;
    if (clients.size >= this.#capacity) this.#delete(this.#quietest()?.[0]);
    clients.set(key, holders);
    return granted;
  }

  /** Throws out clients whose slots have all ended, of the `count` that were quiet longest. */
  sweep(now: number, count: number): void {
    for (let i = 0; i < count; i++) {
      const first = this.#quietest();
      if (first === undefined || first[1].some(({ expires }) => expires > now)) return;
      this.#delete(first[0]);
    }
  }

  /** Clients kept now. */
  size(): number {
    return this.#clients.size;
  }

  #quietest(): readonly [string, SlotHolder[]] | undefined {
    if (this.#first !== undefined) return this.#first;
    let next = this.#order.next();
    if (next.done === true) {
      // It has seen all there were, and one that has ended sees no more.
      this.#order = this.#clients.entries();
      next = this.#order.next();
    }
    this.#first = next.done === true ? undefined : next.value;
    return this.#first;
  }

  #delete(key: string | undefined): void {
    if (key === undefined) return;
    this.#clients.delete(key);
    if (this.#first?.[0] === key) this.#first = undefined;
  }
}
