import { expect, test } from 'vitest';
import { ReadinessWord } from '../../../src/io/readiness-word.ts';
import type { WorkerPool, WorkerProcess } from '../../../src/io/worker-pool.ts';

/** Workers that keep what they were told, and the readiness of the gateway. */
function bench(workers: number) {
  const heard = Array.from({ length: workers }, (): boolean[] => []);
  const doubles = heard.map((words) => ({
    send: ({ ready }: { ready: boolean }) => words.push(ready),
  }));
  const state = { ready: false };
  const pool = { all: () => doubles } as unknown as WorkerPool;
  const word = new ReadinessWord(pool, () => state.ready);
  return { heard, state, word, worker: (index: number) => doubles[index] as unknown as WorkerProcess };
}

test('every worker is told when it changes, and only then', () => {
  const { heard, state, word } = bench(2);
  word.spread();
  state.ready = true;
  word.spread();
  word.spread();
  state.ready = false;
  word.spread();
  expect(heard).toEqual([
    [true, false],
    [true, false],
  ]);
});

test('a worker that starts later is told what holds then, and the others what they had not heard yet', () => {
  const { heard, state, word, worker } = bench(2);
  state.ready = true;
  word.tell(worker(1));
  expect(heard).toEqual([[true], [true, true]]);
  word.tell(worker(1));
  expect(heard).toEqual([[true], [true, true, true]]);
});
