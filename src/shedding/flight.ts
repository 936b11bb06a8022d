/**
 * What is under way at one service, counted and aged.
 *
 * Signal: permits out (`inFlight`), those of them whose answer flows (`flowing`), attempts that still wait for their
 * response head (`awaiting`), streams apart.
 * Both counts are also kept as areas (count × milliseconds), so that a window has their time-weighted means: a mean
 * of samples taken at arrivals would see only the busy moments.
 * Ages: attempts are linked in the order in which they began, so the oldest is found at once and "are more than half
 * older than …" walks at most half the list, and none of it while the oldest is young.
 */
import type { Permit } from './permit.ts';

export class Flight {
  /** Permits out, streams not among them. */
  inFlight = 0;
  /** Of them, those whose response head has come: a slow reader holds the permit, not the service. */
  flowing = 0;
  /** Of those without a head, those of critical requests. */
  critical = 0;
  /** Permits that have become streams. */
  streams = 0;
  /** Attempts handed to the wire without a response head yet. */
  awaiting = 0;
  #oldest: Permit | undefined;
  #newest: Permit | undefined;
  #inFlightAreaMs = 0;
  #awaitingAreaMs = 0;
  #countedToMs: number;

  constructor(now: number) {
    this.#countedToMs = now;
  }

  /** Carries both areas up to `now`; to be called before any count changes. */
  advance(now: number): void {
    const elapsedMs = now - this.#countedToMs;
    if (elapsedMs <= 0) return;
    this.#inFlightAreaMs += this.present * elapsedMs;
    this.#awaitingAreaMs += this.awaiting * elapsedMs;
    this.#countedToMs = now;
  }

  /** Permits without a response head yet: what the limit is compared with. */
  get present(): number {
    return this.inFlight - this.flowing;
  }

  /** Permits without a response head yet × ms since the beginning; valid after `advance(now)`. */
  get inFlightAreaMs(): number {
    return this.#inFlightAreaMs;
  }

  /** Waiting attempts × ms since the beginning; valid after `advance(now)`. */
  get awaitingAreaMs(): number {
    return this.#awaitingAreaMs;
  }

  take(permit: Permit, now: number): void {
    this.advance(now);
    this.inFlight += 1;
    if (permit.critical) this.critical += 1;
  }

  giveBack(permit: Permit, now: number): void {
    this.flows(permit, false, now);
    this.inFlight -= 1;
    if (permit.critical) this.critical -= 1;
  }

  /** Its answer flows, or it does not (another attempt begins). */
  flows(permit: Permit, flowing: boolean, now: number): void {
    this.advance(now);
    if (permit.flowing === flowing || permit.streams) return;
    permit.flowing = flowing;
    this.flowing += flowing ? 1 : -1;
    if (permit.critical) this.critical -= flowing ? 1 : -1;
  }

  /** A permit leaves the limit but stays out: a stream. */
  becomeStream(permit: Permit, now: number): void {
    this.giveBack(permit, now);
    permit.streams = true;
    this.streams += 1;
  }

  endStream(): void {
    this.streams -= 1;
  }

  /** An attempt begins: it is the youngest of all. */
  begin(permit: Permit, now: number): void {
    this.flows(permit, false, now);
    this.awaiting += 1;
    permit.attemptAtMs = now;
    permit.older = this.#newest;
    permit.younger = undefined;
    if (this.#newest === undefined) this.#oldest = permit;
    else this.#newest.younger = permit;
    this.#newest = permit;
  }

  /** The attempt has ended, however it did; returns its age in ms. */
  end(permit: Permit, now: number): number {
    this.advance(now);
    this.awaiting -= 1;
    if (permit.older === undefined) this.#oldest = permit.younger;
    else permit.older.younger = permit.younger;
    if (permit.younger === undefined) this.#newest = permit.older;
    else permit.younger.older = permit.older;
    permit.older = undefined;
    permit.younger = undefined;
    const ageMs = Math.max(0, now - permit.attemptAtMs);
    permit.attemptAtMs = Number.NaN;
    return ageMs;
  }

  /**
   * Is more than half of what is in flight waiting for its head longer than `ageMs`, and clearly so? A root more than
   * half: of nine requests five are easily old by chance, and the question is asked a hundred times a second.
   */
  mostlyOlderThan(ageMs: number, now: number): boolean {
    const { present } = this;
    const needed = Math.min(present, present / 2 + Math.sqrt(present));
    if (this.awaiting < needed) return false;
    let permit = this.#oldest;
    for (let seen = 0; permit !== undefined && now - permit.attemptAtMs > ageMs; permit = permit.younger) {
      seen += 1;
      if (seen >= needed) return true;
    }
    return false;
  }
}
