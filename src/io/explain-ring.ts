/**
 * Why the last few thousand requests went as they did, for `GET /v1/explain/REQUEST_ID`.
 *
 * A fixed ring: writing is two array stores, so every request and every refusal can afford it; reading walks back from
 * the newest, since questions are rare and come soon after the request. No index is kept: a map would cost each request
 * an insertion and a removal to make one question in a million faster.
 * Limits: at 10 000 requests/s a worker remembers about 0.4 s; ask under light load or read the access log.
 */

/** 4096 records of some 300 B are about 1 MB a worker. Half forgets twice as soon; double costs memory, not time. */
export const EXPLAIN_RECORDS = 4096;

/** @typeParam T the record; it must hold no key, token, cookie or address. */
export class ExplainRing<T = unknown> {
  readonly #ids: string[];
  readonly #records: (T | undefined)[];
  #next = 0;

  constructor(size: number = EXPLAIN_RECORDS) {
    this.#ids = Array.from({ length: size }, () => '');
    this.#records = Array.from({ length: size }, () => undefined);
  }

  add(requestId: string, record: T): void {
    const at = this.#next;
    this.#ids[at] = requestId;
    this.#records[at] = record;
    this.#next = at + 1 === this.#ids.length ? 0 : at + 1;
  }

  /** The newest record of this id, or undefined when there is none (any more). */
  find(requestId: string): T | undefined {
    if (requestId === '') return undefined;
    const size = this.#ids.length;
    for (let back = 1; back <= size; back += 1) {
      const at = (this.#next - back + size) % size;
      if (this.#ids[at] === requestId) return this.#records[at];
    }
    return undefined;
  }
}
