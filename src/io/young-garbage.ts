import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/**
 * Has V8 collect what uploads leave behind before it is much.
 *
 * Node's parser copies each 64 KiB that it reads of a body into memory outside the heap. V8 looks at such memory only when
 * it collects young objects, and a body makes few of those: without a word 50 MiB and more of read and written pieces lie
 * about at a time. So after every few MiB the young generation is collected here; it holds little then, and what is
 * collected now is not collected later. Downloads need none of it (`read-memory.ts`).
 */

/** Half costs a collection, about a millisecond, twice as often; double lets as much again lie about. */
const COLLECT_BYTES = 8 * 1024 * 1024;

type Collect = (options: { readonly type: 'minor'; readonly execution: 'sync' }) => void;

export class YoungGarbage {
  #collect: Collect | undefined = undefined;
  #bytes = 0;

  /** Counts bytes of bodies that were read. */
  read(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes < COLLECT_BYTES) return;
    this.#bytes = 0;
    this.#collect ??= collector();
    this.#collect({ type: 'minor', execution: 'sync' });
  }
}

/**
 * The function is only to be had from a second context, and a request costs some 5 % more in a process that has one. So only
 * a worker that gets large uploads makes it. As a flag of the process it would have V8 refuse the code that Node and the
 * supervisor have kept: a start takes 80 ms longer.
 */
function collector(): Collect {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as Collect;
  setFlagsFromString('--no-expose-gc');
  return collect;
}
