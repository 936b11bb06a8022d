import { addressBucket } from '../clients/address.ts';

/**
 * How many connections one address may have at a listener of this worker (`limits.connectionsPerAddress`).
 *
 * Off by default: behind one address there may be a whole company or a balancer. IPv6 is counted by /64, the least that
 * one customer is given: who has one of those has 2⁶⁴ addresses, and a count of each would bound nobody. There are never
 * more entries than open connections.
 */

const IPV6_PREFIX = 64;

export class AddressCap {
  readonly #most: number;
  readonly #counts = new Map<string, number>();

  constructor(most: number) {
    this.#most = most;
  }

  /** @returns the place taken, to be given back; undefined when the address has as many as it may */
  take(address: string): string | undefined {
    const bucket = addressBucket(address, IPV6_PREFIX);
    const count = this.#counts.get(bucket) ?? 0;
    if (count >= this.#most) return undefined;
    this.#counts.set(bucket, count + 1);
    return bucket;
  }

  release(bucket: string): void {
    const count = this.#counts.get(bucket) ?? 0;
    if (count > 1) this.#counts.set(bucket, count - 1);
    else this.#counts.delete(bucket);
  }

  /** Addresses with connections. */
  get size(): number {
    return this.#counts.size;
  }
}
