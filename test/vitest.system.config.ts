import { defineConfig } from 'vitest/config';

/**
 * The project `system`: tests that open sockets, start processes and a real Redis; most of their time is waiting. So they run
 * two files at a time, except those of `ALONE`, which run after the others with the machine to themselves.
 *
 * A file belongs to `ALONE` when a busy neighbour could change its verdict: it sends a load whose figures it judges, is about
 * shedding, or wants something within less than a second; `architecture/groups.test.ts` finds these and asks for the line
 * here. So does a file that asks a limit's store so often and counts so exactly that one missed deadline would show.
 */
export const ALONE: readonly string[] = [
  'test/e2e/kill.test.ts',
  'test/e2e/rolling.test.ts',
  'test/e2e/signals.test.ts',
  'test/faults/limits-concurrency.test.ts',
  'test/faults/limits-cuts.test.ts',
  'test/faults/limits-matrix.test.ts',
  'test/faults/limits-outage.test.ts',
  'test/faults/panic-tries.test.ts',
  'test/faults/shedding-aborts.test.ts',
  'test/faults/shedding-age.test.ts',
  'test/faults/shedding-breaker.test.ts',
  'test/faults/shedding-clocks.test.ts',
  'test/faults/shedding-failures.test.ts',
  'test/faults/shedding-pauses.test.ts',
  'test/faults/shedding-retries.test.ts',
  'test/faults/shedding-silence.test.ts',
  'test/faults/upstream-network.test.ts',
  'test/integration/harness.test.ts',
  'test/integration/http2-streams.test.ts',
  'test/integration/limits-concurrency.test.ts',
  'test/integration/limits-redis-faults.test.ts',
  'test/integration/limits-traps.test.ts',
  'test/integration/load-sender.test.ts',
  'test/integration/prober-schedule.test.ts',
  'test/integration/readiness-times.test.ts',
  'test/integration/shared-caps.test.ts',
  'test/integration/shedding-admin.test.ts',
  'test/integration/shedding-modes.test.ts',
  'test/integration/shedding-permits.test.ts',
  'test/integration/shedding-priorities.test.ts',
  'test/integration/shedding-streams.test.ts',
  'test/integration/shedding-workers.test.ts',
  'test/security/promises.test.ts',
];

/** With one, half the time is lost in waiting; four gateways with their callers on two cores begin to miss what they wait for. */
const FILES_AT_ONCE = 2;

/** Guards against hanging and nothing else, so far above what a slow machine takes. */
const LIMIT_MS = 300_000;

export default defineConfig({
  test: {
    root: new URL('..', import.meta.url).pathname,
    name: 'system',
    testTimeout: LIMIT_MS,
    hookTimeout: LIMIT_MS,
    projects: [
      {
        test: {
          name: 'together',
          include: ['test/{integration,faults,security,e2e}/**/*.test.ts'],
          exclude: [...ALONE],
          maxWorkers: FILES_AT_ONCE,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: { name: 'alone', include: [...ALONE], maxWorkers: 1, sequence: { groupOrder: 2 } },
      },
    ],
  },
});
