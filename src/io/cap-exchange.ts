import { CapParts } from '../upstreams/cap-parts.ts';
import { LEASE_MS, type CapGrant } from '../upstreams/instance-cap.ts';
import type { NamedClaims, NamedGrants } from './ipc.ts';

/**
 * The supervisor's part in sharing the instances' limits out: a book for each service (cap-parts.ts), and one message of grants
 * to each worker that is to hear some. Nothing is sent that no claim asked for.
 *
 * Parts are fractions, so they outlive a reload, and claims of a worker that has not taken it count; another number of workers
 * begins all books anew, and what is claimed of the old ones is not heard. The first message under a new configuration names
 * all its services: the books of others end. `W` stands for a worker.
 */
export class CapExchange<W> {
  readonly #deliver: (to: W, workers: number, grants: NamedGrants) => void;
  readonly #leaves: (worker: W) => boolean;
  readonly #services = new Map<string, CapParts<W>>();
  #generation = -1;
  #workers = 0;
  #takenAtMs = Infinity;

  /** @param leaves whether the worker is being replaced */
  constructor(
    deliver: (to: W, workers: number, grants: NamedGrants) => void,
    leaves: (worker: W) => boolean,
  ) {
    this.#deliver = deliver;
    this.#leaves = leaves;
  }

  take(worker: W, generation: number, workers: number, claims: NamedClaims, now: number): void {
    if (generation < this.#generation && workers !== this.#workers) return;
    if (workers !== this.#workers) this.#services.clear();
    this.#workers = workers;
    if (generation > this.#generation) this.#keepOnly(new Set(claims.map(([service]) => service)));
    this.#generation = Math.max(generation, this.#generation);
    if (now - this.#takenAtMs > LEASE_MS) for (const parts of this.#services.values()) parts.resume(now);
    this.#takenAtMs = now;
    const letters = new Map<W, [string, CapGrant][]>();
    for (const [service, claim] of claims) {
      let parts = this.#services.get(service);
      if (parts === undefined) {
        parts = new CapParts<W>(workers, this.#leaves);
        this.#services.set(service, parts);
      }
      for (const [to, grant] of parts.claim(worker, claim, now)) {
        const letter = letters.get(to) ?? [];
        letters.set(to, letter);
        letter.push([service, grant]);
      }
    }
    for (const [to, grants] of letters) this.#deliver(to, workers, grants);
  }

  gone(worker: W): void {
    for (const parts of this.#services.values()) parts.gone(worker);
  }

  #keepOnly(names: ReadonlySet<string>): void {
    for (const service of this.#services.keys()) if (!names.has(service)) this.#services.delete(service);
  }
}
