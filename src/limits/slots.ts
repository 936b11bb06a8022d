/**
 * Requests in flight of one client, over all workers of all gateways: the worker's side.
 *
 * A worker holds slots and spends them on its requests. Who finds none left asks the store for one more than is in use,
 * one question for a client at a time; whoever comes meanwhile waits for its answer and rides on the next. A slot goes back
 * as its request ends; where the store says that there is plenty, a few idle ones stay for the next requests, which then
 * need no trip. A no of the store is asked once more a few milliseconds later, since a caller that waits for each of its
 * answers is faster at another worker than the slot that it has just left. What may be used is lowered before less is asked for and raised when more was granted, so with the store at
 * hand the workers never use more together than the limit.
 *
 * Lost answers: nothing is assumed of them. What was held is held, the next question says what is in use, and the store
 * counts that. Store lost: slots in use stay, idle ones end with the time that the store keeps them, and growth ends at
 * this worker's part of the limit / gateways. Cold start: the first request asks. Idle gap: idle slots go back at the next
 * renewal. A stopped worker that comes back finds its slots gone: what is in flight stays, nothing new begins.
 * Limits of the method: while the store is lost a worker's part is at least one, so a gateway with more workers than slots
 * may use one a worker.
 */
import type { LimitDecision, OnUnavailable } from './decision.ts';
import { denial } from './refusals.ts';
import { SLOT_RENEWAL_MS, SLOT_TTL_MS } from './slot-table.ts';
import type { LimitStore, SlotsCall } from './store.ts';

/** A client's limit of requests in flight. */
export interface SlotLimit {
  /** The client's hash of slots, see `slotsKey`. */
  readonly key: string;
  readonly most: number;
  /** False: observed, so counted, but it never refuses. */
  readonly enforced: boolean;
}

/** Who wants a slot. */
export interface SlotCaller {
  readonly limit: SlotLimit;
  /** It has one, to be given back once by `release`. Exactly one of the two, once, inside `take` or later. */
  slotGranted(slots: ClientSlots, now: number): void;
  /** @param refusal not ok; `refusedBy` is empty where the store is down and `onUnavailable` denies */
  slotRefused(refusal: LimitDecision, now: number): void;
}

/** Between the first no and the second question. Half: a busy worker's slot is not back yet; double: refusals wait for it. */
const SECOND_LOOK_MS = 3;
/**
 * After the store's second no this worker does not ask for the client for so long, unless a slot of its own came free. Half
 * doubles the trips of a client that keeps hammering; double keeps a slot that another worker gave back idle for longer.
 */
const PAUSE_MS = 10;
/** Idle slots that are kept without a look at how many are in use. At 1 each pause of a client costs two trips. */
const KEPT_IDLE = 4;
/** Clients above which none keeps idle slots, some 2 MB. Half: a site with many callers pays trips; double: a spray holds more. */
const MOST_CLIENTS = 10_000;
/** Renewals in one look, each 5 ms: 25,000 clients in two seconds. Half is too slow for a large site, double a burst. */
const RENEWALS = 64;
/** `Retry-After` of a refusal: requests in flight tell nothing of when they end. */
export const SLOT_RETRY_MS = 1000;
const RETRY_JITTER_SECONDS = 1;

const NOTHING: readonly never[] = Object.freeze([]);

/** One client's slots in this worker; the question to the store is the same object, since there is one at a time. */
export class ClientSlots implements SlotsCall {
  readonly key: string;
  readonly worker: string;
  readonly #slots: Slots;
  most = 0;
  need = 0;
  keep = 0;
  /** Slots that may be used. */
  held = 0;
  /** Slots that requests have. */
  used = 0;
  /** The store has plenty. */
  plenty = false;
  asking = false;
  /** Callers are being told: whoever releases meanwhile is seen after. */
  telling = false;
  /** The store has said no once, and is asked again at `lookMs`. */
  doubting = false;
  lookMs = 0;
  askedMs = 0;
  /** The store keeps what is held until `SLOT_TTL_MS` after this question, the last that it answered. */
  sureMs = 0;
  pausedUntilMs = 0;
  readonly waiting: SlotCaller[] = [];

  constructor(slots: Slots, key: string, worker: string) {
    this.#slots = slots;
    this.key = key;
    this.worker = worker;
  }

