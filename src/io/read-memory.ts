import { Buffer } from 'node:buffer';

/**
 * Memory into which large answers are read, used again once what was read has left.
 *
 * A fresh buffer for each read would be memory outside the heap, of which V8 collects nothing before some 64 MiB of it lie
 * about. A piece of the body holds the memory it was read into until its reader has written it on; a piece that is dropped
 * unwritten never gives it back, and the memory is left to the collector. Nothing is read into memory that is held.
 */

/** As node's own streams read. */
const BUFFER_BYTES = 64 * 1024;
/** Free ones that are kept. Half: two downloads at once allocate; double: a pool that is idle keeps as much again. */
const MOST_SPARE = 4;

export class ReadMemory {
  readonly buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  readonly #spares: SpareMemory;
  #holders = 0;
  #inUse = true;

  constructor(spares: SpareMemory) {
    this.#spares = spares;
  }

  /** Some of what was read into it is still on its way. */
  get held(): boolean {
    return this.#holders > 0;
  }

  /** @returns what has to be called, once, when the piece has left */
  hold(): () => void {
    this.#holders++;
    return this.#release;
  }

  /** Its connection reads into it no more. */
  leave(): void {
    this.#inUse = false;
    if (this.#holders === 0) this.#spares.give(this);
  }

  enter(): void {
    this.#inUse = true;
  }

  readonly #release = (): void => {
    this.#holders--;
    if (this.#holders === 0 && !this.#inUse) this.#spares.give(this);
  };
}

/** The free memory of a pool. */
export class SpareMemory {
  readonly #free: ReadMemory[] = [];

  take(): ReadMemory {
    const memory = this.#free.pop() ?? new ReadMemory(this);
    memory.enter();
    return memory;
  }

  give(memory: ReadMemory): void {
    if (this.#free.length < MOST_SPARE) this.#free.push(memory);
  }
}
