import { ANY_VERSION, Candidates } from './candidates.ts';
import type { InstanceView } from './fleet.ts';
import { SlotTable } from './slot-table.ts';

/**
 * The supervisor's picture of a service as a worker uses it: flags and figures in arrays by slot, and the slots that a
 * request may be drawn from (`candidates.ts`).
 *
 * Slow start: the young give way (are thinned) only while at least half of the open ones are grown. Otherwise, after a
 * common restart, the few grown ones would be crushed and the caps of the young, which follow the thinning, would add up to
 * a tenth of the service.
 */

/** Smallest share of a young one. Half: at low load it is not warmed at all; double: a fifth of the load onto a cold one. */
const MIN_WARM = 0.1;
/** A warning is worth a queue of four: fewer does not unload it, more makes the rest overflow for a mere warning. */
const DEGRADED_COST = 4;

export class Roster {
  readonly table = new SlotTable();
  readonly candidates = new Candidates();
  #capacity = 0;
  #factor = new Float64Array(0);
  #readySince = new Float64Array(0);
  #drainSince = new Float64Array(0);
  #trial = new Uint8Array(0);
  #open = new Uint8Array(0);
  #keeps = new Uint8Array(0);
  #thins = false;

  /** Slots for which there is room. */
  get capacity(): number {
    return this.#capacity;
  }

  isCandidate(slot: number): boolean {
    const { candidates } = this;
    for (let place = candidates.lengthOf(ANY_VERSION) - 1; place >= 0; place--)
      if (candidates.slotAt(place) === slot) return true;
    return false;
  }

  /** Takes new sessions, or still serves its own. */
  serves(slot: number): boolean {
    return this.#open[slot] === 1 || this.#keeps[slot] === 1;
  }

  keepsPinned(slot: number): boolean {
    return this.#keeps[slot] === 1;
  }

  onTrial(slot: number): boolean {
    return this.#trial[slot] === 1;
  }

  /** What the cost of a slot is multiplied with: its warning, its weight. */
  factor(slot: number): number {
    return this.#factor[slot] ?? 1;
  }

  drainForMs(slot: number, now: number): number {
    const since = this.#drainSince[slot] ?? Infinity;
    return since === Infinity ? -1 : Math.max(0, now - since);
  }

  /** 0.1..1: how far a thinned young instance has come; 1 for all others. */
  warm(slot: number, slowStartMs: number, now: number): number {
    if (!this.#thins) return 1;
    const age = now - (this.#readySince[slot] ?? 0);
    return age >= slowStartMs ? 1 : Math.max(MIN_WARM, age / slowStartMs);
  }

  /** Neither thinned nor on trial. */
  isGrown(slot: number, slowStartMs: number, now: number): boolean {
    if (this.onTrial(slot)) return false;
    return !this.#thins || now - (this.#readySince[slot] ?? 0) >= slowStartMs;
  }

  /** Gives a new incarnation a slot, all figures at their start. */
  add(view: InstanceView): number {
    const slot = this.table.add(view);
    if (slot >= this.#capacity) this.#grow(Math.max(8, 2 * this.#capacity));
    this.#open[slot] = 0;
    return slot;
  }

  take(slot: number, view: InstanceView, now: number): void {
    this.table.setState(slot, view.state);
    this.#open[slot] = view.opensNew ? 1 : 0;
    this.#keeps[slot] = view.keepsPinned ? 1 : 0;
    this.#trial[slot] = view.trial ? 1 : 0;
    this.#factor[slot] = (view.state === 'degraded' ? DEGRADED_COST : 1) / view.weight;
    this.#readySince[slot] = view.readyForMs < 0 ? -Infinity : now - view.readyForMs;
    this.#drainSince[slot] = view.drainForMs < 0 ? Infinity : now - view.drainForMs;
  }

  /** Its instance is known no longer. */
  drop(slot: number, inFlight: number): void {
    this.#open[slot] = 0;
    this.#keeps[slot] = 0;
    this.table.forget(slot, inFlight);
  }

  /** Lists the candidates of a complete picture. */
  list(views: readonly InstanceView[], slowStartMs: number): void {
    let open = 0;
    let grown = 0;
    for (const view of views) {
      if (!view.opensNew) continue;
      open++;
      if (view.readyForMs < 0 || view.readyForMs >= slowStartMs) grown++;
    }
    this.#thins = grown > 0 && 2 * grown >= open;
    this.candidates.list(views, this.table);
  }

  #grow(size: number): void {
    this.#capacity = size;
    this.#factor = copied(this.#factor, new Float64Array(size));
    this.#readySince = copied(this.#readySince, new Float64Array(size));
    this.#drainSince = copied(this.#drainSince, new Float64Array(size));
    this.#trial = copied(this.#trial, new Uint8Array(size));
    this.#open = copied(this.#open, new Uint8Array(size));
    this.#keeps = copied(this.#keeps, new Uint8Array(size));
  }
}

function copied<T extends Float64Array<ArrayBuffer> | Uint8Array<ArrayBuffer>>(from: T, to: T): T {
  to.set(from);
  return to;
}
