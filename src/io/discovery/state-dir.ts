import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { instanceOrigin, MOST_INSTANCES, type Found } from '../../discovery/source.ts';

/**
 * The last good set of a service on disk (`discovery.stateDir`), for a gateway that starts while its source is dark.
 *
 * One file a service, replaced as a whole, so that a crash leaves the old one or the new one. It names the source that the set
 * came from: after another name or service is configured, the old set is nobody's. What is read is checked like any
 * answer from outside. What was about to leave is not kept.
 */

const FORMAT = 1;

export class StateDir {
  readonly #file: string;
  readonly #source: string;
  #writing = false;
  #next: string | undefined = undefined;
  readonly #onError: (error: unknown) => void;

  /**
   * @param service a name of the configuration, which cannot be a path
   * @param source what the set comes from, in words; never a secret
   */
  constructor(folder: string, service: string, source: string, onError: (error: unknown) => void) {
    this.#file = path.join(folder, `${service}.json`);
    this.#source = createHash('sha256').update(source).digest('hex').slice(0, 16);
    this.#onError = onError;
  }

  /** The set that was kept, empty when there is none for this source. */
  restore(): readonly Found[] {
    try {
      mkdirSync(path.dirname(this.#file), { recursive: true });
      return entriesOf(JSON.parse(readFileSync(this.#file, 'utf8')) as unknown, this.#source);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') this.#onError(error);
      return [];
    }
  }

  /** Writes in the background, one at a time; of several sets the last counts. */
  keep(set: readonly Found[]): void {
    const instances = set.filter(({ leaving }) => !leaving);
    this.#next = `${JSON.stringify({ format: FORMAT, source: this.#source, instances }, null, 1)}\n`;
    if (!this.#writing) void this.#write();
  }

  async #write(): Promise<void> {
    this.#writing = true;
    try {
      await mkdir(path.dirname(this.#file), { recursive: true });
      while (this.#next !== undefined) {
        const text = this.#next;
        this.#next = undefined;
        await writeFile(`${this.#file}.new`, text, { flush: true });
        await rename(`${this.#file}.new`, this.#file);
      }
    } catch (error) {
      this.#onError(error);
    } finally {
      this.#writing = false;
    }
  }
}

function entriesOf(value: unknown, source: string): readonly Found[] {
  if (!isObject(value) || value['format'] !== FORMAT || value['source'] !== source) return [];
  const { instances } = value;
  if (!Array.isArray(instances)) return [];
  return instances.slice(0, MOST_INSTANCES).flatMap((entry: unknown) => {
    if (!isObject(entry)) return [];
    const { uid, url, version, weight } = entry;
    if (typeof uid !== 'string' || typeof url !== 'string' || typeof version !== 'string') return [];
    if (typeof weight !== 'number' || !(weight > 0 && weight < Infinity)) return [];
    const { protocol, hostname, port } = URL.parse(url) ?? {};
    const scheme = protocol === 'https:' ? 'https' : 'http';
    const host = hostname?.replace(/^\[|\]$/g, '') ?? '';
    const origin = instanceOrigin(scheme, host, Number(port === '' ? (scheme === 'https' ? 443 : 80) : port));
    if (origin !== url) return [];
    return [{ uid, url, version, weight, leaving: false, readyHint: 'unknown' as const }];
  });
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}
