/**
 * Has V8 collect what uploads leave behind before it is much.
 *
 * Node's parser copies each 64 KiB that it reads of a body into memory outside the heap. V8 looks at such memory only when
 * it collects young objects, and a body makes few of those: without a word 50 MiB and more of read and written pieces lie
 * about at a time. So after every few MiB the young generation is collected here; it holds little then, and what is
 * collected now is not collected later. Downloads need none of it (`read-memory.ts`).
 *
 * Workers are started with `--expose-gc` for it (`worker-pool.ts`). The function can be had later, from a second context of
 * V8; but beside one, all that works on strings is compiled for the general case, and a request costs a tenth more.
 */

/** Half costs a collection, about a millisecond, twice as often; double lets as much again lie about. */
const COLLECT_BYTES = 8 * 1024 * 1024;

export class YoungGarbage {
  readonly #collect: typeof globalThis.gc;
  #bytes = 0;

  constructor(collect = globalThis.gc) {
    this.#collect = collect;
  }

  /** Counts bytes of bodies that were read. */
  read(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes < COLLECT_BYTES) return;
    this.#bytes = 0;
    this.#collect?.({ type: 'minor', execution: 'sync' });
  }
}
