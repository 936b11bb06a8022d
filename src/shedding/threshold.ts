/**
 * Where to cut, so that a given share of the arrivals is refused and always the same clients.
 *
 * Signal: the levels (cohort.ts) of the last 1 024 arrivals, counted. Decision: the cut is the level at which the share of
 * arrivals above it reaches the wanted one; levels above are refused, levels below pass, and the level it falls in is
 * split by chance, so that the share is met although a level may hold one client that sends a fifth of all.
 *
 * Why levels and not a share for each class: a class is touched only when all below it is refused, and a client stays
 * on its side of the cut while the pressure stays. Both counts and cut are kept up to date from arrival to arrival: a
 * few steps each, nothing is allocated.
 * Cold start: while nobody is refused no level is worked out. When that ends, the classes' own counts stand in, spread
 * evenly over the cohorts, and make room for real arrivals one by one.
 * Limits: 1 024 arrivals know a share to ± 1.5 %: so many clients at the cut may change sides without a reason.
 * Sources: Uber Cinnamon (2023), DAGOR (Zhou et al., 2018).
 */
import type { PriorityRank } from '../kernel/priority.ts';
import type { Random } from '../kernel/random.ts';
import { COHORTS, LEVELS, LEVELS_PER_CLASS } from './cohort.ts';

/** Half: ± 2.2 % of the clients change sides; double: a new mix of clients is known twice as late. */
const KEPT = 1024;
/** Odd, so that its multiples visit every place once: who stands in leaves in mixed order. */
const SPREAD = 389;

export class Threshold {
  readonly #counts = new Uint16Array(LEVELS);
  readonly #ring = new Uint16Array(KEPT);
  #next = 0;
  #kept = 0;
  #cut = LEVELS - 1;
  /** Arrivals kept whose level is above the cut. */
  #above = 0;

  /** Arrivals of each class stand in for those whose level nobody has looked at. */
  standIn(mix: Readonly<Record<PriorityRank, number>>): void {
    const sum = mix[0] + mix[1] + mix[2] + mix[3];
    this.#counts.fill(0);
    this.#next = 0;
    this.#kept = 0;
    this.#cut = LEVELS - 1;
    this.#above = 0;
    if (sum <= 0) return;
    let placed = 0;
    let upTo = 0;
    for (let rank = 0 as PriorityRank; rank <= 3; rank = (rank + 1) as PriorityRank) {
      upTo += mix[rank];
      const end = rank === 3 ? KEPT : Math.round((KEPT * upTo) / sum);
      const many = end - placed;
      for (let i = 0; i < many; i += 1) {
        const level = rank * LEVELS_PER_CLASS + Math.floor((i * COHORTS) / many);
        this.#ring[((placed + i) * SPREAD) % KEPT] = level;
        this.#counts[level] = (this.#counts[level] ?? 0) + 1;
      }
      placed = end;
    }
    this.#kept = KEPT;
  }

  arrived(level: number): void {
    const counts = this.#counts;
    if (this.#kept < KEPT) this.#kept += 1;
    else {
      const oldest = this.#ring[this.#next] ?? 0;
      counts[oldest] = (counts[oldest] ?? 0) - 1;
      if (oldest > this.#cut) this.#above -= 1;
    }
    this.#ring[this.#next] = level;
    counts[level] = (counts[level] ?? 0) + 1;
    if (level > this.#cut) this.#above += 1;
    this.#next = (this.#next + 1) % KEPT;
  }

  /** Whether an arrival of this level belongs to the refused `share` (0..1). */
  refuses(level: number, share: number, random: Random): boolean {
    const counts = this.#counts;
    const wanted = share * this.#kept;
    while (this.#above > wanted) {
      this.#cut += 1;
      this.#above -= counts[this.#cut] ?? 0;
    }
    while (this.#cut > 0 && this.#above + (counts[this.#cut] ?? 0) <= wanted) {
      this.#above += counts[this.#cut] ?? 0;
      this.#cut -= 1;
    }
    if (level !== this.#cut) return level > this.#cut;
    return random() * (counts[level] ?? 0) < wanted - this.#above;
  }
}
