import { EVEN_PART, LEAST_PART, type CapClaim, type CapGrant } from './instance-cap.ts';

/**
 * Who has how much of the limit that instances have: the supervisor's book of the workers' parts.
 *
 * Signal: what each worker claims (instance-cap.ts). Decision: everybody gets what it needs, and as long as that is too much
 * no more than an equal part of what the modest leave; what is left over brings those with least up to an equal part. So a
 * worker that needs an equal part gets it, whatever the others claim, and while nobody needs more all parts are equal. A part
 * is raised only into what is free, and what was taken away is free when its worker says that it uses no more: no more is in
 * use than the limit, in whatever order words come. Who was never heard of has an equal part, and whoever has not heard its
 * grant is told again with the next claim of anybody. While more workers are there than shall be, as one takes another's place,
 * those that leave keep only what they need.
 *
 * Cold start: equal parts. Silence: a worker with more than an equal part claims each 50 ms; after a second without that, it
 * lapsed in the worker as well. One with less keeps silence while nothing changes. When we stood still ourselves, nobody has
 * more than an equal part any more, and nobody's silence counts.
 *
 * Limits: whoever is short of an equal part for a second gets it, though what others began with a larger one may run on: as
 * long as that does (a held answer, a call of gRPC that streams), an instance has more than its limit, by at most what was
 * lent. What a worker that stands still for more than that second has in flight beyond an equal part is counted no more. And
 * while a new worker takes another's place both may have an equal part, until they have told what they need.
 */

/** Four times the lease: half is close to a word that lay in a channel, double leaves the others short for as long. */
export const SILENT_MS = 1000;

interface Seat {
  grant: number;
  /** Of the last grant. */
  part: number;
  /** Its worker has heard that. */
  heard: boolean;
  need: number;
  /** The most that it may use now: nobody else may have that. */
  most: number;
  claimedAtMs: number;
  /** Since when it has less than an equal part and needs more; Infinity: it has what it needs. */
  shortAtMs: number;
  /** Its worker leaves, and another has its place. */
  leaves: boolean;
}

export class CapParts<W> {
  readonly #workers: number;
  readonly #leaves: (worker: W) => boolean;
  readonly #seats = new Map<W, Seat>();

  constructor(workers: number, leaves: (worker: W) => boolean) {
    this.#workers = workers;
    this.#leaves = leaves;
  }

  /** A claim came. @returns the grants to send: to all that have not heard theirs, and to whoever claimed */
  claim(worker: W, claim: CapClaim, now: number): ReadonlyMap<W, CapGrant> {
    let seat = this.#seats.get(worker);
    if (seat === undefined) {
      // It may know a book before this one, and takes no older grant than the last.
      seat = { ...NEWCOMER, grant: claim.grant };
      this.#seats.set(worker, seat);
    }
    seat.claimedAtMs = now;
    seat.need = claim.need;
    seat.heard = claim.grant === seat.grant;
    seat.most = Math.max(claim.holds, seat.heard ? seat.part : seat.most);
    this.#share(now);
    const grants = new Map<W, CapGrant>();
    for (const [each, { grant, part, heard }] of this.#seats)
      if (each === worker || !heard) grants.set(each, { grant, part });
    return grants;
  }

  /** No claim of anybody was read for longer than a lease: larger parts have lapsed, and smaller ones may have. */
  resume(now: number): void {
    for (const seat of this.#seats.values()) {
      seat.claimedAtMs = now;
      if (seat.part === EVEN_PART && seat.most <= EVEN_PART) continue;
      grant(seat, Math.min(seat.part, EVEN_PART));
      seat.most = Math.max(seat.most, EVEN_PART);
    }
  }

  gone(worker: W): void {
    this.#seats.delete(worker);
  }

  #share(now: number): void {
    for (const seat of this.#seats.values()) {
      if (seat.most <= EVEN_PART || now - seat.claimedAtMs <= SILENT_MS) continue;
      grant(seat, EVEN_PART);
      seat.most = seat.need = EVEN_PART;
    }
    const rolls = this.#seats.size > this.#workers;
    for (const [worker, seat] of this.#seats) seat.leaves = rolls && this.#leaves(worker);
    const seats = [...this.#seats.values()].toSorted((a, b) => wanted(a) - wanted(b));
    const targets = this.#targets(seats);
    const pressed = seats.some(({ need, part }) => need > part);
    // One apart is noise, unless somebody is short of it; equal parts are whole ones.
    const moves = (seat: Seat, target: number): boolean =>
      Math.abs(target - seat.part) > (pressed || target === EVEN_PART ? 0 : 1);
    for (const [index, seat] of seats.entries()) {
      const target = targets[index] ?? EVEN_PART;
      if (target < seat.part && moves(seat, target)) grant(seat, target);
    }
    let free = EVEN_PART * Math.min(this.#workers, seats.length);
    for (const { most } of seats) free -= most;
    for (const [index, seat] of seats.entries()) {
      const target = targets[index] ?? EVEN_PART;
      const due = Math.min(target, EVEN_PART);
      seat.shortAtMs = seat.part < Math.min(due, seat.need) ? Math.min(seat.shortAtMs, now) : Infinity;
      const part = Math.max(Math.min(target, seat.most + free), now - seat.shortAtMs > SILENT_MS ? due : 0);
      if (part <= seat.part || !moves(seat, target)) continue;
      grant(seat, part);
      free -= Math.max(0, part - seat.most);
      seat.most = Math.max(seat.most, part);
    }
  }

  /** @param seats the modest first */
  #targets(seats: readonly Seat[]): readonly number[] {
    let left = EVEN_PART * Math.min(this.#workers, seats.length);
    const targets = seats.map((seat, index) => {
      const target = Math.min(wanted(seat), Math.floor(left / (seats.length - index)));
      left -= target;
      return target;
    });
    let staying = seats.filter(({ leaves }) => !leaves).length;
    for (let index = seats.length - 1; index >= 0; index--) {
      if (seats[index]?.leaves === true) continue;
      const target = targets[index] ?? 0;
      const more = Math.min(Math.max(0, EVEN_PART - target), Math.floor(left / staying));
      targets[index] = target + more;
      left -= more;
      staying -= 1;
    }
    return targets;
  }
}

const NEWCOMER: Readonly<Seat> = {
  grant: 0,
  part: EVEN_PART,
  heard: true,
  need: 0,
  most: EVEN_PART,
  claimedAtMs: 0,
  shortAtMs: Infinity,
  leaves: false,
};

/** Nobody new comes to who leaves: it need keep nothing for that. */
function wanted({ need, leaves }: Seat): number {
  return leaves && need <= LEAST_PART ? 0 : need;
}

function grant(seat: Seat, part: number): void {
  seat.grant += 1;
  seat.part = part;
  seat.heard = false;
}
