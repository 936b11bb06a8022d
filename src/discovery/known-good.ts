import type { DiscoveryFault, Found } from './source.ts';

/**
 * What of a source's word is believed: the last good set of one service.
 *
 * Signal: whole sets as they come, the verdict of our own probes, time. Decision: which instances the service has.
 * - A set counts when the source has been quiet for 100 ms, since a rolling deploy comes as a burst.
 * - What is new is taken at once: at worst it is an instance that no probe passes.
 * - What is missing leaves, unless the whole answer is doubtful, and it is held back with an alarm instead. *Empty*: taken for
 *   a fault of the source, so all stay, but one whose probe has failed for five minutes. *Shrunk*, more than half missing
 *   at once: those stay whose probe passes, for five minutes; for ever where an identity is checked, since then no other
 *   service can pass at a reused address; and only until at least half as many of the listed ones pass, which is what a fleet
 *   replaced as a whole looks like. `emptySet: apply` takes both at their word.
 * - Where most are replaced and the set is believed all the same (`apply`, or another source was configured), those of before
 *   stay for a *handover*: until the new ones pass, for ten seconds at most, or callers would meet nobody in between.
 * - Who was announced as leaving, or passes no probe when it goes missing from a shrunk set, is not missed.
 *
 * Why two witnesses: a source says who exists, probes say who is ready, and only what both deny is certainly gone; an empty
 * list is what a wrong selector, a lost permission or a restored backup looks like. Cold start: the first set is taken at
 * once; with a set kept on disk (`stateDir`) that one is the last good. Idle gap: a source that is silent changes nothing,
 * for any length of time. Recovery: the next full set ends every hold. Limits: a fleet that shrinks by half or less at a
 * time is believed each time; so is any set that replaces addresses while those of before are dead.
 */

/** Half: a burst becomes two pictures; double: a deploy is noticed later. */
const QUIET_MS = 100;
/** A source that never rests is taken at its word this often. Half is near the quiet; double: two seconds old. */
const LONGEST_WAIT_MS = 1000;
/** More than this share of the known missing at once is doubtful. Half: a large deploy is; double: nothing ever is. */
const MOST_MISSING = 0.5;
/** Half: a long mistake of the source is obeyed; double: a reused address is asked ten minutes long. */
const HOLD_MS = 300_000;
/** A held instance of a shrunk set may fail its probes this long. Half: one missed round ends it; double: 20 s at dead ones. */
const GRACE_MS = 10_000;

export interface KnownGoodPolicy {
  readonly emptySet: 'keep' | 'apply';
  /** Our probes ask for a name, so another service at the same address does not pass. */
  readonly hasIdentity: boolean;
}

/** Whether our own probes pass at an instance now, by its url. */
export type ProbePasses = (url: string) => boolean;

interface Held {
  readonly entry: Found;
  readonly by: 'empty' | 'shrunk' | 'handover';
  readonly sinceMs: number;
  passedMs: number;
}

export interface Settled {
  /** All instances of the service, by address. */
  readonly instances: readonly Found[];
  /** The set differs from the one before. */
  readonly changed: boolean;
  /** A set came in, and is not wholly believed. */
  readonly fault: DiscoveryFault | undefined;
}

export class KnownGood {
  #policy: KnownGoodPolicy;
  /** By url: what the source said last. */
  #listed: ReadonlyMap<string, Found>;
  readonly #held = new Map<string, Held>();
  /** So many of the listed must pass for a shrunk set to be believed. */
  #enough = 0;
  #pending: readonly Found[] | undefined = undefined;
  #pendingMark = '';
  #firstMs = 0;
  #lastMs = 0;
  #everSettled = false;
  /** What is known is the word of another source, which this one was configured to replace. */
  #ofAnother: boolean;
  #mark: string;

  /**
   * @param before the last good set of an earlier life, or of another source; or none
   * @param ofAnother of another source
   */
  constructor(policy: KnownGoodPolicy, before: readonly Found[] = [], ofAnother = false) {
    this.#policy = policy;
    this.#listed = byUrl(before);
    this.#ofAnother = ofAnother;
    this.#mark = markOf(this.instances());
  }

  configure(policy: KnownGoodPolicy): void {
    this.#policy = policy;
  }

  /** Instances that the source does not list and that stay all the same. */
  get held(): number {
    return this.#held.size;
  }

