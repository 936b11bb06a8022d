/**
 * The supervisor's book of overrides: what is in force here, what of it the store does not know yet, and what another
 * gateway has changed there.
 *
 * The store counts its changes: `version` grows by one with each, and an entry carries the version that wrote it, its
 * serial. A gateway that knows the version has nothing to read. What is set while the store is lost has serial 0: it is in
 * force here, and is written once the store is back. A store that has forgotten (another `life`, since it was empty when it
 * was first written to, or an older version, since a failover lost the last writes) gets back what each gateway holds; of
 * two entries the later serial stays.
 *
 * Ends come by this process's monotonic clock, from a span by the store's, so no gateway's wall clock decides.
 * Limits: a removal that nobody but a lost store knew is undone by the write-back, until the entry's own end. Of a store
 * that went back and was written to past the old version before this gateway looked, what only this one held is lost.
 */

/** What the hash of a client is made of: a name, or the part of an address that counts. */
export interface HashedName {
  readonly kind: 'client' | 'ip';
  readonly name: string;
}

export interface BookEntry {
  /** The client's hash, see `keys.ts`. */
  readonly bucket: string;
  /** What it is the hash of, where it was set here; null where an operator knew no more than the hash. */
  readonly hashed: HashedName | null;
  /** Its name for the log, where it was set here; of others' only the hash is known. */
  readonly client: string;
  readonly ratePerSecond: number;
  readonly burst: number;
  /** The gateway where it was set. */
  readonly by: string;
  /** When it ends, monotonic ms. */
  readonly endsMs: number;
  /** The same by the wall clock of whoever keeps it, ms; shown, and never compared here. */
  readonly untilMs: number;
  /** The store's version that wrote it; 0 = not there yet. */
  readonly serial: number;
}

/** One entry as the store has it. */
export type StoredOverride = Omit<BookEntry, 'endsMs' | 'client' | 'hashed'>;

/** All that the store has. */
export interface StoredOverrides {
  /** Random, made when the store was first written to. */
  readonly life: string;
  readonly version: number;
  /** The store's clock, ms. */
  readonly nowMs: number;
  readonly entries: readonly StoredOverride[];
  /** Clients whose quota was filled lately, and the version that says so. */
  readonly fills: readonly { readonly bucket: string; readonly serial: number }[];
}

/** What is still to be told to the store. */
export type BookOrder =
  | { readonly kind: 'set'; readonly entry: BookEntry }
  | { readonly kind: 'remove'; readonly bucket: string }
  | { readonly kind: 'fill'; readonly bucket: string };

/** What the store made of orders: its version after them, its clock, and for each whether it was taken. */
export interface OrdersTaken {
  readonly life: string;
  readonly version: number;
  readonly nowMs: number;
  readonly taken: readonly boolean[];
}

/** What is another here than before. */
export interface BookChange {
  readonly changed: readonly BookEntry[];
  readonly gone: readonly string[];
  /** Whose quota was filled elsewhere. */
  readonly filled: readonly string[];
}

/** About 1.5 MB in each process. Half is short for a fleet's incident; double delays a worker's start by its compiling. */
export const MOST_OVERRIDES = 10_000;

export class OverrideBook {
  readonly #entries = new Map<string, BookEntry>();
  readonly #removals = new Set<string>();
  readonly #fills = new Map<string, BookOrder>();
  #life = '';
  #version = 0;

  get life(): string {
    return this.#life;
  }

  get version(): number {
    return this.#version;
  }