  answered(granted: number, now: number): void {
    this.#slots.answered(this, granted, now);
  }

  unavailable(now: number): void {
    this.#slots.lost(this, now);
  }

  /** A request has ended that had a slot of these. */
  release(now: number): void {
    this.#slots.released(this, now);
  }
}

export class Slots {
  readonly #worker: string;
  /** By the moment of the last question, so that whoever is due first is first. */
  readonly #clients = new Map<string, ClientSlots>();
  /** Those who doubt, by `lookMs`. */
  readonly #doubting: ClientSlots[] = [];
  #store: LimitStore;
  #onUnavailable: OnUnavailable;
  #workers = 1;

  /** @param worker a name that no other worker of any gateway has, nor had before it */
  constructor(worker: string, store: LimitStore, onUnavailable: OnUnavailable) {
    this.#worker = worker;
    this.#store = store;
    this.#onUnavailable = onUnavailable;
  }

  /** A reload. Another store knows nothing of what is held: it is told with the next renewal. */
  configure(policy: { store: LimitStore; onUnavailable: OnUnavailable; workers: number }): void {
    this.#onUnavailable = policy.onUnavailable;
    this.#workers = Math.max(1, policy.workers);
    if (policy.store === this.#store) return;
    this.#store = policy.store;
    for (const client of this.#clients.values()) {
      client.held = client.used;
      client.askedMs = -SLOT_RENEWAL_MS;
    }
  }

  /** `now`: monotonic ms. */
  take(caller: SlotCaller, now: number): void {
    const { key, most } = caller.limit;
    const client = this.#clientOf(key, now);
    client.most = most;
    if (client.held > client.used && now - client.sureMs >= SLOT_TTL_MS) client.held = client.used;
    if (client.used < client.held && client.used < most) {
      this.#grant(client, caller, now);
      return;
    }
    // As many here as the client may have anywhere, or the store has said so just now.
    if (client.used >= most || now < client.pausedUntilMs) {
      caller.slotRefused(HERE, now);
      return;
    }
    client.waiting.push(caller);
    if (!isBusy(client)) this.#ask(client, now);
  }

  /** For `ClientSlots`. */
  released(client: ClientSlots, now: number): void {
    client.used--;
    client.pausedUntilMs = 0;
    if (!client.telling) this.#serve(client, now);
    if (!isBusy(client)) this.#settle(client, now);
  }

  /** For `ClientSlots`: the store has answered. */
  answered(client: ClientSlots, granted: number, now: number): void {
    client.asking = false;
    client.sureMs = client.askedMs;
    client.plenty = granted > client.need;
    client.held = granted;
    this.#serve(client, now);
    if (client.waiting.length > 0 && granted < client.need) {
      if (client.lookMs === 0) {
        client.doubting = true;
        client.lookMs = now + SECOND_LOOK_MS;
        this.#doubting.push(client);
        return;
      }
      client.pausedUntilMs = now + PAUSE_MS;
      this.#refuseAll(client, BY_STORE, now);
    }
    client.lookMs = 0;
    this.#settle(client, now);
  }

  /** For `ClientSlots`: the store is unfit or late, and nothing is known of what it counts. */
  lost(client: ClientSlots, now: number): void {
    client.asking = false;
    client.plenty = false;
    client.telling = true;
    const deny = this.#onUnavailable === 'deny';
    const part = this.#onUnavailable === 'allow' ? Infinity : deny ? 0 : this.#part(client.most);
    let caller: SlotCaller | undefined;
    while (client.used < Math.max(client.held, part) && (caller = client.waiting.shift()) !== undefined)
      this.#grant(client, caller, now);
    client.telling = false;
    this.#refuseAll(client, deny ? denial(this.#store.pauseMs(now)) : BY_PART, now);
    client.lookMs = 0;
    this.#drop(client, now);
  }

  /** Second looks and renewals that are due; called each few ms. */
  tick(now: number): void {
    if (this.#clients.size === 0) return;
    let due = 0;
    while ((this.#doubting[due]?.lookMs ?? Infinity) <= now) due++;
    for (const client of due === 0 ? NOTHING : this.#doubting.splice(0, due)) {
      client.doubting = false;
      this.#settle(client, now);
    }
    let left = RENEWALS;
    for (const client of this.#clients.values()) {
      if (now - client.askedMs < SLOT_RENEWAL_MS || left-- === 0) return;
      if (isBusy(client)) continue;
      if (client.used === 0 && client.held === 0) this.#drop(client, now);
      else this.#ask(client, now);
    }
  }

  /** The worker leaves: idle slots go back at once. */
  drain(now: number): void {
    for (const client of this.#clients.values())
      if (!isBusy(client) && client.held > client.used) this.#ask(client, now);
  }

  /** Requests of a client in flight here. */
  inFlight(key: string): number {
    return this.#clients.get(key)?.used ?? 0;
  }

  /** Slots of a client held here, those of its requests in flight included. */
  held(key: string): number {
    const client = this.#clients.get(key);
    return client === undefined ? 0 : Math.max(client.held, client.used);
  }

  /** Clients that are known now. */
  size(): number {
    return this.#clients.size;
  }

  #clientOf(key: string, now: number): ClientSlots {
    let client = this.#clients.get(key);
    if (client === undefined) {
      client = new ClientSlots(this, key, this.#worker);
      client.askedMs = now;
      this.#clients.set(key, client);
    }
    return client;
  }

  #grant(client: ClientSlots, caller: SlotCaller, now: number): void {
    client.used++;
    caller.slotGranted(client, now);
  }

  #ask(client: ClientSlots, now: number): void {
    const { used } = client;
    client.need = Math.max(used, Math.min(used + client.waiting.length, client.most));
    // Until the answer comes no more may be used than the store counts for sure, whatever it answers.
    if (client.need <= client.held) client.held = client.need;
    client.keep = Math.max(client.held, used);
    client.asking = true;
    client.askedMs = now;
    this.#clients.delete(client.key);
    this.#clients.set(client.key, client);
    if (!this.#store.slots(client, now)) this.lost(client, now);
  }

  #serve(client: ClientSlots, now: number): void {
    client.telling = true;
    let caller: SlotCaller | undefined;
    while (client.used < client.held && (caller = client.waiting.shift()) !== undefined)
      this.#grant(client, caller, now);
    client.telling = false;
  }

  #refuseAll(client: ClientSlots, decision: LimitDecision, now: number): void {
    for (const caller of client.waiting.splice(0)) caller.slotRefused(decision, now);
  }

  /** Nobody asks at the moment: whoever came meanwhile is served, and what is idle goes back. */
  #settle(client: ClientSlots, now: number): void {
    this.#serve(client, now);
    if (isBusy(client)) return;
    if (client.used >= client.most) this.#refuseAll(client, HERE, now);
    if (client.waiting.length === 0) client.lookMs = 0;
    const idle = client.held - client.used;
    const keeps =
      client.plenty &&
      this.#clients.size <= MOST_CLIENTS &&
      (client.held <= KEPT_IDLE || client.used * 2 >= client.held);
    if (client.waiting.length > 0 || (idle > 0 && !keeps)) this.#ask(client, now);
    else this.#drop(client, now);
  }

  /** Forgets a client that holds nothing, once the store's no is old. */
  #drop(client: ClientSlots, now: number): void {
    const { key, held, used, waiting } = client;
    if (used > 0 || held > 0 || isBusy(client) || waiting.length > 0 || now < client.pausedUntilMs) return;
    if (this.#clients.get(key) === client) this.#clients.delete(key);
  }

  /** What this worker may use of a limit while the store is lost. */
  #part(most: number): number {
    const gateway = Math.ceil(most / Math.max(1, this.#store.gateways()));
    return Math.max(1, Math.floor(gateway / this.#workers));
  }
}

/** Its next question has its moment already. */
function isBusy({ asking, doubting, telling }: ClientSlots): boolean {
  return asking || doubting || telling;
}

/** By this worker alone, without a question. */
const HERE = atLimit('hold');
const BY_STORE = atLimit('store');
const BY_PART = atLimit('fallback');

function atLimit(path: LimitDecision['path']): LimitDecision {
  return Object.freeze({
    ok: false,
    refusedBy: 'concurrency',
    code: 'SPW_CONCURRENCY_CLIENT',
    retryAfterMs: SLOT_RETRY_MS,
    jitterSeconds: RETRY_JITTER_SECONDS,
    path,
    levels: NOTHING,
    observed: NOTHING,
  });
}
