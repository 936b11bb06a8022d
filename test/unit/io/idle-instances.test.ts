/** An instance that leaves is gone when every worker says, and has just said, that nothing is left there. */
import { expect, test } from 'vitest';

import { SessionCount } from '../../../src/affinity/session-count.ts';
import type { FleetControl } from '../../../src/io/fleet-control.ts';
import { IdleInstances } from '../../../src/io/idle-instances.ts';
import type { ServiceStates, WorkerViews } from '../../../src/io/ipc.ts';
import type { WorkerPool } from '../../../src/io/worker-pool.ts';
import { view } from '../../harness/instance-view.ts';
import { figures, worker } from './views.ts';

const DRAIN = { sessionTimeout: 10_000, streamTimeout: 5000 };

interface Scene {
  readonly idle: IdleInstances;
  readonly told: string[];
  at: (ms: number) => void;
}

/** Two workers and a service whose first instance leaves. */
function scene(drainForMs: number, keepsPinned = true): Scene {
  let nowMs = 1000;
  const told: string[] = [];
  const states: ServiceStates = {
    service: 'shop',
    sequence: 1,
    readiness: { state: 'up', because: [], lacks: [] },
    instances: [
      view(0, { id: 'a:1', state: 'draining', drainForMs, keepsPinned, opensNew: false }),
      view(1, { id: 'b:1', state: 'ready' }),
    ],
  };
  const idle = new IdleInstances({
    pool: { all: () => [{ key: 'one' }, { key: 'two' }] } as unknown as WorkerPool,
    fleets: {
      states: () => [states],
      idle: (service: string, id: string) => told.push(`${service}/${id}`),
    } as unknown as FleetControl,
    now: () => nowMs,
    drainOf: () => DRAIN,
  });
  return {
    idle,
    told,
    at: (ms) => {
      nowMs = ms;
    },
  };
}

function reportOf(inFlight: number, sids: readonly string[] = []): WorkerViews {
  const count = new SessionCount(1000);
  for (const sid of sids) count.add(sid, 0);
  return worker(
    figures({ instances: [{ id: 'a:1', inFlight, streams: 0, sessionBits: count.snapshot(0) }] }),
  );
}

test('one worker that has a request there, or has not spoken yet, holds it', () => {
  const { idle, told, at } = scene(4000);
  idle.reported('one', reportOf(0));
  at(2000);
  idle.reported('two', reportOf(1));
  at(3000);
  idle.reported('one', reportOf(0));
  expect(told).toEqual([]);
  at(4000);
  idle.reported('two', reportOf(0));
  expect(told).toEqual(['shop/a:1']);
});

test('a worker that was silent for longer than its beat may have sent a request there meanwhile', () => {
  const { idle, told, at } = scene(4000);
  idle.reported('one', reportOf(0));
  at(1900);
  idle.reported('two', reportOf(0));
  expect(told).toEqual(['shop/a:1']);
  at(3600);
  idle.reported('two', reportOf(0));
  expect(told).toHaveLength(1);
});

test.each([
  [7000, '00000000ffffffff', 0],
  [9000, '00000000ffffffff', 0],
  [9000, '0000000000000000', 1],
])('after %i ms of ten seconds the session %s holds it, or does not (%i)', (drainForMs, sid, gone) => {
  const { idle, told, at } = scene(drainForMs);
  idle.reported('one', reportOf(0, [sid]));
  at(2000);
  idle.reported('two', reportOf(0));
  expect(told).toHaveLength(gone);
});
