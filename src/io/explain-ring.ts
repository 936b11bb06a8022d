/**
 * Why the last few thousand requests went as they did, for `GET /v1/explain/REQUEST_ID`.
 *
 * A fixed ring whose records are written over in place: a record a request would outlive a collection of young objects
 * and be copied by it, twice, only to be forgotten. Reading walks back from
 * the newest, since questions are rare and come soon after the request. No index is kept: a map would cost each request
 * an insertion and a removal to make one question in a million faster.
 * Limits: at 10 000 requests/s a worker remembers about 0.4 s; ask under light load or read the access log.
 */

/** 4096 records of some 300 B are about 1 MB a worker, 5 MB when all paths are long. Half forgets twice as soon; double costs memory, not time. */
export const EXPLAIN_RECORDS = 4096;

/** @typeParam T the record, a flat object; it must hold no key, token, cookie or address. */
export class ExplainRing<T extends { requestId: string }> {
  readonly #size: number;
  readonly #blank: () => T;
  readonly #records: T[] = [];
  #next = 0;

  /** @param blank makes an empty record; called until the ring is full, never after. */
  constructor(blank: () => T, size: number = EXPLAIN_RECORDS) {
    this.#size = size;
    this.#blank = blank;
  }

  /** The record to be filled for the request that ended now; what it held is forgotten. */
  take(): T {
    const at = this.#next;
    this.#next = at + 1 === this.#size ? 0 : at + 1;
    const record = this.#records[at];
    if (record !== undefined) return record;
    const made = this.#blank();
    this.#records.push(made);
    return made;
  }

  /** The newest record of this id, to be read at once; undefined when there is none (any more). */
  find(requestId: string): T | undefined {
    if (requestId === '') return undefined;
    for (let back = 1; back <= this.#records.length; back += 1) {
      const record = this.#records[(this.#next - back + this.#size) % this.#size];
      if (record?.requestId === requestId) return record;
    }
    return undefined;
  }
}
