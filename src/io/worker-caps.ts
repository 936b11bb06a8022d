import { SILENT_MS } from '../upstreams/cap-parts.ts';
import { EVEN_PART, LEASE_MS, type CapClaim, type CapGrant } from '../upstreams/instance-cap.ts';
import type { NamedClaims, NamedGrants } from './ipc.ts';

/**
 * What this worker claims of the instances' limits, and what it is granted (instance-cap.ts, cap-parts.ts).
 *
 * Each 50 ms one message with every service whose claim is another than the last, or for more than an equal part; so a
 * worker with little to do says nothing, once it has said that and was answered. Every message is; when for a second none is,
 * nobody shares out and all parts are equal. Grants are taken in the next beat; one for more than an equal part that lay in the
 * channel while this process stood still may have lapsed for the supervisor, and is not taken. A service that throws keeps its
 * part; the others go on.
 */

/** Half: twice the messages for parts that move no sooner than requests end; double: twice as long until an idle one has its part. */
const CLAIM_MS = 50;

export interface CappedService {
  readonly name: string;
  claimCaps(now: number): CapClaim;
  takeCaps(grant: CapGrant, now: number): void;
  /** Nobody answers. */
  lapseCaps(now: number): void;
}

export interface CapsParts {
  readonly services: () => ReadonlyMap<string, CappedService>;
  readonly send: (generation: number, workers: number, claims: NamedClaims) => void;
  /** A service threw. */
  readonly onFault: (service: string, error: unknown, now: number) => void;
}

export class WorkerCaps {
  readonly #parts: CapsParts;
  #generation = -1;
  #workers = 1;
  readonly #told = new Map<string, CapClaim>();
  readonly #granted = new Map<string, CapGrant>();
  /** The first beat is not late. */
  #beatAtMs = Number.POSITIVE_INFINITY;
  #claimedAtMs = Number.NEGATIVE_INFINITY;
  /** The first message without an answer; Infinity: there is none. */
  #askedAtMs = Number.POSITIVE_INFINITY;
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
    this.#askedAtMs = Number.POSITIVE_INFINITY;
  }

  receive(workers: number, grants: NamedGrants): void {
    if (workers !== this.#workers) return;
    this.#askedAtMs = Number.POSITIVE_INFINITY;
    for (const [service, grant] of grants) this.#granted.set(service, grant);
  }

  /** Every 5 ms. */
  beat(now: number): void {
    if (this.#workers < 2) return;
    const lateMs = now - this.#beatAtMs;
    this.#beatAtMs = now;
    // What the channel held comes after the late beat and before the next; the answer may be there.
    if (lateMs > LEASE_MS && this.#askedAtMs < now) this.#askedAtMs = now;
    const late = Math.max(lateMs, this.#lateMs) > LEASE_MS;
    this.#lateMs = lateMs;
    this.#take(late, now);
    if (now - this.#askedAtMs > SILENT_MS) this.#lapse(now);
    if (now - this.#claimedAtMs >= CLAIM_MS) this.#claim(now);
  }

  #take(late: boolean, now: number): void {
    if (this.#granted.size === 0) return;
    for (const service of this.#parts.services().values()) {
      const grant = this.#granted.get(service.name);
      if (grant === undefined || (late && grant.part > EVEN_PART)) continue;
      this.#guard(service, now, () => {
        service.takeCaps(grant, now);
      });
    }
    this.#granted.clear();
  }

  #lapse(now: number): void {
    // Until the next message had none for as long.
    this.#askedAtMs = Number.POSITIVE_INFINITY;
    for (const service of this.#parts.services().values())
      this.#guard(service, now, () => {
        service.lapseCaps(now);
      });
  }

  #claim(now: number): void {
    this.#claimedAtMs = now;
    const answered = this.#askedAtMs === Number.POSITIVE_INFINITY;
    const claims: [string, CapClaim][] = [];
    for (const service of this.#parts.services().values())
      this.#guard(service, now, () => {
        const claim = service.claimCaps(now);
        const told = this.#told.get(service.name);
        if (answered && claim.holds <= EVEN_PART && told !== undefined && isSame(claim, told)) return;
        this.#told.set(service.name, claim);
        claims.push([service.name, claim]);
      });
    if (claims.length === 0) return;
    if (answered) this.#askedAtMs = now;
    this.#parts.send(this.#generation, this.#workers, claims);
  }

  #guard({ name }: CappedService, now: number, act: () => void): void {
    try {
      act();
    } catch (error) {
      this.#parts.onFault(name, error, now);
    }
  }
}

/** While it needs more than it has it is told again: what others still use may be free by now. */
function isSame(claim: CapClaim, told: CapClaim): boolean {
  if (claim.need > claim.holds) return false;
  return claim.grant === told.grant && claim.need === told.need && claim.holds === told.holds;
}
