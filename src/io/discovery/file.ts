import { watch, type FSWatcher } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import type { DiscoveryFault, DiscoveryListener, DiscoverySource, Found } from '../../discovery/source.ts';
import { errorMessage } from '../error-message.ts';

/**
 * Instances that are listed in a file, which somebody else writes.
 *
 * Signal: what the file is (device, inode, size, times); links are followed, so a directory that is swapped as a whole, as
 * Kubernetes does with `..data`, counts like a file that was replaced. The directory is watched, since a replaced file is
 * another one; and looked at each five seconds, since the events of file systems miss links, network mounts and what is
 * mounted over. Decision: a file that changed and then stood still for one look is read and judged whole; a list that is
 * broken, half written or gone is a fault and changes nothing. Cold start: read at once. Limit: a file that is written in
 * place, with a pause of more than 50 ms in the middle of two valid lists, is taken twice.
 */

/** Half: twice the calls for nothing; double: what no event tells of is noticed after ten seconds. */
const LOOK_MS = 5000;
/** Half: a slow writer is read in the middle; double: a change counts a tenth of a second later. */
const STILL_MS = 50;
/** A line has some 60 bytes. Double is memory for mischief. */
const MOST_BYTES = 8 * 1024 * 1024;

/** The list of a text, or why there is none. It knows YAML, so it comes from outside of this room. */
export type ReadInstances = (
  text: string,
  file: string,
) =>
  | { readonly ok: true; readonly instances: readonly Pick<Found, 'url' | 'version' | 'weight'>[] }
  | { readonly ok: false; readonly reason: string };

export class FileSource implements DiscoverySource {
  readonly #file: string;
  readonly #read: ReadInstances;
  readonly #listener: DiscoveryListener;
  readonly #interval: NodeJS.Timeout;
  #soon: NodeJS.Timeout | undefined = undefined;
  #watcher: FSWatcher | undefined = undefined;
  #folder = '';
  #seen: string | undefined = undefined;
  #judged = '';
  #looking = false;
  #stopped = false;

  /** @param file absolute */
  constructor(file: string, read: ReadInstances, listener: DiscoveryListener) {
    this.#file = file;
    this.#read = read;
    this.#listener = listener;
    this.#interval = setInterval(() => {
      void this.#look();
    }, LOOK_MS).unref();
    void this.#look();
  }

  stop(): void {
    this.#stopped = true;
    clearInterval(this.#interval);
    clearTimeout(this.#soon);
    this.#watcher?.close();
  }

  /** One look at a time; never rejects. */
  async #look(): Promise<void> {
    if (this.#looking || this.#stopped) return;
    this.#looking = true;
    let stands = true;
    try {
      await this.#watch();
      stands = await this.#judge();
    } catch (error) {
      this.#fault('unreachable', `the file cannot be read: ${errorMessage(error)}`);
    } finally {
      this.#looking = false;
    }
    if (!stands) this.#lookSoon();
  }

  #lookSoon(): void {
    if (this.#stopped) return;
    clearTimeout(this.#soon);
    this.#soon = setTimeout(() => {
      // An event in the middle of a look must not be lost with it.
      if (this.#looking) this.#lookSoon();
      else void this.#look();
    }, STILL_MS).unref();
  }

  /** Opens the watch of the directory, anew when it is another one now. Without one the looks remain. */
  async #watch(): Promise<void> {
    const folder = path.dirname(this.#file);
    const found = await fingerprintOf(folder, true);
    if (this.#stopped || (this.#watcher !== undefined && found === this.#folder)) return;
    this.#folder = found;
    this.#watcher?.close();
    this.#watcher = undefined;
    try {
      const watcher = watch(folder, { persistent: false }, () => {
        this.#lookSoon();
      });
      watcher.on('error', () => {
        watcher.close();
        if (this.#watcher === watcher) this.#watcher = undefined;
      });
      this.#watcher = watcher;
    } catch {
      // No such directory, or no watches left: it is looked at all the same.
    }
  }

  /** @returns false when the file does not stand still */
  async #judge(): Promise<boolean> {
    const found = await fingerprintOf(this.#file, false);
    const stands = this.#seen === undefined || this.#seen === found;
    this.#seen = found;
    if (found === this.#judged) return true;
    if (!stands) return false;
    if (!found.includes(':')) {
      this.#fault('unreachable', `the file cannot be read: ${found}`);
      return true;
    }
    const text = await textOf(this.#file);
    if ((await fingerprintOf(this.#file, false)) !== found) return false;
    this.#judged = found;
    if (text === undefined) this.#fault('malformed', `the file is larger than ${MOST_BYTES} bytes`);
    else this.#take(this.#read(text, this.#file));
    return true;
  }

  #take(result: ReturnType<ReadInstances>): void {
    if (this.#stopped) return;
    if (!result.ok) {
      this.#fault('malformed', result.reason);
      return;
    }
    const set = result.instances.map(({ url, version, weight }): Found => ({
      uid: '',
      url,
      version,
      weight,
      leaving: false,
      readyHint: 'unknown',
    }));
    this.#listener.onSet(set);
  }

  #fault(kind: DiscoveryFault['kind'], reason: string): void {
    if (kind === 'unreachable') this.#judged = '';
    if (!this.#stopped) this.#listener.onFault({ kind, reason });
  }
}

/** What is there now; what keeps it from being read is a state like any other, and holds no colon. */
async function fingerprintOf(file: string, isFolder: boolean): Promise<string> {
  try {
    const found = await stat(file, { bigint: true });
    const { dev, ino, size, mtimeNs, ctimeNs } = found;
    if (isFolder) return `${dev}:${ino}`;
    // To open a pipe waits for its writer, and that may be for ever.
    return found.isFile() ? `${dev}:${ino}:${size}:${mtimeNs}:${ctimeNs}` : 'it is no regular file';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'unknown';
  }
}

/** @returns undefined when it is too large */
async function textOf(file: string): Promise<string | undefined> {
  const { size } = await stat(file);
  return size > MOST_BYTES ? undefined : await readFile(file, 'utf8');
}