  /** In force. */
  entries(): BookEntry[] {
    return [...this.#entries.values()];
  }

  find(bucket: string): BookEntry | undefined {
    return this.#entries.get(bucket);
  }

  /** Whether there is a place for this client's. */
  hasRoom(bucket: string): boolean {
    return this.#entries.has(bucket) || this.#entries.size < MOST_OVERRIDES;
  }

  /** In force here from now on; for the store with the next orders. */
  set(entry: Omit<BookEntry, 'serial'>): BookEntry {
    const made = { ...entry, serial: 0 };
    this.#entries.set(entry.bucket, made);
    this.#removals.delete(entry.bucket);
    return made;
  }

  /** @returns what it was, undefined when there was none */
  remove(bucket: string): BookEntry | undefined {
    const entry = this.#entries.get(bucket);
    if (entry === undefined) return undefined;
    this.#entries.delete(bucket);
    // Also of one that the store does not know yet: the word of it may be on its way.
    this.#removals.add(bucket);
    return entry;
  }

  /** Another secret is behind the hashes: what has a name here goes on under its new one. @returns those */
  rename(bucketOf: (hashed: HashedName) => string): BookEntry[] {
    return this.entries().flatMap((entry) => {
      const { hashed } = entry;
      const bucket = hashed === null ? entry.bucket : bucketOf(hashed);
      if (bucket === entry.bucket) return [];
      this.remove(entry.bucket);
      return this.set({ ...entry, bucket, client: hashed?.kind === 'ip' ? `ip:${bucket}` : entry.client });
    });
  }

  /** Its buckets were filled: other gateways should forget what they remember of it. */
  filled(bucket: string): void {
    this.#fills.set(bucket, { kind: 'fill', bucket });
  }

  /** Takes out what has ended. */
  expire(now: number): BookEntry[] {
    const ended = this.entries().filter(({ endsMs }) => endsMs <= now);
    for (const { bucket } of ended) this.#entries.delete(bucket);
    return ended;
  }

  /** When the next one ends; Infinity without any. */
  nextEndMs(): number {
    let next = Infinity;
    for (const { endsMs } of this.#entries.values()) next = Math.min(next, endsMs);
    return next;
  }

  /** What the store has not been told yet, at most so many. */
  orders(most: number): BookOrder[] {
    const orders: BookOrder[] = [];
    for (const bucket of this.#removals) orders.push({ kind: 'remove', bucket });
    orders.push(...this.#fills.values());
    for (const entry of this.#entries.values()) if (entry.serial === 0) orders.push({ kind: 'set', entry });
    return orders.slice(0, most);
  }

  /** There is no store to be told. */
  dropOrders(): void {
    this.#removals.clear();
    this.#fills.clear();
  }

  /** The store has carried them out; `sentMs`: the moment from which their spans were counted. @returns those for which it has no place; they are not in force any more */
  ordered(
    orders: readonly BookOrder[],
    { life, version, nowMs, taken }: OrdersTaken,
    sentMs: number,
  ): BookEntry[] {
    const refused: BookEntry[] = [];
    for (const [i, order] of orders.entries()) {
      if (order.kind === 'remove') this.#removals.delete(order.bucket);
      else if (order.kind === 'fill') {
        // Filled anew meanwhile: the others may have looked in between.
        if (this.#fills.get(order.bucket) === order) this.#fills.delete(order.bucket);
      } else {
        const { entry } = order;
        // Set anew meanwhile: that one is still to be told.
        if (this.#entries.get(entry.bucket) !== entry) continue;
        if (taken[i] === true) {
          const untilMs = nowMs + spanOf(entry, sentMs);
          this.#entries.set(entry.bucket, { ...entry, untilMs, serial: version });
        } else {
          this.#entries.delete(entry.bucket);
          refused.push(entry);
        }
      }
    }
    // Nobody else has written since this gateway looked last.
    if (version === this.#version + 1 && (life === this.#life || this.#life === '')) {
      this.#life = life;
      this.#version = version;
    }
    return refused;
  }

  /** What the store's word asks for: nothing, reading, or writing back first. An empty store has no life and version 0. */
  judge(life: string, version: number): 'same' | 'read' | 'restore' {
    if (life === this.#life && version === this.#version) return 'same';
    if (this.#life === '') return 'read';
    if (life !== this.#life) return this.stored().length > 0 ? 'restore' : 'read';
    return version < this.#version ? 'restore' : 'read';
  }

  /** What the store once had and this gateway holds, for a store that has forgotten. */
  stored(): BookEntry[] {
    return this.entries().filter(({ serial }) => serial > 0);
  }

  /** Takes over what the store has; what was set or removed here and not told yet stays so. */
  read(state: StoredOverrides, now: number): BookChange {
    const known = state.life === this.#life ? this.#version : 0;
    const filled = state.fills.flatMap(({ bucket, serial }) => (serial > known ? [bucket] : []));
    const there = new Set<string>();
    const changed: BookEntry[] = [];
    for (const stored of state.entries) {
      const leftMs = stored.untilMs - state.nowMs;
      if (leftMs <= 0 || this.#removals.has(stored.bucket)) continue;
      there.add(stored.bucket);
      const held = this.#entries.get(stored.bucket);
      if (held !== undefined && (held.serial === 0 || isSame(held, stored))) continue;
      const { client, hashed } = held ?? { client: stored.bucket, hashed: null };
      const entry = { ...stored, client, hashed, endsMs: now + leftMs };
      this.#entries.set(stored.bucket, entry);
      changed.push(entry);
    }
    const gone = this.stored().flatMap(({ bucket }) => (there.has(bucket) ? [] : [bucket]));
    for (const bucket of gone) this.#entries.delete(bucket);
    this.#life = state.life;
    this.#version = state.version;
    return { changed, gone, filled };
  }
}

/** Serials alone do not tell: another life of the store has counted anew. */
function isSame(held: BookEntry, stored: StoredOverride): boolean {
  return (
    held.serial === stored.serial &&
    held.ratePerSecond === stored.ratePerSecond &&
    held.burst === stored.burst
  );
}

/** What is left of one, in whole ms, as the store is told it. */
export function spanOf({ endsMs }: Pick<BookEntry, 'endsMs'>, now: number): number {
  return Math.max(1, Math.ceil(endsMs - now));
}
