import { EVEN_PART, type CapClaim, type CapGrant } from './instance-cap.ts';

/**
 * Who has how much of the limit that instances have: the supervisor's book of the workers' parts.
 *
 * Signal: what each worker claims (instance-cap.ts). Decision: everybody gets what it needs, and as long as that is too much
 * no more than an equal part of what the modest leave; what is left over brings those with least up to an equal part. So a
 * worker that needs an equal part gets it, whatever the others claim, and while nobody needs more all parts are equal. A part
 * is raised only into what is free, and what was taken away is free when its worker says that it uses no more: what is in use
 * is never more than the limit, in whatever order words come and whichever are lost. Who was never heard of has an equal part.
 *
 * Cold start: equal parts. Silence: a worker with more than an equal part claims each 50 ms; after a second without that, it
 * lapsed in the worker as well. One with less keeps silence while nothing changes. Limit: what a worker that stands still for
 * more than that second has in flight beyond an equal part is counted no more; nobody else could move before it wakes.
 */

/** What an idle worker keeps for its first requests. Half: they wait longer; double: the one busy of four gets 62 %, not 81 %. */
const LEAST_PART = 2;
/** Four times the lease: half is close to a word that lay in a channel, double leaves the others short for as long. */
const SILENT_MS = 1000;

interface Seat {
  grant: number;
  /** Of the last grant. */
  part: number;
  need: number;
  /** The most that it may use now: nobody else may have that. */
  most: number;
  claimedAtMs: number;
}

export class CapParts<W> {
  readonly #workers: number;
  readonly #seats = new Map<W, Seat>();

  constructor(workers: number) {
    this.#workers = workers;
  }

  /** A claim came. @returns the grants to send: to whom it is new, and to whoever claimed */
  claim(worker: W, claim: CapClaim, now: number): ReadonlyMap<W, CapGrant> {
    let seat = this.#seats.get(worker);
    if (seat === undefined) {
      seat = { grant: 0, part: EVEN_PART, need: 0, most: EVEN_PART, claimedAtMs: now };
      this.#seats.set(worker, seat);
    }
    seat.claimedAtMs = now;
    seat.need = claim.need;
    const heard = claim.grant === seat.grant;
    seat.most = Math.max(claim.holds, heard ? seat.part : seat.most);
    const before = new Map([...this.#seats].map(([each, { grant }]) => [each, grant]));
    this.#share(now);
    const grants = new Map<W, CapGrant>();
    for (const [each, { grant, part }] of this.#seats)
      if (each === worker || grant !== before.get(each)) grants.set(each, { grant, part });
    return grants;
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
    const seats = [...this.#seats.values()].toSorted((a, b) => a.need - b.need);
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
      const target = Math.min(targets[index] ?? EVEN_PART, seat.most + Math.max(0, free));
      if (target <= seat.part || !moves(seat, targets[index] ?? EVEN_PART)) continue;
      grant(seat, target);
      free -= Math.max(0, target - seat.most);
      seat.most = Math.max(seat.most, target);
    }
  }

  /** @param seats the modest first */
  #targets(seats: readonly Seat[]): readonly number[] {
    let left = EVEN_PART * Math.min(this.#workers, seats.length);
    const targets = seats.map(({ need }, index) => {
      const target = Math.min(Math.max(need, LEAST_PART), Math.floor(left / (seats.length - index)));
      left -= target;
      return target;
    });
    for (let index = seats.length - 1; index >= 0; index--) {
      const target = targets[index] ?? 0;
      const more = Math.min(Math.max(0, EVEN_PART - target), Math.floor(left / (index + 1)));
      targets[index] = target + more;
      left -= more;
    }
    return targets;
  }
}

function grant(seat: Seat, part: number): void {
  seat.grant += 1;
  seat.part = part;
}
