import { afterEach, describe, expect, test, vi } from 'vitest';
import { WorkerPool, type WorkerPoolEvents } from '../../../src/io/worker-pool.ts';

const { fork } = vi.hoisted(() => ({ fork: vi.fn() }));
vi.mock('node:child_process', () => ({ fork }));

const { EventEmitter } = await import('node:events');

/** A child that the system never started: no id, an error, no exit. */
function stillborn(): InstanceType<typeof EventEmitter> {
  return Object.assign(new EventEmitter(), { pid: undefined, connected: false });
}

function pool(): {
  pool: WorkerPool;
  events: { [name in keyof WorkerPoolEvents]: ReturnType<typeof vi.fn> };
} {
  const events = { onHello: vi.fn(), onMessage: vi.fn(), onExit: vi.fn(), onNoProcess: vi.fn() };
  return {
    events,
    pool: new WorkerPool({ entry: 'x', events, now: () => 0, retireMs: () => 30_000, environment: {} }),
  };
}

afterEach(() => {
  vi.useRealTimers();
  fork.mockReset();
});

describe('a worker that never became a process', () => {
  test('is gone once, and another is started', () => {
    vi.useFakeTimers();
    const first = stillborn();
    const second = stillborn();
    fork.mockReturnValueOnce(first).mockReturnValueOnce(second);
    const { pool: workers, events } = pool();
    workers.scale(1);
    first.emit('error', new Error('spawn EAGAIN'));
    first.emit('error', new Error('again'));
    expect(events.onExit).toHaveBeenCalledExactlyOnceWith(
      expect.objectContaining({ index: 0, state: 'dead' }),
      'spawn EAGAIN',
      false,
    );
    expect(workers.all()).toEqual([]);
    vi.advanceTimersByTime(0);
    expect(workers.current()).toEqual([expect.objectContaining({ index: 0, restarts: 1 })]);
  });

  test('is tried again when the system refuses at once', () => {
    vi.useFakeTimers();
    const first = stillborn();
    fork
      .mockReturnValueOnce(first)
      .mockImplementationOnce(() => {
        throw new Error('ENOMEM');
      })
      .mockReturnValueOnce(stillborn());
    const { pool: workers, events } = pool();
    workers.scale(1);
    first.emit('error', new Error('spawn EAGAIN'));
    vi.advanceTimersByTime(0);
    expect(events.onNoProcess).toHaveBeenCalledExactlyOnceWith('ENOMEM');
    expect(workers.current()).toEqual([]);
    vi.advanceTimersByTime(250);
    expect(workers.current()).toHaveLength(1);
  });
});

test('once restarts have stopped, a scale starts nobody and ends nobody', () => {
  fork.mockReturnValue(stillborn());
  const { pool: workers } = pool();
  workers.scale(1);
  workers.stopRestarting();
  workers.scale(3);
  workers.scale(0);
  expect(fork).toHaveBeenCalledTimes(1);
  expect(workers.current()).toHaveLength(1);
});
