import type { createLocalJWKSet, JSONWebKeySet } from 'jose';

/**
 * The public keys that tokens are verified with, in a worker: those of the configuration, or those that the supervisor
 * fetches from a `jwksUrl` (`jwks.ts`).
 *
 * A token that names a key that is not there is worth one question whether the set has changed meanwhile. The supervisor
 * answers each, and says for how long it will not fetch again; until then the answer here is no, without a question. So
 * made-up key ids cost neither the issuer nor the channel anything. An answer that does not come counts as a fetch that
 * failed: the last set stays.
 */

/** More than the five seconds of a fetch. Half: slow issuers are not heard; double: tokens wait 12 s for a supervisor that is stuck. */
const LONGEST_WAIT_MS = 6000;
/** Then it is left alone. Half: one that is late is asked twice as often; double: tokens of new keys are refused for longer. */
const UNHEARD_PAUSE_MS = 1000;

/** Finds the key of a token's header. */
export type KeyFinder = ReturnType<typeof createLocalJWKSet>;

export interface TokenKeys {
  /** Undefined while there is none. */
  readonly set: JSONWebKeySet | undefined;
  /** Asks for a newer set; resolves when there is none, or when `set` is it, in 6 s at most. */
  renewed(): Promise<void>;
}

export class ConfiguredKeys implements TokenKeys {
  readonly set: JSONWebKeySet;

  constructor(keys: JSONWebKeySet['keys']) {
    this.set = { keys };
  }

  async renewed(): Promise<void> {
    // They change with the configuration only.
  }
}

export class FetchedKeys implements TokenKeys {
  readonly #now: () => number;
  readonly #ask: () => void;
  #set: JSONWebKeySet | undefined = undefined;
  #text = '';
  #quietUntilMs = -Infinity;
  #answer: PromiseWithResolvers<void> | undefined = undefined;
  #unheard: NodeJS.Timeout | undefined = undefined;

  /** @param ask sends a question to which `take` is the answer */
  constructor(now: () => number, ask: () => void) {
    this.#now = now;
    this.#ask = ask;
  }

  get set(): JSONWebKeySet | undefined {
    return this.#set;
  }

  /** The supervisor's word: the set as it is now, null before the first; it fetches none sooner than after `retryMs`. */
  take(keys: JSONWebKeySet['keys'] | null, retryMs: number): void {
    const text = JSON.stringify(keys);
    if (keys !== null && text !== this.#text) {
      this.#text = text;
      this.#set = { keys };
    }
    this.#settle(retryMs);
  }

  async renewed(): Promise<void> {
    if (this.#answer === undefined) {
      if (this.#now() < this.#quietUntilMs) return;
      this.#answer = Promise.withResolvers<void>();
      this.#unheard = setTimeout(() => {
        this.#settle(UNHEARD_PAUSE_MS);
      }, LONGEST_WAIT_MS).unref();
      this.#ask();
    }
    await this.#answer.promise;
  }

  #settle(quietMs: number): void {
    clearTimeout(this.#unheard);
    this.#quietUntilMs = this.#now() + quietMs;
    this.#answer?.resolve();
    this.#answer = undefined;
  }
}

/** Whether every key of `before` is in `after` too: then what was signed with them is still good. */
export function keepsAll(before: JSONWebKeySet, after: JSONWebKeySet): boolean {
  const kept = new Set(after.keys.map((key) => JSON.stringify(key)));
  return before.keys.every((key) => kept.has(JSON.stringify(key)));
}
