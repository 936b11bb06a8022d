/**
 * Buckets by name, in memory that the garbage collector does not look into.
 *
 * A map of 200,000 names is 200,000 strings that each collection marks or copies: with a spray of addresses the event loop
 * stood still for 60 ms at a time, and for 12 to 19 ms more whenever the map moved to a larger table. Here a bucket is
 * sixteen bytes in typed arrays: 64 bits of hash in place of its name, and its TAT. Open addressing, linear probing, and
 * removal by moving later entries back, so that nothing is left behind by those who went.
 *
 * Two names of one hash would share a bucket: among 200,000 that is once in 10^9 tables. Nobody can look for such a name,
 * since a client's is a keyed hash.
 */

/** Beyond this share of its places the table doubles. At 0.4 it is twice as large; at 0.95 a new name costs 200 looks (13). */
const FULLEST = 0.8;
/** Places made at first, so that an idle worker holds almost nothing. A power of two. */
const FIRST_PLACES = 1024;
const NOT_FOUND = -1;

export class BucketTable {
  #firstHalves = new Uint32Array(FIRST_PLACES);
  #secondHalves = new Uint32Array(FIRST_PLACES);
  /** 0 marks an empty place. */
  #tats = new Float64Array(FIRST_PLACES);
  #mask = FIRST_PLACES - 1;
  #size = 0;
  /** Of the name looked for last. */
  #first = 0;
  #second = 0;

  /** Buckets held now. */
  get size(): number {
    return this.#size;
  }

  /** Places to look at, empty ones among them. */
  get places(): number {
    return this.#mask + 1;
  }

  /** Where this bucket is, or -1; true until the next `add` or `remove`. */
  find(name: string): number {
    this.#hash(name);
    const place = this.#placeOfHash();
    return this.#tats[place] === 0 ? NOT_FOUND : place;
  }

  /** The TAT at a place; 0 = there is no bucket. */
  tatAt(place: number): number {
    return this.#tats[place] as number;
  }

  /** Another TAT, above 0, for the bucket at a place. */
  setAt(place: number, tat: number): void {
    this.#tats[place] = tat;
  }

  /** Adds a bucket that is not there yet. @param tat above 0 */
  add(name: string, tat: number): void {
    if (this.#size >= FULLEST * this.places) this.#grow();
    this.#hash(name);
    this.#putHash(tat);
    this.#size++;
  }

  /** Removes the bucket at a place; one that lay behind it may lie there now. */
  remove(place: number): void {
    const mask = this.#mask;
    let gap = place;
    for (let next = (gap + 1) & mask; this.#tats[next] !== 0; next = (next + 1) & mask) {
      // An entry may move back as far as the place where its search begins.
      const home = (this.#firstHalves[next] as number) & mask;
      if (((next - home) & mask) < ((next - gap) & mask)) continue;
      this.#firstHalves[gap] = this.#firstHalves[next] as number;
      this.#secondHalves[gap] = this.#secondHalves[next] as number;
      this.#tats[gap] = this.#tats[next] as number;
      gap = next;
    }
    this.#tats[gap] = 0;
    this.#size--;
  }

  /** Where the hash at hand is, or the empty place where its search ends. */
  #placeOfHash(): number {
    const mask = this.#mask;
    let place = this.#first & mask;
    while (this.#tats[place] !== 0) {
      if (this.#firstHalves[place] === this.#first && this.#secondHalves[place] === this.#second) break;
      place = (place + 1) & mask;
    }
    return place;
  }

  #putHash(tat: number): void {
    const place = this.#placeOfHash();
    this.#firstHalves[place] = this.#first;
    this.#secondHalves[place] = this.#second;
    this.#tats[place] = tat;
  }

  /** Two halves that take each character in differently (as MurmurHash3 mixes), so that they do not agree by chance. */
  #hash(name: string): void {
    let first = 0x9e37_79b9;
    let second = 0x7f4a_7c15;
    for (let i = 0; i < name.length; i++) {
      const code = name.charCodeAt(i);
      first = Math.imul(first ^ code, 0x85eb_ca6b);
      first = (first << 13) | (first >>> 19);
      second = Math.imul(second ^ code, 0xc2b2_ae35);
      second = (second << 17) | (second >>> 15);
    }
    first = Math.imul(first ^ (first >>> 16), 0x85eb_ca6b);
    second = Math.imul(second ^ (second >>> 15), 0xc2b2_ae35);
    this.#first = (first ^ (first >>> 13)) >>> 0;
    this.#second = (second ^ (second >>> 16)) >>> 0;
  }

  #grow(): void {
    const firstHalves = this.#firstHalves;
    const secondHalves = this.#secondHalves;
    const tats = this.#tats;
    const places = tats.length * 2;
    this.#firstHalves = new Uint32Array(places);
    this.#secondHalves = new Uint32Array(places);
    this.#tats = new Float64Array(places);
    this.#mask = places - 1;
    for (let place = 0; place < tats.length; place++) {
      const tat = tats[place] as number;
      if (tat === 0) continue;
      this.#first = firstHalves[place] as number;
      this.#second = secondHalves[place] as number;
      this.#putHash(tat);
    }
  }
}
