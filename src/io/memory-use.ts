import { readFileSync } from 'node:fs';
import process from 'node:process';
import v8 from 'node:v8';

/**
 * How much of the memory that this worker may use is used: of its heap, or of the container it shares with the
 * supervisor and the other workers, whichever is tighter.
 *
 * The kernel counts cached files as the container's use, and gives them up before anything fails: a log written to disk
 * fills any container with them. They are taken off as the kubelet does (*working set*), and only where it matters, since the
 * kernel adds that figure up on each reading. Where it cannot be read, our own resident memory stands for the container's.
 * Without a container there is only the heap. Limits: files that are in use count.
 */

/** Bytes; Infinity or 0 for a limit that is none. */
export interface MemorySources {
  readonly heap: () => { readonly used: number; readonly limit: number };
  readonly containerLimit: () => number;
  /** What is left of the container's limit. */
  readonly containerLeft: () => number;
  readonly resident: () => number;
  /** Cached files that the kernel would give up first; undefined: not told. */
  readonly cachedFiles: () => number | undefined;
}

/** The cached files are asked for past this share of the limit: below it nothing is decided. */
const WORTH_ASKING = 0.8;
/** "No limit" is told as a number near 2^63 or 2^64. */
const NO_LIMIT = 2 ** 52;

export class MemoryUse {
  readonly #sources: MemorySources;

  constructor(sources: MemorySources = systemSources()) {
    this.#sources = sources;
  }

  /** 0..1 and above. */
  ratio(): number {
    const { used, limit } = this.#sources.heap();
    return Math.max(used / limit, this.#container());
  }

  #container(): number {
    const limit = this.#sources.containerLimit();
    if (!(limit > 0 && limit < NO_LIMIT)) return 0;
    const used = limit - this.#sources.containerLeft();
    if (used <= WORTH_ASKING * limit) return used / limit;
    const cached = this.#sources.cachedFiles();
    return (cached === undefined ? this.#sources.resident() : used - cached) / limit;
  }
}

function systemSources(): MemorySources {
  const statFiles = memoryStatFiles(readText('/proc/self/cgroup'));
  return {
    heap: () => {
      const { used_heap_size: used, heap_size_limit: limit } = v8.getHeapStatistics();
      return { used, limit };
    },
    containerLimit: () => process.constrainedMemory(),
    containerLeft: () => process.availableMemory(),
    resident: () => process.memoryUsage.rss(),
    cachedFiles: () => {
      for (const file of statFiles) {
        const bytes = inactiveFileBytes(readText(file));
        if (bytes !== undefined) return bytes;
      }
      return undefined;
    },
  };
}

/** Where the kernel tells it: of our own control group, or of the root that a container sees. */
export function memoryStatFiles(cgroups: string): readonly string[] {
  const files: string[] = [];
  for (const line of cgroups.split('\n')) {
    const [, controllers, path = '/'] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (controllers === undefined) continue;
    const own = path === '/' ? '' : path;
    if (controllers === '') files.push(`/sys/fs/cgroup${own}/memory.stat`, '/sys/fs/cgroup/memory.stat');
    else if (controllers.split(',').includes('memory'))
      files.unshift(`/sys/fs/cgroup/memory${own}/memory.stat`, '/sys/fs/cgroup/memory/memory.stat');
  }
  return [...new Set(files)];
}

/** Bytes; undefined when the text does not tell. Version 1 has the sum over all below under another name. */
export function inactiveFileBytes(stat: string): number | undefined {
  const match = /^total_inactive_file (\d+)$/m.exec(stat) ?? /^inactive_file (\d+)$/m.exec(stat);
  return match === null ? undefined : Number(match[1]);
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return '';
  }
}
