/**
 * A set of what comes and goes with requests: each member knows its seat, and the last takes the seat of whoever leaves.
 *
 * Instead of a `Set` or a `Map`: V8 makes them a new table every few additions and deletions, and an old table keeps what
 * it held, and its successor. Once one of them lies in old space, all that is held by all later ones survives every scavenge
 * until the next full collection: of requests that overlap two thirds did, and a scavenge took 10 to 60 ms.
 */

/** A member, of one set at a time. */
export interface Seated {
  /** -1: in none. Only the set writes it. */
  seat: number;
}

export class Seats<T extends Seated> {
  readonly #members: T[] = [];

  get size(): number {
    return this.#members.length;
  }

  /** One that is in already stays where it is. */
  add(member: T): void {
    if (member.seat < 0) member.seat = this.#members.push(member) - 1;
  }

  /** One that is in no set is left alone. */
  delete(member: T): void {
    const { seat } = member;
    if (seat < 0) return;
    member.seat = -1;
    const last = this.#members.pop();
    if (last === undefined || last === member) return;
    this.#members[seat] = last;
    last.seat = seat;
  }

  /** Each member once. The visitor may delete any, which is not visited then. */
  each(visit: (member: T) => void): void {
    const members = [...this.#members];
    for (const member of members) if (member.seat >= 0) visit(member);
  }
}
