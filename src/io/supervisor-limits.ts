import { randomBytes } from 'node:crypto';
import os from 'node:os';
import type { Logger } from 'pino';
import type { Configuration } from '../../config/schema.ts';
import { EmbeddedStore, SUPERVISOR_BUCKETS } from '../limits/embedded-store.ts';
import { clientHashSecret } from './client-hash-secret.ts';
import type { ToWorker } from './ipc.ts';
import { LimitOverrides } from './limit-overrides.ts';
import { serveLimitBatch, type LimitBatchMessage, type LimitBatchReply } from './limit-store/ipc.ts';
import { RedisMembership } from './redis-membership.ts';
import { systemNow, systemWallMs } from './system-clock.ts';

/**
 * What the supervisor keeps for limits: the embedded store, the overrides of operators, and its part in a Redis that several
 * gateways share. The workers decide; with Redis they ask it themselves.
 */

export interface SupervisorLimitsParts {
  readonly log: Logger;
  readonly broadcast: (message: ToWorker) => void;
  /** The secret behind the names of clients is another from now on. */
  readonly onSecret: () => void;
  /** Redis has told the secret, or will not soon. */
  readonly onSettled: () => void;
}

export class SupervisorLimits {
  /** This gateway's name among those that share a store: random, so that no two are one. */
  readonly gateway = randomBytes(12).toString('base64url');
  readonly overrides: LimitOverrides;
  readonly #store = new EmbeddedStore(SUPERVISOR_BUCKETS, Math.random);
  readonly #ownSecret = randomBytes(32).toString('base64url');
  readonly #membership: RedisMembership;

  constructor({ log, broadcast, onSecret, onSettled }: SupervisorLimitsParts) {
    this.overrides = new LimitOverrides({
      now: systemNow,
      wallMs: systemWallMs,
      random: Math.random,
      log,
      host: os.hostname(),
      broadcast,
    });
    this.#membership = new RedisMembership({
      log,
      random: Math.random,
      gateway: this.gateway,
      ownSecret: this.#ownSecret,
      onSecret,
      onSettled,
    });
  }

  get settled(): boolean {
    return this.#membership.settled;
  }

  configure({ redis }: Configuration): void {
    this.overrides.configure(redis);
    void this.#membership.configure(redis);
  }

  clientHashSecret(configuration: Configuration): string {
    return clientHashSecret(configuration, this.#ownSecret, this.#membership.secret);
  }

  /** A worker's decisions in the embedded store. */
  serve(batch: LimitBatchMessage): LimitBatchReply {
    return serveLimitBatch(this.#store, batch, systemNow());
  }

  /** The workers have gone: so has this gateway, for the others. */
  async leave(): Promise<void> {
    await this.#membership.leave();
    this.#membership.close();
    this.overrides.close();
  }
}
