import { stat } from 'node:fs/promises';
import type { Configuration } from '../../config/schema.ts';
import { errorMessage } from './error-message.ts';

/**
 * The file of clients' keys (`clients.keysFile`), watched by the supervisor: keys are renewed without a restart and without
 * a reload of the configuration.
 *
 * Signal: what the file is (device, inode, size, times), looked at each second; a link is followed, so a directory that is
 * swapped as a whole counts like a file that was replaced. Decision: a file that changed and then stood still for one look
 * is read and judged as at a start, against the tiers and keys of the configuration in force; only a whole list takes the
 * place of the one in use, in one step and in all workers. One that is broken, half written or gone changes nothing and
 * is told once. Nothing else of the configuration is read: what else changed on disk waits for an operator.
 */

/** Half: twice the calls for nothing; double: a key is withdrawn by up to four seconds later. */
const LOOK_MS = 1000;

export type ClientKeys = Configuration['clients']['keys'];

/** What the file says now, together with the keys of the configuration itself. */
export type RenewedKeys =
  | {
      readonly ok: true;
      readonly keys: ClientKeys;
      /** Of the configuration with them. */
      readonly hash: string;
    }
  | { readonly ok: false; readonly faults: readonly string[] };

export interface KeysFileParts {
  readonly log: { info(fields: object, message: string): void; warn(fields: object, message: string): void };
  /** The configuration in force; undefined while another one is on trial, which a renewed list must not meet. */
  readonly current: () => Configuration | undefined;
  readonly read: (current: Configuration) => RenewedKeys;
  readonly onKeys: (keys: ClientKeys, hash: string) => void;
  readonly onResult: (result: 'ok' | 'refused') => void;
}

export class KeysFile {
  readonly #parts: KeysFileParts;
  #path = '';
  #seen = '';
  #judged = '';
  #looking = false;
  #timer: NodeJS.Timeout | undefined = undefined;

  constructor(parts: KeysFileParts) {
    this.#parts = parts;
  }

  /** Looks at the file from now on. */
  start(): void {
    this.#timer ??= setInterval(() => {
      void this.look();
    }, LOOK_MS).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** One look at a time; never rejects. */
  async look(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    try {
      await this.#look();
    } catch (error) {
      this.#parts.log.warn({ reason: errorMessage(error) }, 'the keys file could not be looked at');
    } finally {
      this.#looking = false;
    }
  }

  async #look(): Promise<void> {
    const path = this.#parts.current()?.clients.keysFile ?? '';
    if (path === '') return;
    const found = await fingerprint(path);
    // Another file of that name was read with the configuration: it is judged once, and mostly says nothing new.
    if (path !== this.#path) [this.#path, this.#judged] = [path, ''];
    const stands = found === this.#seen;
    this.#seen = found;
    if (found === this.#judged || !stands) return;
    const configuration = this.#parts.current();
    if (configuration?.clients.keysFile !== path) return;
    this.#judged = found;
    this.#judge(configuration, path);
  }

  #judge(configuration: Configuration, file: string): void {
    const { log, read, onKeys, onResult } = this.#parts;
    const renewed = read(configuration);
    if (!renewed.ok) {
      onResult('refused');
      log.warn({ file, faults: renewed.faults }, 'keys not reloaded: those in use stay');
      return;
    }
    const before = configuration.clients.keys;
    const { keys } = renewed;
    if (JSON.stringify(keys) === JSON.stringify(before)) return;
    onKeys(keys, renewed.hash);
    onResult('ok');
    log.info({ file, keys: keys.length, before: before.length }, 'keys reloaded');
  }
}

/** What the file is now; one that is not there is a state like any other. */
async function fingerprint(path: string): Promise<string> {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
    return `${dev}:${ino}:${size}:${mtimeNs}:${ctimeNs}`;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'unknown';
  }
}
