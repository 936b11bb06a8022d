import type { InstanceView } from './fleet.ts';
import type { InstanceState } from './instance-state.ts';

/**
 * Small numbers for instances, so that the hot path indexes arrays and compares no strings.
 *
 * A slot stays its instance's while the instance is known, and as long as a request is in flight there; only then may
 * another have it. So the end of a request to an instance that left long ago counts down its own count and no other's.
 */

export class SlotTable {
  readonly #byId = new Map<string, number>();
  readonly #ids: string[] = [];
  readonly #urls: string[] = [];
  readonly #uids: string[] = [];
  readonly #versions: string[] = [];
  readonly #states: InstanceState[] = [];
  readonly #free: number[] = [];
  /** 1 while the slot belongs to a known instance. */
  readonly #known: boolean[] = [];

  /** Slots ever given out; every slot is below it. */
  get size(): number {
    return this.#ids.length;
  }

  /** The slot of a known instance, or -1. */
  slotOf(id: string): number {
    return this.#byId.get(id) ?? -1;
  }

  idOf(slot: number): string {
    return this.#ids[slot] ?? '';
  }

  urlOf(slot: number): string {
    return this.#urls[slot] ?? '';
  }

  versionOf(slot: number): string {
    return this.#versions[slot] ?? '';
  }

  stateOf(slot: number): InstanceState {
    return this.#states[slot] ?? 'gone';
  }

  isKnown(slot: number): boolean {
    return this.#known[slot] === true;
  }

  /** The slot of the same incarnation, or -1. */
  find(view: InstanceView): number {
    const slot = this.slotOf(view.id);
    if (slot < 0) return -1;
    if (this.#urls[slot] !== view.url || this.#uids[slot] !== view.uid) return -1;
    return this.#versions[slot] === view.version ? slot : -1;
  }

  /** Gives an incarnation a slot. */
  add(view: InstanceView): number {
    const slot = this.#free.pop() ?? this.#ids.length;
    this.#byId.set(view.id, slot);
    this.#ids[slot] = view.id;
    this.#urls[slot] = view.url;
    this.#uids[slot] = view.uid;
    this.#versions[slot] = view.version;
    this.#known[slot] = true;
    this.setState(slot, view.state);
    return slot;
  }

  setState(slot: number, state: InstanceState): void {
    this.#states[slot] = state;
  }

  /** The instance is known no longer; its slot is free once nothing is in flight. */
  forget(slot: number, inFlight: number): void {
    const id = this.idOf(slot);
    if (this.#byId.get(id) === slot) this.#byId.delete(id);
    this.#known[slot] = false;
    this.#states[slot] = 'gone';
    if (inFlight === 0) this.#free.push(slot);
  }

  /** The last request of a forgotten instance ended. */
  release(slot: number): void {
    this.#free.push(slot);
  }
}
