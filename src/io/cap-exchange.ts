import { CapParts } from '../upstreams/cap-parts.ts';
import type { CapGrant } from '../upstreams/instance-cap.ts';
import type { NamedClaims, NamedGrants } from './ipc.ts';

/**
 * The supervisor's part in sharing the instances' limits out: a book for each service (cap-parts.ts), and one message of grants
 * to each worker that is to hear some. Nothing is sent that no claim asked for.
 *
 * Parts are fractions, so they outlive a reload; another number of workers begins all books anew. `W` stands for a worker.
 */
export class CapExchange<W> {
  readonly #deliver: (to: W, workers: number, grants: NamedGrants) => void;
  readonly #services = new Map<string, CapParts<W>>();
  #generation = -1;
  #workers = 0;

  constructor(deliver: (to: W, workers: number, grants: NamedGrants) => void) {
    this.#deliver = deliver;
  }

  take(worker: W, generation: number, workers: number, claims: NamedClaims, now: number): void {
    if (generation < this.#generation) return;
    this.#generation = generation;
    if (workers !== this.#workers) this.#services.clear();
    this.#workers = workers;
    const letters = new Map<W, [string, CapGrant][]>();
    for (const [service, claim] of claims) {
      let parts = this.#services.get(service);
      if (parts === undefined) {
        parts = new CapParts<W>(workers);
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
}
