import { randomBytes } from 'node:crypto';
import os from 'node:os';
import type { Logger } from 'pino';
import type { Configuration } from '../../config/schema.ts';
import { EmbeddedStore, SUPERVISOR_BUCKETS } from '../limits/embedded-store.ts';
import { clientKey, digestOfRoute, routeKey } from '../limits/keys.ts';
import { clientHashSecret } from './client-hash-secret.ts';
import { GuardMemory } from './guard/guard-memory.ts';
import type { ToSupervisor } from './ipc.ts';
import { LimitOverrides } from './limit-overrides.ts';
import { serveLimitBatch } from './limit-store/ipc.ts';
import { RedisMembership } from './redis-membership.ts';
import { systemNow, systemWallMs } from './system-clock.ts';
import type { WorkerPool, WorkerProcess } from './worker-pool.ts';

/**
 * What the supervisor keeps for limits: the embedded store and the strikes of guards, the overrides of operators, and its
 * part in a Redis that several gateways share. The workers decide; with Redis they ask it themselves.
 */

type LimitMessage = Extract<ToSupervisor, { type: 'limits' | 'strike' | 'forgive' }>;

export interface SupervisorLimitsParts {
  readonly log: Logger;
  readonly pool: Pick<WorkerPool, 'all' | 'broadcast'>;
  /** The secret behind the names of clients is another from now on. */
  readonly onSecret: () => void;
  /** Redis has told the secret, or will not soon. */
  readonly onSettled: () => void;
}

export class SupervisorLimits {
  /** This gateway's name among those that share a store: random, so that no two are one. */
  readonly gateway = randomBytes(12).toString('base64url');
  readonly overrides: LimitOverrides;
  readonly #guards: GuardMemory<WorkerProcess>;
  /** With Redis the gateway's share of every limit, for as long as Redis is lost. */
  readonly #store = new EmbeddedStore(SUPERVISOR_BUCKETS, Math.random);
  /** Those that limit each client. */
  #routes: readonly string[] = [];
  readonly #ownSecret = randomBytes(32).toString('base64url');
  readonly #membership: RedisMembership;

  constructor({ log, pool, onSecret, onSettled }: SupervisorLimitsParts) {
    this.#guards = new GuardMemory(() => pool.all());
    this.overrides = new LimitOverrides({
      now: systemNow,
      wallMs: systemWallMs,
      random: Math.random,
      log,
      host: os.hostname(),
      broadcast: (message) => {
        pool.broadcast(message);
      },
      onFilled: (bucket) => {
        for (const key of [clientKey(bucket), ...this.#routes.map((digest) => routeKey(bucket, digest))])
          this.#store.forget(key);
      },
    });
    this.#membership = new RedisMembership({
      log,
      random: Math.random,
      now: systemNow,
      gateway: this.gateway,
      ownSecret: this.#ownSecret,
      onSecret,
      onSettled,
    });
  }

  get settled(): boolean {
    return this.#membership.settled;
  }

  /** By a configuration that the workers have been told, and the secret with it. */
  configure(configuration: Configuration): void {
    const { redis, routes } = configuration;
    this.#routes = routes.filter(({ limits }) => limits.perClient !== null).map(digestOfRoute);
    this.overrides.configure(redis, this.clientHashSecret(configuration));
    void this.#membership.configure(redis);
  }

  clientHashSecret(configuration: Configuration): string {
    return clientHashSecret(configuration, this.#ownSecret, this.#membership.secret);
  }

  /** What a worker asks for where there is no Redis, or while it is lost. */
  serve(worker: WorkerProcess, message: LimitMessage): void {
    switch (message.type) {
      case 'limits':
        worker.send({ type: 'limits', reply: serveLimitBatch(this.#store, message.batch, systemNow()) });
        return;
      case 'strike':
        void this.#guards.strike(worker, message);
        return;
      case 'forgive':
        void this.#guards.forgive(message);
        return;
      default:
        message satisfies never;
    }
  }

  /** The workers have gone: so has this gateway, for the others. */
  async leave(): Promise<void> {
    await this.#membership.leave();
    this.#membership.close();
    this.overrides.close();
  }
}
