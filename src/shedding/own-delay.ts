/**
 * What of a latency is the gateway's own doing: the gateway's sin is not the service's.
 *
 * A response lies in the socket for half of the loop's last turn, on average, and for as much of the present one as has
 * gone by; that much is taken off each sample. So a busy worker still learns how fast the service is. After a stall (a
 * paused process, a long computation) the part cannot be told: answers to what was under way then are no samples.
 */

/** What the delay of an idle loop would come to: a turn of 5 ms so far and half of another before. */
const IDLE_TURNS_MS = 7.5;

/** Past it half a turn is no estimate any more. A loop in full use turns in 20 to 40 ms. */
const LONG_TURN_MS = 100;

export class OwnDelay {
  /** Beginning of the loop's present turn, and length of the one before. */
  #turnAtMs: number;
  #turnMs = 0;
  #sumMs = 0;

  constructor(now: number) {
    this.#turnAtMs = now;
  }

  /** At the beginning of a turn, about every 5 ms. True: the turn before stood so long that what it saw tells nothing. */
  turn(now: number): boolean {
    this.#turnMs = now - this.#turnAtMs;
    this.#turnAtMs = now;
    return this.#turnMs > LONG_TURN_MS;
  }

  /** The part of an answer's age that is ours, ms. */
  of(ageMs: number, now: number): number {
    return Math.min(ageMs, Math.max(0, now - this.#turnAtMs + this.#turnMs / 2 - IDLE_TURNS_MS));
  }

  /** It was taken off a sample of the window. */
  add(ownMs: number): void {
    this.#sumMs += ownMs;
  }

  /** The mean over so many samples since the last call, ms. */
  take(samples: number): number {
    const meanMs = this.#sumMs / Math.max(1, samples);
    this.#sumMs = 0;
    return meanMs;
  }
}
