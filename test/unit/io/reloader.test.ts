import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';

const { fork } = vi.hoisted(() => ({ fork: vi.fn() }));
vi.mock('node:child_process', () => ({ fork }));

const { configured, controlBench } = await import('./control-bench.ts');

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
  fork.mockReset();
});

/** What became of it by then; `undefined` while it goes on. */
async function after<T>(promise: Promise<T>, spanMs: number): Promise<T | undefined> {
  let settled: T | undefined;
  void promise.then((value) => {
    settled = value;
  });
  await vi.advanceTimersByTimeAsync(spanMs);
  return settled;
}

describe('a silent worker', () => {
  test('holds a reload up for ten seconds and five, then the answer warns of it by its process id', async () => {
    const { children, reloader, rollout, results } = controlBench(fork, 2);
    const [, silent] = children;
    if (silent !== undefined) silent.obeys = false;
    const answer = reloader.reload('test');
    expect(await after(answer, 9_900)).toBeUndefined();
    expect(await after(answer, 5_200)).toMatchObject({
      ok: true,
      faults: [],
      warnings: ['worker 1001 has not taken the configuration yet: it is silent'],
    });
    expect(results).toEqual(['ok']);
    expect(rollout.loaded.hash).toBe('hash-2');
  });

  test('finds its orders when it wakes', async () => {
    const { children, reloader, rollout, pool } = controlBench(fork, 2);
    const [, silent] = children;
    if (silent === undefined) throw new Error('no second worker');
    silent.obeys = false;
    await after(reloader.reload('test'), 20_000);
    expect(silent.told('configure')).toBe(1);
    silent.obeys = true;
    silent.say({ type: 'configured', generation: rollout.generation });
    expect(silent.told('listen')).toBe(1);
    expect(pool.current().every((worker) => rollout.isComplete(worker))).toBe(true);
  });

  test('that is the only one refuses the reload, and the old configuration is offered again', async () => {
    const { children, reloader, rollout } = controlBench(fork, 1);
    const [silent] = children;
    if (silent !== undefined) silent.obeys = false;
    expect(await after(reloader.reload('test'), 20_000)).toMatchObject({
      ok: false,
      refused: 'not-taken',
      faults: ['no worker took the configuration within 10 s'],
    });
    expect(rollout.loaded.hash).toBe('hash-1');
    expect(silent?.told('configure')).toBe(2);
  });

  test('nobody waits for it when all the others answer and it has died', async () => {
    const { children, reloader } = controlBench(fork, 2);
    const [, dying] = children;
    if (dying === undefined) throw new Error('no second worker');
    dying.obeys = false;
    const answer = reloader.reload('test');
    await vi.advanceTimersByTimeAsync(0);
    fork.mockReturnValue(dying);
    dying.emit('exit', 1, null);
    expect(await after(answer, 200)).toMatchObject({ ok: true });
  });
});

describe('a reload that is refused says why', () => {
  test('faults of the file', async () => {
    const { reloader, state, children } = controlBench(fork, 1);
    state.read = { ok: false, faults: ['f.yaml:1:1: error: x'], warnings: ['w'] };
    expect(await after(reloader.reload('test'), 0)).toEqual({
      ok: false,
      changes: [],
      refused: 'faults',
      faults: ['f.yaml:1:1: error: x'],
      warnings: ['w'],
    });
    expect(children[0]?.sent).toEqual([]);
  });

  test('the gateway is shutting down, also when that begins in the middle', async () => {
    const { reloader, state, children, conditions, rollout } = controlBench(fork, 1);
    const ending = { ok: false, refused: 'not-serving', faults: ['the gateway is shutting down'] };
    const [worker] = children;
    if (worker !== undefined) worker.obeys = false;
    const midway = reloader.reload('test');
    expect(await after(midway, 1000)).toBeUndefined();
    state.phase = 'ending';
    conditions.wake();
    expect(await after(midway, 0)).toMatchObject(ending);
    expect(rollout.loaded.hash).toBe('hash-1');
    expect(await after(reloader.reload('test'), 0)).toMatchObject(ending);
  });

  test('the gateway has not started: it is waited for, for ten seconds', async () => {
    const { reloader, state } = controlBench(fork, 1);
    state.phase = 'starting';
    const answer = reloader.reload('test');
    expect(await after(answer, 9_900)).toBeUndefined();
    expect(await after(answer, 200)).toMatchObject({ refused: 'not-serving' });
    const other = reloader.reload('test');
    await vi.advanceTimersByTimeAsync(1000);
    state.phase = 'serving';
    expect(await after(other, 100)).toMatchObject({ ok: true });
  });

  test('a worker cannot take a valid file', async () => {
    const { reloader, children, rollout } = controlBench(fork, 1);
    const [worker] = children;
    if (worker === undefined) throw new Error('no worker');
    worker.obeys = false;
    const answer = reloader.reload('test');
    await vi.advanceTimersByTimeAsync(100);
    worker.obeys = true;
    worker.say({ type: 'refused', generation: rollout.generation, reason: 'EACCES' });
    expect(await after(answer, 100)).toMatchObject({ refused: 'not-taken', faults: ['EACCES'] });
  });

  test('the admin address cannot take its part', async () => {
    const { reloader, state } = controlBench(fork, 1);
    state.adminRefusal = 'no token';
    expect(await after(reloader.reload('test'), 0)).toMatchObject({
      refused: 'not-taken',
      faults: ['no token'],
    });
  });
});

test('a reload amid another waits for it and reads the file then', async () => {
  const { reloader, state, children, rollout } = controlBench(fork, 1);
  const [worker] = children;
  if (worker === undefined) throw new Error('no worker');
  worker.obeys = false;
  const first = reloader.reload('first');
  await vi.advanceTimersByTimeAsync(100);
  const second = reloader.reload('second');
  state.read = { ok: true, loaded: configured(3), warnings: [] };
  expect(await after(second, 1000)).toBeUndefined();
  worker.obeys = true;
  worker.say({ type: 'configured', generation: rollout.generation });
  expect(await after(first, 100)).toMatchObject({ ok: true });
  expect(await after(second, 100)).toMatchObject({ ok: true });
  expect(rollout.loaded.hash).toBe('hash-3');
});
