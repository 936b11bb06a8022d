import type { Redis } from 'ioredis';
import { expect, test } from 'vitest';

import { ScriptCall } from '../../../src/io/limit-store/script-call.ts';
import type { NodeStore } from '../../../src/io/limit-store/script-call.ts';
import { Batch } from '../../../src/io/limit-store/turn-batches.ts';
import type { StoreReply } from '../../../src/limits/store.ts';
import { leftAfterScavenge } from '../../harness/scavenge.ts';

class Told implements NodeStore {
  readonly client = {} as Redis;
  readonly replies: StoreReply[] = [];
  readonly errors: string[] = [];
  endings = 0;

  ended(): void {
    this.endings++;
  }

  replied(_batch: Batch, _index: number, reply: StoreReply): void {
    this.replies.push(reply);
  }

  failed(_call: ScriptCall, error: Error): void {
    this.errors.push(error.message);
  }

  abandon(): void {
    this.errors.push('abandoned');
  }

  loadScripts(): void {
    this.errors.push('loaded');
  }

  sendFor(): boolean {
    return false;
  }
}

test('A call tells its reply as it came, once, and its promise resolves for whoever traces the client.', async () => {
  const store = new Told();
  const call = new ScriptCall('evalsha', ['sha', 1, 'key'], store, new Batch(false), 0);
  call.resolve([1, 2, 3]);
  expect(store).toMatchObject({ replies: [[1, 2, 3]], errors: [], endings: 1 });
  await expect(call.promise).resolves.toBeNull();
});

test('A call that failed tells the error, and its promise still resolves.', async () => {
  const store = new Told();
  const call = new ScriptCall('evalsha', ['sha', 1, 'key'], store, new Batch(false), 0);
  call.reject(new Error('NOSCRIPT'));
  expect(store).toMatchObject({ replies: [], errors: ['NOSCRIPT'], endings: 1 });
  await expect(call.promise).resolves.toBeNull();
});

test('Numbers among the arguments are sent as text.', () => {
  const call = new ScriptCall('evalsha', ['sha', 1, 'key', 250], new Told(), new Batch(false), 0);
  expect(call.toWritable(undefined as never)).toBe(
    '*5\r\n$7\r\nevalsha\r\n$3\r\nsha\r\n$1\r\n1\r\n$3\r\nkey\r\n$3\r\n250\r\n',
  );
});

test('What hangs on a settled call dies with the next scavenge, not with the next full collection.', async () => {
  const store = new Told();
  const settled = (): WeakRef<Batch> => {
    const batch = new Batch(false);
    const call = new ScriptCall('evalsha', ['sha', 1, 'key'], store, batch, 0);
    call.resolve([1]);
    return new WeakRef(batch);
  };
  const batches = Array.from({ length: 100 }, settled);
  expect(await leftAfterScavenge(batches)).toBe(0);
});
