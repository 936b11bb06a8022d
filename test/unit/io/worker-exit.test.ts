import { afterEach, expect, test, vi } from 'vitest';
import type { WorkerServer } from '../../../src/io/servers.ts';
import type { WorkerContext } from '../../../src/io/worker-context.ts';
import { WorkerExit } from '../../../src/io/worker-exit.ts';

afterEach(() => {
  vi.useRealTimers();
});

/** A server whose connections are counted when the test says so. */
function serverDouble() {
  const asked: PromiseWithResolvers<number>[] = [];
  return {
    asked,
    stopAccepting: vi.fn(),
    closeIdle: vi.fn(),
    closeAll: vi.fn(),
    connections: async () => {
      const count = Promise.withResolvers<number>();
      asked.push(count);
      return await count.promise;
    },
  };
}

function exitOf(servers: ReturnType<typeof serverDouble>[]) {
  vi.useFakeTimers();
  const onEmpty = vi.fn();
  const context = { now: () => performance.now(), streams: new Set() } as unknown as WorkerContext;
  return {
    onEmpty,
    context,
    exit: new WorkerExit(context, () => servers as unknown as WorkerServer[], onEmpty),
  };
}

function leave(servers: ReturnType<typeof serverDouble>[]) {
  const { exit, onEmpty } = exitOf(servers);
  exit.drain(0, 10_000);
  return onEmpty;
}

test('a retired worker accepts no more at once, and ends no idle connection before five seconds: it may carry a POST', async () => {
  const server = { ...serverDouble(), connections: async () => 1 };
  const { exit, context } = exitOf([server]);
  exit.retire(30_000);
  await vi.advanceTimersByTimeAsync(0);
  expect(server.stopAccepting).toHaveBeenCalledTimes(1);
  // Answers say `connection: close`; what the gateway says of itself does not change.
  expect(context).toMatchObject({ draining: true, replaced: true });
  await vi.advanceTimersByTimeAsync(4900);
  expect(server.closeIdle).not.toHaveBeenCalled();
  await vi.advanceTimersByTimeAsync(200);
  expect(server.closeIdle).toHaveBeenCalled();
});

test('a count that takes longer than the beat ends the worker once', async () => {
  const server = serverDouble();
  const onEmpty = leave([server]);
  await vi.advanceTimersByTimeAsync(500);
  expect(server.asked).toHaveLength(1);
  server.asked[0]?.resolve(0);
  await vi.advanceTimersByTimeAsync(500);
  expect(onEmpty).toHaveBeenCalledTimes(1);
  expect(server.closeAll).toHaveBeenCalledTimes(1);
});

test('a server that comes late stops accepting as well, each one once, and all are waited for', async () => {
  const early = serverDouble();
  const late = serverDouble();
  const servers = [early];
  const onEmpty = leave(servers);
  servers.push(late);
  early.asked[0]?.resolve(1);
  await vi.advanceTimersByTimeAsync(50);
  expect(late.stopAccepting).toHaveBeenCalledTimes(1);
  expect(early.stopAccepting).toHaveBeenCalledTimes(1);
  early.asked[1]?.resolve(0);
  late.asked[0]?.resolve(1);
  await vi.advanceTimersByTimeAsync(50);
  expect(onEmpty).not.toHaveBeenCalled();
  early.asked[2]?.resolve(0);
  late.asked[1]?.resolve(0);
  await vi.advanceTimersByTimeAsync(0);
  expect(onEmpty).toHaveBeenCalledTimes(1);
});
