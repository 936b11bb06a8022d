/**
 * How many requests one worker may have in flight at one instance: its part of the service's limit.
 *
 * The limit is the gateway's and the kernel gives connections to workers unevenly, a single HTTP/2 connection all to one. So
 * what a worker does not use another may have: each claims what it needs, the supervisor grants (cap-parts.ts). Parts are
 * whole eighths of an equal part, so that their sum is exact; of a part of the limit that is no whole number the next one up
 * is taken, so that all caps are below the limit and one request a worker.
 *
 * Signal: what is in flight, each 50 ms; not what waits, which may be for the service's limit. Decision: the need rises at
 * once, where all is in use to twice that and each time again, and fades. Streams use no more than an equal part: what sits
 * there for hours could not be given back. Cold start: an equal part. Silence: more than an equal part holds for a quarter of
 * a second, less until a claim had no answer for a second; then it is equal again.
 *
 * Limit: which calls of gRPC are streams nothing tells, so they may sit on what was lent; cap-parts.ts bounds that.
 */

/** Of equal parts: half of these is too coarse for four workers, double only sends more messages. */
export const EVEN_PART = 8;
/** What an idle worker keeps for its first requests. Half: they wait longer; double: the one busy of four gets 62 %, not 81 %. */
export const LEAST_PART = 2;
/** How long more than an equal part holds. Half: a busy loop loses it; double: a supervisor that hangs is believed as long. */
export const LEASE_MS = 250;
/** Of what is in use: half leaves every second burst short until the next claim, double takes from others for nothing. */
const HEADROOM = 1.25;
/** Of the need, each 50 ms: half of it after a third of a second. Half: parts follow every burst; double: idle ones lend late. */
const FADE = 0.9;

/** What a worker tells of one service, in parts. */
export interface CapClaim {
  /** Number of the last grant that it heard; 0: none. */
  readonly grant: number;
  /** Never less than what an idle one keeps. */
  readonly need: number;
  /** What it may use, or still uses beyond that. */
  readonly holds: number;
}

export interface CapGrant {
  readonly grant: number;
  readonly part: number;
}

/** What a worker has at the instances of one service that take new requests. */
export interface CapUse {
  /** At those that have a part of the limit: not those on trial. */
  readonly inFlight: number;
  /** The most that may be in flight there now. */
  readonly openCap: number;
  /** At the one that has the most. */
  readonly mostAtOne: number;
}

export class InstanceCap {
  #limit = 1;
  #workers = 1;
  /** With an equal part. */
  #even = 1;
  #granted = 1;
  #part = EVEN_PART;
  #grant = 0;
  #untilMs = Infinity;
  #need = 0;
  /** By slot. */
  readonly #streams: number[] = [];

  /** @param limit at each instance, of all workers together */
  configure(limit: number, workers: number): void {
    if (workers !== this.#workers) {
      this.#grant = 0;
      this.lapse();
    }
    this.#limit = limit;
    this.#workers = workers;
    this.#even = this.#capOf(EVEN_PART);
    this.#granted = this.#capOf(this.#part);
  }

  get even(): number {
    return this.#even;
  }

  /** On the path of every request. */
  at(now: number): number {
    return now < this.#untilMs ? this.#granted : this.#even;
  }

  streamsAt(slot: number): number {
    return this.#streams[slot] ?? 0;
  }

  /** @param change 1: one begins there; -1: it ends */
  countStream(slot: number, change: number): void {
    this.#streams[slot] = this.streamsAt(slot) + change;
  }

  /** Nobody answers. */
  lapse(): void {
    this.#part = EVEN_PART;
    this.#granted = this.#even;
    this.#untilMs = Infinity;
  }

  take({ grant, part }: CapGrant, now: number): void {
    if (grant < this.#grant) return;
    this.#grant = grant;
    this.#part = part;
    this.#granted = this.#capOf(part);
    this.#untilMs = part > EVEN_PART ? now + LEASE_MS : Infinity;
  }

  /** Each 50 ms. */
  claim({ inFlight, mostAtOne, openCap }: CapUse, now: number): CapClaim {
    const cap = this.at(now);
    let need = Math.max(LEAST_PART, FADE * this.#need);
    if (openCap > 0 && openCap < Infinity) {
      const instances = openCap / cap;
      need = Math.max(need, (HEADROOM * this.#total * inFlight) / (instances * this.#limit));
      if (inFlight >= openCap) need = Math.max(need, this.#partFor(2 * cap), 2 * this.#need);
    }
    this.#need = Math.min(need, this.#total);
    const part = now < this.#untilMs ? this.#part : EVEN_PART;
    return {
      grant: this.#grant,
      need: Math.ceil(this.#need),
      holds: Math.max(part, this.#partFor(mostAtOne)),
    };
  }

  get #total(): number {
    return EVEN_PART * this.#workers;
  }

  #capOf(part: number): number {
    return Math.max(1, Math.ceil((this.#limit * part) / this.#total));
  }

  /** The smallest part of which so many may be in flight. */
  #partFor(cap: number): number {
    if (cap <= 0) return 0;
    return Math.min(this.#total, Math.floor(((cap - 1) * this.#total) / this.#limit) + 1);
  }
}
