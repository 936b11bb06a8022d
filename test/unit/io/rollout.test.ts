import { afterEach, beforeEach, expect, test, vi } from 'vitest';

const { fork } = vi.hoisted(() => ({ fork: vi.fn() }));
vi.mock('node:child_process', () => ({ fork }));

const { configured, controlBench, listener } = await import('./control-bench.ts');

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
  fork.mockReset();
});

function oneWorker() {
  const bench = controlBench(fork, 1);
  const [child] = bench.children;
  const [worker] = bench.pool.current();
  if (child === undefined || worker === undefined) throw new Error('no worker');
  return { ...bench, child, worker };
}

test('a worker that could not listen is told again after five seconds, and only what it lacks', () => {
  const { rollout, child, worker } = oneWorker();
  child.obeys = false;
  rollout.put(configured(1), [listener(1), listener(2)]);
  rollout.taken(worker, rollout.generation);
  child.sent.length = 0;
  expect(rollout.listenFailed(worker, ':2', 'ENOENT')).toBe(true);
  expect(rollout.fault).toBe('ENOENT');
  rollout.retryLater(worker);
  vi.advanceTimersByTime(4_999);
  expect(child.sent).toEqual([]);
  child.obeys = true;
  vi.advanceTimersByTime(1);
  expect(child.sent).toMatchObject([{ type: 'listen', key: ':2' }]);
  expect(rollout.isComplete(worker)).toBe(true);
  vi.advanceTimersByTime(60_000);
  expect(child.sent).toHaveLength(1);
});

test('a worker that refused its configuration is given it again after five seconds', () => {
  const { rollout, child, worker } = oneWorker();
  child.obeys = false;
  rollout.put(configured(2), [listener(2)]);
  child.sent.length = 0;
  expect(rollout.refused(rollout.generation - 1, 'of an older offer')).toBe(false);
  expect(rollout.refused(rollout.generation, 'EACCES')).toBe(true);
  rollout.retryLater(worker);
  vi.advanceTimersByTime(4_999);
  expect(child.sent).toEqual([]);
  child.obeys = true;
  vi.advanceTimersByTime(1);
  expect(child.sent).toMatchObject([
    { type: 'configure', generation: rollout.generation },
    // What came while it built was of services that it did not know yet; before it listens, it does.
    { type: 'states' },
    { type: 'loads' },
    { type: 'listen', key: ':2' },
  ]);
});

test('an order that an operator gave while a worker built its configuration holds there too', () => {
  const { rollout, child, worker, orders } = oneWorker();
  child.obeys = false;
  rollout.put(configured(2), [listener(2)]);
  const order = {
    service: 'shop',
    breaker: 'open',
    breakerLeftMs: null,
    by: 'me',
    shedding: 'auto',
  } as const;
  orders.push(order);
  child.sent.length = 0;
  rollout.taken(worker, rollout.generation);
  expect(child.sent).toContainEqual({ type: 'override', override: order });
});

test('a worker that has gone meanwhile is told nothing', () => {
  const { rollout, child, worker, pool } = oneWorker();
  pool.stopRestarting();
  rollout.retryLater(worker);
  child.connected = false;
  child.emit('exit', 1, null);
  child.connected = true;
  child.sent.length = 0;
  vi.advanceTimersByTime(10_000);
  expect(pool.current()).toEqual([]);
  expect(child.sent).toEqual([]);
});

test('a listener with TLS is told with its certificates, and told again when they are renewed', () => {
  const bench = controlBench(fork, 1);
  const [child] = bench.children;
  const [worker] = bench.pool.current();
  if (child === undefined || worker === undefined) throw new Error('no worker');
  const shown = { certificates: [], clientCa: '', ticketKeys: 'first', fault: '' };
  bench.tls.material = shown;
  bench.rollout.put(configured(2), [listener(2)]);
  expect(child.sent.at(-1)).toMatchObject({ type: 'listen', key: ':2', tls: shown });
  const renewed = { ...shown, ticketKeys: 'second' };
  bench.tls.material = renewed;
  bench.rollout.renewCertificates();
  expect(child.sent.at(-1)).toEqual({ type: 'certificates', key: ':2', tls: renewed });
  // Nothing good to show, or no TLS at all: nothing is said.
  const before = child.sent.length;
  bench.tls.material = { ...shown, fault: 'gone' };
  bench.rollout.renewCertificates();
  bench.tls.material = undefined;
  bench.rollout.renewCertificates();
  expect(child.sent).toHaveLength(before);
});
