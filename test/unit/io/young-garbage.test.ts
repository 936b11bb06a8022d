import { expect, it } from 'vitest';
import { YoungGarbage } from '../../../src/io/young-garbage.ts';

const PIECE_BYTES = 64 * 1024;

it('what an upload leaves behind is collected every few MiB', () => {
  const garbage = new YoungGarbage();
  const before = process.memoryUsage().arrayBuffers;
  let most = 0;
  for (let piece = 0; piece < 1600; piece++) {
    // As node's parser makes them; nobody keeps one.
    Buffer.allocUnsafeSlow(PIECE_BYTES).fill(piece);
    garbage.read(PIECE_BYTES);
    most = Math.max(most, process.memoryUsage().arrayBuffers - before);
  }
  // 100 MiB went by; without a word more than 60 of them would lie about.
  expect(most).toBeLessThan(32 * 1024 * 1024);
});

it('the means to collect is not left lying about for others', () => {
  new YoungGarbage().read(64 * 1024 * 1024);
  expect('gc' in globalThis).toBe(false);
});
