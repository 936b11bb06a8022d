/** A discrete-event clock: a binary heap of moments, no real time at all. Events of one moment run in the order of asking. */
export class Clock {
  now = 0;
  #order = 0;
  readonly #heap: { at: number; order: number; run: (now: number) => void }[] = [];

  at(at: number, run: (now: number) => void): void {
    const heap = this.#heap;
    const entry = { at: Math.max(at, this.now), order: this.#order++, run };
    let i = heap.length;
    heap.push(entry);
    while (i > 0) {
      const parent = (i - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || !before(entry, above)) break;
      heap[i] = above;
      i = parent;
    }
    heap[i] = entry;
  }

  after(ms: number, run: (now: number) => void): void {
    this.at(this.now + ms, run);
  }

  every(ms: number, run: (now: number) => void): void {
    const beat = (now: number): void => {
      run(now);
      this.at(now + ms, beat);
    };
    this.after(ms, beat);
  }

  runUntil(endMs: number): void {
    for (;;) {
      const first = this.#heap[0];
      if (first === undefined || first.at > endMs) break;
      this.#removeFirst();
      this.now = first.at;
      first.run(first.at);
    }
    this.now = endMs;
  }

  #removeFirst(): void {
    const heap = this.#heap;
    const last = heap.pop();
    const size = heap.length;
    if (last === undefined || size === 0) return;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      const left = heap[child];
      if (left === undefined) break;
      const right = heap[child + 1];
      let lesser = left;
      if (right !== undefined && before(right, left)) {
        lesser = right;
        child += 1;
      }
      if (!before(lesser, last)) break;
      heap[i] = lesser;
      i = child;
    }
    heap[i] = last;
  }
}

function before(a: { at: number; order: number }, b: { at: number; order: number }): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}
