import { randomBytes } from 'node:crypto';

/** Random session ids, drawn from the system by the hundred: one call each would be a tenth of a request's cost. */
export class SessionIds {
  #pool = Buffer.alloc(0);
  #at = 0;

  /** 16 hex digits. */
  next(): string {
    if (this.#at >= this.#pool.length) {
      this.#pool = randomBytes(SID_BYTES * SIDS_DRAWN);
      this.#at = 0;
    }
    this.#at += SID_BYTES;
    return this.#pool.toString('hex', this.#at - SID_BYTES, this.#at);
  }
}

const SID_BYTES = 8;
/** Half costs more calls, double keeps more ids waiting than a worker gives away in a second. */
const SIDS_DRAWN = 256;
