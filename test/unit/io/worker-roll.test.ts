import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Logger } from 'pino';

const { fork } = vi.hoisted(() => ({ fork: vi.fn() }));
vi.mock('node:child_process', () => ({ fork }));

const { controlBench, childDouble } = await import('./control-bench.ts');
const { WorkerRoll } = await import('../../../src/io/worker-roll.ts');

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
  fork.mockReset();
});

/** Two workers that serve, and their successors; those are told to serve by `serve`. */
function bench() {
  const made = controlBench(fork, 2);
  const successors = [childDouble(2000), childDouble(2001)];
  for (const child of successors) fork.mockReturnValueOnce(child);
  const log = { info: vi.fn(), error: vi.fn() };
  const roll = new WorkerRoll({
    log: log as unknown as Logger,
    pool: made.pool,
    conditions: made.conditions,
    phase: () => made.state.phase,
  });
  const pids = (): number[] => made.pool.current().map(({ pid }) => pid);
  const serve = async (pid: number): Promise<void> => {
    const worker = made.pool.current().find((each) => each.pid === pid);
    if (worker === undefined) throw new Error(`${pid} is not there`);
    made.rollout.configure(worker);
    await vi.advanceTimersByTimeAsync(0);
  };
  return { ...made, successors, log, roll, pids, serve };
}

test('who is replaced leaves only when his successor serves, one place after the other', async () => {
  const { children, pool, roll, pids, serve } = bench();
  const rolling = roll.roll('test');
  await vi.advanceTimersByTimeAsync(5000);
  // The successor is there, and has said nothing yet.
  expect(pids().toSorted((a, b) => a - b)).toEqual([1000, 1001, 2000]);
  expect(children.map((child) => child.told('retire'))).toEqual([0, 0]);
  expect(pool.listening).toBe(2);
  await serve(2000);
  expect(children.map((child) => child.told('retire'))).toEqual([1, 0]);
  expect(pool.listening).toBe(2);
  // The newcomer hears from the other one how much the services bear, before that one is replaced too.
  await vi.advanceTimersByTimeAsync(1900);
  expect(fork).toHaveBeenCalledTimes(3);
  await vi.advanceTimersByTimeAsync(2000);
  await serve(2001);
  expect(await rolling).toEqual({ rolled: 2, failed: [] });
  expect(children.map((child) => child.told('retire'))).toEqual([1, 1]);
  expect(pids().toSorted((a, b) => a - b)).toEqual([2000, 2001]);
  expect(
    pool
      .current()
      .map(({ index }) => index)
      .toSorted((a, b) => a - b),
  ).toEqual([0, 1]);
});

test('a successor that dies ends the roll; the worker it was to replace and those after it go on', async () => {
  const { children, successors, roll, pids } = bench();
  const rolling = roll.roll('test');
  await vi.advanceTimersByTimeAsync(0);
  successors[0]?.emit('exit', 1, null);
  await vi.advanceTimersByTimeAsync(100);
  expect(await rolling).toEqual({ rolled: 0, failed: ['the new process 2000 ended: exit code 1'] });
  expect(children.map((child) => child.told('retire'))).toEqual([0, 0]);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(pids()).toEqual([1000, 1001]);
});

test('a successor that says nothing is sent away after fifteen seconds, and killed when it does not hear', async () => {
  const { children, successors, roll, pids } = bench();
  const kill = vi.fn();
  Object.assign(successors[0] ?? {}, { kill, obeys: false });
  const rolling = roll.roll('test');
  await vi.advanceTimersByTimeAsync(15_000);
  expect(await rolling).toMatchObject({
    rolled: 0,
    failed: ['the new process 2000 did not serve within 15 s'],
  });
  expect(pids()).toEqual([1000, 1001]);
  expect(children.map((child) => child.told('retire'))).toEqual([0, 0]);
  expect(successors[0]?.told('retire')).toBe(1);
  await vi.advanceTimersByTimeAsync(33_000);
  expect(kill).toHaveBeenCalledExactlyOnceWith('SIGKILL');
});

test('when the worker dies meanwhile its successor has the place, and nobody else is started for it', async () => {
  const { children, roll, pids, serve } = bench();
  const rolling = roll.roll('test');
  await vi.advanceTimersByTimeAsync(0);
  children[0]?.emit('exit', null, 'SIGKILL');
  await vi.advanceTimersByTimeAsync(1000);
  expect(pids().toSorted((a, b) => a - b)).toEqual([1001, 2000]);
  await serve(2000);
  await vi.advanceTimersByTimeAsync(2000);
  await serve(2001);
  expect(await rolling).toEqual({ rolled: 2, failed: [] });
  expect(pids().toSorted((a, b) => a - b)).toEqual([2000, 2001]);
});

test('who asks while a roll is under way is told of that one; a gateway that ends begins none', async () => {
  const { roll, state, serve } = bench();
  const first = roll.roll('one');
  const second = roll.roll('two');
  await vi.advanceTimersByTimeAsync(0);
  await serve(2000);
  await vi.advanceTimersByTimeAsync(2000);
  await serve(2001);
  expect(await first).toEqual(await second);
  expect(fork).toHaveBeenCalledTimes(4);
  state.phase = 'ending';
  expect(await roll.roll('three')).toEqual({ rolled: 0, failed: ['the gateway does not serve'] });
  expect(fork).toHaveBeenCalledTimes(4);
});

test('who leaves is still told of instances that come and go', async () => {
  const { children, pool, roll, serve } = bench();
  const rolling = roll.roll('test');
  await vi.advanceTimersByTimeAsync(0);
  await serve(2000);
  pool.broadcast({ type: 'states', states: [] });
  expect(children[0]?.told('states')).toBe(1);
  await vi.advanceTimersByTimeAsync(2000);
  await serve(2001);
  await rolling;
});
