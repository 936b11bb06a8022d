import type { Configuration } from '../../config/schema.ts';
import type { Limiter } from '../limits/limiter.ts';
import type { ToSupervisor, ToWorker } from './ipc.ts';
import type { Meter } from './meter.ts';
import type { Snapshot } from './snapshot.ts';
import { Tokens } from './tokens.ts';

/**
 * What a worker knows of its callers beside the configuration: verified tokens, the keys to verify them, and who is over
 * the limit. It outlives the snapshots, which ask it; the supervisor's news of keys come in here.
 */

export interface CallerKnowledgeParts {
  readonly meter: Meter;
  readonly limiter: Limiter;
  readonly now: () => number;
  readonly wallMs: () => number;
  readonly send: (message: ToSupervisor) => boolean;
}

export class CallerKnowledge {
  readonly #limiter: Limiter;
  readonly #now: () => number;
  readonly tokens: Tokens;
  #secret = '';
  #secretBefore = '';

  constructor({ meter, limiter, now, wallMs, send }: CallerKnowledgeParts) {
    this.#limiter = limiter;
    this.#now = now;
    this.tokens = new Tokens({
      now,
      wallMs,
      ask: (url) => {
        send({ type: 'jwks-wanted', url });
      },
      onVerdict: (verdict) => {
        meter.add('tokens_verified_total', [verdict]);
      },
    });
  }

  /** Names are hashed under this secret from now on. @returns the one before; empty when there was none */
  hashUnder(secret: string): string {
    if (secret !== this.#secret) {
      this.#secretBefore = this.#secret;
      this.#secret = secret;
    }
    return this.#secretBefore;
  }

  /** Whether one unit of this bucket would be refused now; asks nobody. */
  isHeld(key: string): boolean {
    return this.#limiter.isOnHold(key, 1, this.#now());
  }

  /** Clients' keys were renewed; of another configuration they are no news. */
  takeKeys({ generation, keys }: Extract<ToWorker, { type: 'keys' }>, snapshot: Snapshot | undefined): void {
    if (snapshot?.generation === generation) snapshot.identity.replaceKeys(keys);
  }

  takeJwks({ news }: Extract<ToWorker, { type: 'jwks' }>): void {
    this.tokens.take(news.url, news.keys, news.retryMs);
  }

  /** A configuration is in force. */
  configured(configuration: Configuration): void {
    this.tokens.keepOnly(configuration);
  }
}
