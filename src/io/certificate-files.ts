import { createHash, hkdfSync, randomBytes, X509Certificate } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import type { ListenerConfiguration } from '../../config/schema.ts';
import { errorMessage } from './error-message.ts';
import { readPem } from './pem.ts';
import type { TlsMaterial } from './tls-contexts.ts';

/**
 * The certificates of the listeners as they lie on disk, kept by the supervisor for all workers.
 *
 * Signal: what each file is (device, inode, size, times), looked at each second; a link is followed, so a directory that is
 * swapped as a whole, as Kubernetes does, counts like a file that was replaced. Decision: files that changed and then
 * stood still for one look are read and judged as a pair; only what parses and belongs together takes the place of what is
 * in use, everything else is told once and counted. Why here and not in the workers: one judgement, one line in the
 * log, and a worker that starts while a pair is broken is given the last good one. Polling, since the events of file
 * systems miss links, network mounts and what is mounted over.
 *
 * Keys for session tickets come from here too: one secret for all workers, made new every twelve hours, and of it one key
 * for each listener and authority, or a session begun without a certificate would be resumed where one is asked for.
 */

/** Half: twice the calls for nothing; double: a certificate is renewed by up to four seconds later. */
const LOOK_MS = 1000;
/** Half: callers shake hands anew twice as often; double: a stolen key opens a day of recorded sessions. */
const TICKET_LIFE_MS = 12 * 3_600_000;
const TICKET_KEY_BYTES = 48;

type ListenerTls = NonNullable<ListenerConfiguration['tls']>;

interface FilesLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface CertificateFilesParts {
  readonly log: FilesLog;
  readonly now: () => number;
  readonly onResult: (result: 'ok' | 'refused') => void;
  /** What some listener shows, or its ticket keys, have changed. */
  readonly onChange: () => void;
}

/** Files that are judged together: a certificate with its key, or an authority. */
interface FileSet {
  readonly paths: readonly string[];
  /** What was good last; undefined before that. */
  texts: readonly string[] | undefined;
  seen: string;
  judged: string;
}

export class CertificateFiles {
  readonly #parts: CertificateFilesParts;
  readonly #sets = new Map<string, FileSet>();
  #secret = randomBytes(32);
  #secretMs: number;
  #timer: NodeJS.Timeout | undefined = undefined;
  #looking: Promise<void> = Promise.resolve();

  constructor(parts: CertificateFilesParts) {
    this.#parts = parts;
    this.#secretMs = parts.now();
  }

  /** Looks at the files from now on. */
  start(): void {
    this.#timer ??= setInterval(() => {
      void this.look();
    }, LOOK_MS).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** What the workers are given for a listener; never throws. */
  materialOf({ host, port, tls }: ListenerConfiguration): TlsMaterial | undefined {
    if (tls === null) return undefined;
    try {
      const certificates = tls.certificates.map(({ cert, key }) => {
        const [certText = '', keyText = ''] = this.#textsOf([cert, key]);
        return { cert: certText, key: keyText };
      });
      const [clientCa = ''] = tls.clientCa === null ? [] : this.#textsOf([tls.clientCa]);
      return { certificates, clientCa, ticketKeys: this.#ticketKeys(host, port, clientCa), fault: '' };
    } catch (error) {
      return { certificates: [], clientCa: '', ticketKeys: '', fault: errorMessage(error) };
    }
  }

  /** An operator reloads: files are judged now, and those that nobody names any more are forgotten. */
  async configure(listeners: readonly ListenerConfiguration[]): Promise<void> {
    const wanted = new Set(
      listeners.flatMap(({ tls }) => (tls === null ? [] : setsOf(tls))).map((paths) => keyOf(paths)),
    );
    for (const key of this.#sets.keys()) if (!wanted.has(key)) this.#sets.delete(key);
    await this.look(true);
  }

  /** @param now without waiting for them to stand still */
  async look(now = false): Promise<void> {
    const before = this.#looking;
    const look = async (): Promise<void> => {
      await before;
      try {
        await this.#look(now);
      } catch (error) {
        this.#parts.log.warn({ reason: errorMessage(error) }, 'certificates could not be looked at');
      }
    };
    this.#looking = look();
    await this.#looking;
  }

  async #look(now: boolean): Promise<void> {
    let changed = false;
    for (const set of this.#sets.values()) {
      const found = await fingerprint(set.paths);
      const stands = found === set.seen;
      set.seen = found;
      if (found === set.judged || !(now || stands)) continue;
      set.judged = found;
      changed = this.#judge(set) || changed;
    }
    if (this.#parts.now() - this.#secretMs >= TICKET_LIFE_MS) {
      this.#secretMs = this.#parts.now();
      this.#secret = randomBytes(32);
      changed = this.#sets.size > 0 || changed;
    }
    if (changed) this.#parts.onChange();
  }

  /** @returns true when there is something new to show */
  #judge(set: FileSet): boolean {
    const { log, onResult } = this.#parts;
    const [certificate] = set.paths;
    try {
      const texts = set.paths.map((path) => readPem(path).toString('latin1'));
      if (set.texts !== undefined && texts.every((text, index) => text === set.texts?.[index])) return false;
      const { validTo } = checkTexts(texts);
      set.texts = texts;
      onResult('ok');
      log.info({ certificate, validTo }, 'certificate reloaded');
      return true;
    } catch (error) {
      onResult('refused');
      log.warn(
        { certificate, reason: errorMessage(error) },
        'certificate not reloaded: the one in use stays',
      );
      return false;
    }
  }

  /** @throws Error when there is nothing good to begin with */
  #textsOf(paths: readonly string[]): readonly string[] {
    const key = keyOf(paths);
    const known = this.#sets.get(key);
    if (known?.texts !== undefined) return known.texts;
    const texts = paths.map((path) => readPem(path).toString('latin1'));
    checkTexts(texts);
    // Not judged yet as far as the next looks know: what was read here may have changed since.
    if (paths.some(isFile)) this.#sets.set(key, { paths, texts, seen: '', judged: '' });
    return texts;
  }

  #ticketKeys(host: string, port: number, clientCa: string): string {
    const purpose = createHash('sha256').update(`${host} ${port}\n${clientCa}`).digest();
    return Buffer.from(hkdfSync('sha256', this.#secret, '', purpose, TICKET_KEY_BYTES)).toString('base64');
  }
}

function setsOf({ certificates, clientCa }: ListenerTls): (readonly string[])[] {
  return [...certificates.map(({ cert, key }) => [cert, key]), ...(clientCa === null ? [] : [[clientCa]])];
}

function keyOf(paths: readonly string[]): string {
  return paths.join('\n');
}

/** PEM text in the configuration itself changes with the configuration only. */
function isFile(value: string): boolean {
  return !value.startsWith('-----BEGIN');
}

/** What the files are now; a file that is not there is a state like any other. */
async function fingerprint(paths: readonly string[]): Promise<string> {
  const found = await Promise.all(
    paths.filter(isFile).map(async (path) => {
      try {
        const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
        return `${dev}:${ino}:${size}:${mtimeNs}:${ctimeNs}`;
      } catch (error) {
        return (error as NodeJS.ErrnoException).code ?? 'unknown';
      }
    }),
  );
  return found.join(' ');
}

/** @throws Error when TLS could not use them, or they do not belong together */
function checkTexts([cert = '', key]: readonly string[]): { readonly validTo: string } {
  const { validTo } = new X509Certificate(cert);
  createSecureContext(key === undefined ? { ca: cert } : { cert, key });
  return { validTo };
}
