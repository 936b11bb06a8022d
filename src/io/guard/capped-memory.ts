import { RateLimiterMemory, RateLimiterRes, type IRateLimiterOptions } from 'rate-limiter-flexible';

/**
 * `RateLimiterMemory` with an end: what counts strikes where there is no Redis, and stands in for one that is lost.
 *
 * The library's memory has no cap and makes a timer for each key, so a spray of addresses would grow it for as long as a
 * window lasts. Here a ring of names bounds all guards of a process together: a new key takes the place of the oldest. A spray
 * so evicts itself; what it costs is the count of whoever struck last before 20,000 others did.
 */

/** Some 700 B each, 14 MB in all, of which a worker sees something only while Redis is lost. Half: a spray forgets the honest sooner; double: memory and timers for strangers. */
export const MOST_KEYS = 20_000;

interface Seat {
  readonly limiter: CappedMemory;
  readonly key: string;
}

/** The names that all memories of a process hold, in the order in which they came. */
export class KeyRing {
  readonly #most: number;
  readonly #seats: Seat[] = [];
  readonly #seated = new Set<string>();
  #next = 0;

  constructor(most = MOST_KEYS) {
    this.#most = most;
  }

  seat(limiter: CappedMemory, key: string): void {
    if (this.#seated.has(key)) return;
    const gone = this.#seats[this.#next];
    if (gone !== undefined) {
      this.#seated.delete(gone.key);
      void gone.limiter.delete(gone.key);
    }
    this.#seats[this.#next] = { limiter, key };
    this.#seated.add(key);
    this.#next = (this.#next + 1) % this.#most;
  }
}

export class CappedMemory extends RateLimiterMemory {
  readonly #ring: KeyRing;
  readonly #given = new WeakSet<RateLimiterRes>();

  constructor(options: IRateLimiterOptions, ring: KeyRing) {
    super(options);
    this.#ring = ring;
  }

  /** Whether an answer is this memory's own, where another limiter may have asked it. */
  gave(answer: RateLimiterRes): boolean {
    return this.#given.has(answer);
  }

  override async consume(
    key: string | number,
    points?: number,
    options?: Record<string, unknown>,
  ): Promise<RateLimiterRes> {
    this.#ring.seat(this, String(key));
    try {
      const answer = await super.consume(key, points, options);
      this.#given.add(answer);
      return answer;
    } catch (refused) {
      if (refused instanceof RateLimiterRes) this.#given.add(refused);
      throw refused;
    }
  }

  override async block(key: string | number, seconds: number): Promise<RateLimiterRes> {
    this.#ring.seat(this, String(key));
    return await super.block(key, seconds);
  }
}
