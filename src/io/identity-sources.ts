import type { Logger } from 'pino';
import type { Configuration } from '../../config/schema.ts';
import { Jwks } from './jwks.ts';
import { KeysFile, type RenewedKeys } from './keys-file.ts';
import type { Meter } from './meter.ts';
import type { Rollout } from './rollout.ts';
import { systemNow } from './system-clock.ts';
import type { WorkerPool, WorkerProcess } from './worker-pool.ts';

/**
 * Where clients are known from and what may change while the configuration stays: the keys file and issuers' key sets.
 * The supervisor watches both and tells its workers; one that starts is told what the others know.
 */

export interface IdentityOptions {
  readonly log: Logger;
  /** The keys of a configuration in force, with those of its keys file as it is now. */
  readonly renewKeys: (current: Configuration, ownKeys: number) => RenewedKeys;
}

export interface IdentitySourcesParts {
  readonly meter: Meter;
  readonly pool: WorkerPool;
  readonly rollout: Rollout;
  /** Another configuration is on trial. */
  readonly isOnTrial: () => boolean;
}

export class IdentitySources {
  readonly #parts: IdentitySourcesParts;
  readonly #jwks: Jwks;
  readonly #keysFile: KeysFile;

  constructor({ log, renewKeys }: IdentityOptions, parts: IdentitySourcesParts) {
    const { meter, pool, rollout, isOnTrial } = parts;
    this.#parts = parts;
    this.#jwks = new Jwks({
      log,
      now: systemNow,
      tell: (news) => {
        pool.broadcast({ type: 'jwks', news });
      },
      onResult: (result) => {
        meter.add('jwks_fetches_total', [result]);
      },
    });
    this.#keysFile = new KeysFile({
      log,
      current: () => (isOnTrial() ? undefined : rollout.loaded.configuration),
      read: (current) => renewKeys(current, rollout.loaded.ownKeys),
      onKeys: (keys, hash) => {
        rollout.renewKeys(keys, hash);
      },
      onResult: (result) => {
        meter.add('keys_reloads_total', [result]);
      },
    });
    // There from the start, or the first refusal would be no increase.
    for (const result of ['ok', 'refused']) meter.add('keys_reloads_total', [result], 0);
  }

  start(): void {
    this.#keysFile.start();
  }

  stop(): void {
    this.#keysFile.stop();
    this.#jwks.stop();
  }

  configure(configuration: Configuration): void {
    this.#jwks.configure(configuration);
  }

  /** A worker that starts, or one that met a token of an unknown key at `url`. */
  tell(worker: WorkerProcess, url?: string): void {
    // Also of a configuration on trial, whose workers may have callers already.
    this.#jwks.configure(this.#parts.rollout.loaded.configuration);
    const answer = url === undefined ? this.#jwks.news() : [this.#jwks.wanted(url)];
    for (const news of answer) if (news !== undefined) worker.send({ type: 'jwks', news });
  }
}
