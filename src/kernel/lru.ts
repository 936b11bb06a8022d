/**
 * A bounded memory of what was used lately, in two generations.
 *
 * New and used entries live in the young generation. When that holds half of the capacity it becomes the old one and the
 * one before is forgotten as a whole. So whatever was used since the last change survives the next, a hit costs one map
 * lookup and writes nothing, and an eviction costs nothing at all: an exact order of use would rewrite the map at each hit.
 *
 * Limits: never more than `capacity` entries; anything unused for a generation may go, which a flood of strangers hastens.
 * So put only what can be computed again. Keys are compared by value and may be secrets: they are never listed.
 * Source: the two-space collectors; V8 and Go's sync.Map age the same way.
 */
export class RecentMap<K, V> {
  readonly #half: number;
  readonly #forgotten: ((value: V) => void) | undefined;
  #young = new Map<K, V>();
  #old = new Map<K, V>();

  /**
   * @param capacity most entries held, ≥ 2
   * @param forgotten told each entry that goes to make room; an eviction then costs a look at half the capacity
   */
  constructor(capacity: number, forgotten?: (value: V) => void) {
    this.#half = Math.max(1, Math.floor(capacity / 2));
    this.#forgotten = forgotten;
  }

  get size(): number {
    return this.#young.size + this.#old.size;
  }

  get(key: K): V | undefined {
    const young = this.#young.get(key);
    if (young !== undefined) return young;
    const old = this.#old.get(key);
    if (old === undefined) return undefined;
    this.#old.delete(key);
    this.set(key, old);
    return old;
  }

  set(key: K, value: V): void {
    if (this.#young.size >= this.#half && !this.#young.has(key)) {
      const gone = this.#old;
      this.#old = this.#young;
      this.#young = new Map();
      if (this.#forgotten !== undefined) for (const value of gone.values()) this.#forgotten(value);
    } else this.#old.delete(key);
    this.#young.set(key, value);
  }

  delete(key: K): void {
    this.#young.delete(key);
    this.#old.delete(key);
  }

  clear(): void {
    this.#young = new Map();
    this.#old = new Map();
  }

  *values(): Generator<V> {
    yield* this.#young.values();
    yield* this.#old.values();
  }
}
