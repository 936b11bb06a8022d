import { defineConfig } from 'vitest/config';

/**
 * Two projects: `unit` needs nothing but Node; `system` is in a file of its own, since it consists of two. They run one after
 * the other. Time limits guard against hanging and nothing else, so they are far above what a slow machine takes.
 */
export default defineConfig({
  test: {
    root: new URL('..', import.meta.url).pathname,
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/{unit,property,simulation,architecture}/**/*.test.ts'],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          // All cores, not all but one: on a machine of two that would be one.
          maxWorkers: '100%',
        },
      },
      'test/vitest.system.config.ts',
    ],
  },
});
