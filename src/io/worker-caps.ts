import { EVEN_PART, type CapClaim, type CapGrant } from '../upstreams/instance-cap.ts';
import type { NamedClaims, NamedGrants } from './ipc.ts';

/**
 * What this worker claims of the instances' limits, and what it is granted (instance-cap.ts, cap-parts.ts).
 *
 * Each 50 ms one message with every service whose claim is another than the last, or for more than an equal part; so a
 * worker with little to do says nothing, once it has said that. Grants are taken in the next beat; those that lay in the
 * channel while this process stood still are old and are not taken.
 */

/** Half: twice the messages for parts that move no sooner than requests end; double: twice as long until an idle one has its part. */
const CLAIM_MS = 50;
/** As long as more than an equal part holds: what comes first after such a stop was sent before it lapsed. */
const OUTDATED_MS = 250;

export interface CappedService {
  readonly name: string;
  claimCaps(now: number): CapClaim;
  takeCaps(grant: CapGrant, now: number): void;
}

export interface CapsParts {
  readonly services: () => ReadonlyMap<string, CappedService>;
  readonly send: (generation: number, workers: number, claims: NamedClaims) => void;
}

export class WorkerCaps {
  readonly #parts: CapsParts;
  #generation = -1;
  #workers = 1;
  readonly #told = new Map<string, CapClaim>();
  readonly #granted = new Map<string, CapGrant>();
  #beatAtMs = Number.NEGATIVE_INFINITY;
  #claimedAtMs = Number.NEGATIVE_INFINITY;
  #lateMs = 0;

  constructor(parts: CapsParts) {
    this.#parts = parts;
  }

  /** A configuration was taken. */
  configure(generation: number, workers: number): void {
    this.#generation = generation;
    this.#workers = workers;
    this.#told.clear();
    this.#granted.clear();
  }

  receive(workers: number, grants: NamedGrants): void {
    if (workers !== this.#workers) return;
    for (const [service, grant] of grants) this.#granted.set(service, grant);
  }

  /** Every 5 ms. */
  beat(now: number): void {
    if (this.#workers < 2) return;
    const lateMs = now - this.#beatAtMs;
    this.#beatAtMs = now;
    // What the channel held comes after the late beat and before the next.
    if (Math.max(lateMs, this.#lateMs) > OUTDATED_MS) this.#granted.clear();
    this.#lateMs = lateMs;
    const services = this.#parts.services();
    for (const [name, grant] of this.#granted) services.get(name)?.takeCaps(grant, now);
    this.#granted.clear();
    if (now - this.#claimedAtMs >= CLAIM_MS) this.#claim(now);
  }

  #claim(now: number): void {
    this.#claimedAtMs = now;
    const claims: [string, CapClaim][] = [];
    for (const service of this.#parts.services().values()) {
      const claim = service.claimCaps(now);
      const told = this.#told.get(service.name);
      if (claim.holds <= EVEN_PART && told !== undefined && isSame(claim, told)) continue;
      this.#told.set(service.name, claim);
      claims.push([service.name, claim]);
    }
    if (claims.length > 0) this.#parts.send(this.#generation, this.#workers, claims);
  }
}

/** A claim that nobody heard would be told no second time: not for ever while it needs more than it has. */
function isSame(claim: CapClaim, told: CapClaim): boolean {
  if (claim.need > claim.holds) return false;
  return claim.grant === told.grant && claim.need === told.need && claim.holds === told.holds;
}
