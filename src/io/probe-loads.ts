import { FRESH_MS, type LoadTold } from '../upstreams/load-gate.ts';

/**
 * What probes were told of instances' load, until it says nothing any more: the supervisor's side of `LoadGate`.
 *
 * Each report goes to all workers, by itself and with the next beat of the pictures, behind the pictures of that beat: one
 * that opens an instance begins a new gate. Why not in the pictures: those are whole, and a figure that changes with each
 * probe would send a thousand instances for one. Why not only when it turns busy or full: a worker has answers of its own,
 * which the supervisor does not see; the probe after an answer must be heard, also where it says what the one before said.
 * Cost: one entry a probe, at most 50 messages a second. A new worker gets all that is fresh once it has its configuration.
 * Limits: an instance that time alone opens again, after an ejection, counts as one that said nothing until its next probe;
 * probes that come less than once in ten seconds leave gaps.
 */

export interface LoadNews extends LoadTold {
  readonly service: string;
  /** `host:port` */
  readonly id: string;
}

interface Said {
  readonly service: string;
  readonly id: string;
  readonly utilization: number;
  readonly at: number;
}

export class ProbeLoads {
  /** The last report of each, the oldest first. */
  readonly #last = new Map<string, Said>();
  #news: Said[] = [];

  /** @param utilization finite, at least 0 */
  note(service: string, id: string, utilization: number, now: number): void {
    this.#forgetOld(now);
    const key = `${service}/${id}`;
    const said = { service, id, utilization, at: now };
    this.#last.delete(key);
    this.#last.set(key, said);
    this.#news.push(said);
  }

  /** What was said since the last call. */
  takeNews(now: number): LoadNews[] {
    return this.#news.splice(0).map((said) => newsOf(said, now));
  }

  /** All that is fresh. */
  all(now: number): LoadNews[] {
    this.#forgetOld(now);
    return [...this.#last.values()].map((said) => newsOf(said, now));
  }

  #forgetOld(now: number): void {
    for (const [key, { at }] of this.#last) {
      if (now - at < FRESH_MS) return;
      this.#last.delete(key);
    }
  }
}

/** Ages, never moments: it crosses processes. */
function newsOf({ service, id, utilization, at }: Said, now: number): LoadNews {
  return { service, id, utilization, ageMs: now - at };
}
