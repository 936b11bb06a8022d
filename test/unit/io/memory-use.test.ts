/** The tighter of heap and container; of a container what the kernel would not give up by itself. */
import { describe, expect, test } from 'vitest';

import {
  inactiveFileBytes,
  memoryStatFiles,
  MemoryUse,
  type MemorySources,
} from '../../../src/io/memory-use.ts';

function use(more: Partial<Record<keyof MemorySources, unknown>>): number {
  const sources = {
    heap: () => ({ used: 10, limit: 100 }),
    containerLimit: () => 1000,
    containerLeft: () => 900,
    resident: () => 50,
    cachedFiles: () => 0,
    ...more,
  } as MemorySources;
  return new MemoryUse(sources).ratio();
}

describe('the use of memory', () => {
  test('is the larger share', () => {
    expect(use({})).toBe(0.1);
    expect(use({ heap: () => ({ used: 90, limit: 100 }) })).toBe(0.9);
    expect(use({ containerLeft: () => 300 })).toBe(0.7);
  });

  test('of a container full of cached files is small, and the files are not counted while nothing is tight', () => {
    expect(use({ containerLeft: () => 20, cachedFiles: () => 800 })).toBeCloseTo(0.18);
    expect(use({ containerLeft: () => 20, cachedFiles: () => 0 })).toBeCloseTo(0.98);
    const never = (): number => {
      throw new Error('asked for nothing');
    };
    expect(use({ containerLeft: () => 200, cachedFiles: never })).toBe(0.8);
  });

  test('of a container that does not tell its files is our own', () => {
    expect(use({ containerLeft: () => 0, cachedFiles: () => undefined, resident: () => 870 })).toBe(0.87);
  });

  test.each([0, 2 ** 63, 2 ** 64, Number.POSITIVE_INFINITY])(
    'with a container limit of %d is the heap’s',
    (limit) => {
      expect(use({ containerLimit: () => limit, containerLeft: () => 0 })).toBe(0.1);
    },
  );

  test('of this very process is a share', () => {
    const ratio = new MemoryUse().ratio();
    expect(ratio).toBeGreaterThan(0);
    expect(ratio).toBeLessThan(1);
  });
});

describe('the kernel’s own account', () => {
  test.each([
    ['0::/\n', ['/sys/fs/cgroup/memory.stat']],
    [
      '0::/system.slice/spillway.service\n',
      ['/sys/fs/cgroup/system.slice/spillway.service/memory.stat', '/sys/fs/cgroup/memory.stat'],
    ],
    [
      '5:cpu,cpuacct:/\n4:memory:/docker/abc\n0::/\n',
      [
        '/sys/fs/cgroup/memory/docker/abc/memory.stat',
        '/sys/fs/cgroup/memory/memory.stat',
        '/sys/fs/cgroup/memory.stat',
      ],
    ],
    ['', []],
    ['nonsense', []],
  ])('of %j is looked for in %j', (cgroups, files) => {
    expect(memoryStatFiles(cgroups)).toEqual(files);
  });

  test('is read in both versions', () => {
    expect(inactiveFileBytes('anon 7\ninactive_file 42\nactive_file 9\n')).toBe(42);
    expect(inactiveFileBytes('cache 1\ninactive_file 5\ntotal_inactive_file 77\n')).toBe(77);
    expect(inactiveFileBytes('inactive_file 0\n')).toBe(0);
    expect(inactiveFileBytes('')).toBeUndefined();
    expect(inactiveFileBytes('x_inactive_file 3\n')).toBeUndefined();
  });
});