  instances(): readonly Found[] {
    const held = [...this.#held.values()].map(({ entry }) => entry);
    return [...this.#listed.values(), ...held].sort((a, b) => (a.url < b.url ? -1 : 1));
  }

  /** Takes a set of the source; it counts from `dueMs` on. */
  offer(set: readonly Found[], now: number): void {
    const mark = markOf(set);
    if (this.#pending === undefined) this.#firstMs = now;
    if (this.#pending === undefined || mark !== this.#pendingMark) this.#lastMs = now;
    this.#pending = set;
    this.#pendingMark = mark;
  }

  /** When `settle` has something to do with what was offered; Infinity while nothing was. */
  get dueMs(): number {
    if (this.#pending === undefined) return Infinity;
    if (!this.#everSettled && this.#listed.size === 0) return this.#firstMs;
    return Math.min(this.#lastMs + QUIET_MS, this.#firstMs + LONGEST_WAIT_MS);
  }

  /** Decides on what was offered, if it is due, and lets go of what was held long enough. */
  settle(now: number, passes: ProbePasses): Settled {
    let fault: DiscoveryFault | undefined;
    if (this.#pending !== undefined && now >= this.dueMs) {
      fault = this.#take(byUrl(this.#pending), now, passes);
      this.#pending = undefined;
      this.#everSettled = true;
    }
    this.#release(now, passes);
    const instances = this.instances();
    const mark = markOf(instances);
    const changed = mark !== this.#mark;
    this.#mark = mark;
    return { instances, changed, fault };
  }

  #take(set: ReadonlyMap<string, Found>, now: number, passes: ProbePasses): DiscoveryFault | undefined {
    const before = [...this.#listed.values()].filter(({ leaving }) => !leaving);
    const missed = before.filter(({ url }) => !set.has(url));
    const known = before.length + this.#held.size;
    this.#listed = set;
    for (const url of set.keys()) this.#held.delete(url);
    const applies = this.#policy.emptySet === 'apply';
    if (set.size === 0) {
      if (applies) {
        this.#held.clear();
        return undefined;
      }
      for (const entry of missed) this.#hold(entry, 'empty', now);
      if (known > 0) return { kind: 'empty', reason: `the source lists nothing: ${this.held} stay` };
      return this.#everSettled ? undefined : { kind: 'empty', reason: 'the source lists nothing' };
    }
    const by = applies || this.#ofAnother ? 'handover' : 'shrunk';
    this.#ofAnother = false;
    const doubtful = missed.length + this.#held.size > known * MOST_MISSING;
    for (const held of this.#held.values()) {
      // The source speaks again: what an empty answer held is judged as any other that is missing.
      if (held.by !== 'empty') continue;
      this.#held.delete(held.entry.url);
      if (doubtful && passes(held.entry.url)) this.#hold(held.entry, by, now);
    }
    if (doubtful) for (const entry of missed) if (passes(entry.url)) this.#hold(entry, by, now);
    if (this.held === 0) return undefined;
    this.#enough = Math.max(this.#enough, known * (1 - MOST_MISSING));
    if (by === 'handover') return undefined;
    return { kind: 'shrunk', reason: `the source lists ${set.size} of ${known}: ${this.held} more stay` };
  }

  #hold(entry: Found, by: Held['by'], now: number): void {
    // What the source said of it is old: our probes alone judge it now.
    const held: Found = { ...entry, leaving: false, readyHint: 'unknown' };
    this.#held.set(entry.url, { entry: held, by, sinceMs: now, passedMs: now });
  }

  #release(now: number, passes: ProbePasses): void {
    if (this.#held.size === 0) {
      this.#enough = 0;
      return;
    }
    const passing = [...this.#listed.keys()].filter(passes).length;
    const replaced = this.#enough > 0 && passing >= this.#enough;
    const handedOver = replaced || passing === this.#listed.size;
    for (const [url, held] of this.#held) {
      if (passes(url)) held.passedMs = now;
      if (this.#isOver(held, now, replaced, handedOver)) this.#held.delete(url);
    }
  }

  #isOver({ by, sinceMs, passedMs }: Held, now: number, replaced: boolean, handedOver: boolean): boolean {
    switch (by) {
      case 'empty':
        return now - passedMs >= HOLD_MS;
      case 'handover':
        return handedOver || now - sinceMs >= GRACE_MS;
      case 'shrunk':
        break;
    }
    const isLong = !this.#policy.hasIdentity && now - sinceMs >= HOLD_MS;
    return replaced || isLong || now - passedMs >= GRACE_MS;
  }
}

/** One entry an address; of several the one that stays. */
function byUrl(set: readonly Found[]): ReadonlyMap<string, Found> {
  const entries = new Map<string, Found>();
  for (const entry of set) {
    const known = entries.get(entry.url);
    if (known === undefined || (known.leaving && !entry.leaving)) entries.set(entry.url, entry);
  }
  return entries;
}

function markOf(set: readonly Found[]): string {
  return set
    .map(
      ({ uid, url, version, weight, leaving, readyHint }) =>
        `${uid} ${url} ${version} ${weight} ${leaving} ${readyHint}`,
    )
    .sort()
    .join('\n');
}
