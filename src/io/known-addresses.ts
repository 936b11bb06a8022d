import dns, { type LookupAddress } from 'node:dns';
import { isIP } from 'node:net';

/**
 * The addresses of an instance that is named, so that no request waits for a name (forwarding.md §8, U04, U05).
 *
 * Asked once as the pool opens; a connection takes what was found last, at once, and an answer that has become old is asked
 * for again in the background. While the resolver is slow or fails, the last good answer stands. Only a first connection
 * that comes before any answer waits for it, within its own connect limit.
 */

/** Half asks the resolver twice as often; double sends connections to an address that moved for twice as long. */
const FRESH_MS = 5000;

type Done = (
  error: NodeJS.ErrnoException | null,
  address?: string | LookupAddress[],
  family?: number,
) => void;

export class KnownAddresses {
  readonly #host: string;
  #known: LookupAddress[] = [];
  #askedMs = -Infinity;
  #asking = false;
  #waiting: ((error: NodeJS.ErrnoException | null) => void)[] = [];

  constructor(host: string) {
    this.#host = host;
    if (isIP(host) === 0) this.#ask();
  }

  /** For `net.connect`. */
  readonly lookup = (_host: string, options: { readonly all?: boolean | undefined }, done: Done): void => {
    if (this.#known.length > 0) {
      if (performance.now() - this.#askedMs > FRESH_MS) this.#ask();
      queueMicrotask(() => {
        this.#tell(options.all === true, done);
      });
      return;
    }
    this.#waiting.push((error) => {
      if (error === null) this.#tell(options.all === true, done);
      else done(error);
    });
    this.#ask();
  };

  #tell(all: boolean, done: Done): void {
    const [first] = this.#known;
    if (all) done(null, this.#known);
    else done(null, first?.address ?? '', first?.family ?? 0);
  }

  #ask(): void {
    if (this.#asking) return;
    this.#asking = true;
    this.#askedMs = performance.now();
    dns.lookup(this.#host, { all: true }, (error, addresses) => {
      this.#asking = false;
      if (error === null && addresses.length > 0) this.#known = addresses;
      const waiting = this.#waiting;
      this.#waiting = [];
      for (const each of waiting) each(this.#known.length > 0 ? null : error);
    });
  }
}
