/** A second set of books for an admission: who holds, who waits, who heard what; each event is checked against them. */
import type { PriorityRank } from '../../src/kernel/priority.ts';
import type { Random } from '../../src/kernel/random.ts';
import type { Admission, Admittee } from '../../src/shedding/admission.ts';
import type { AdmissionPolicy } from '../../src/shedding/policy.ts';
import type { HeadOutcome, Permit } from '../../src/shedding/permit.ts';
import type { Share } from '../../src/shedding/siblings.ts';

/** Permits that a critical request finds beyond the lower classes' (overdraft.ts). */
const MORE = 3;
const LEAST = 2;
/** One in fifty leaves again inside its verdict. */
const AT_ONCE = 0.02;

export class Guest implements Admittee {
  readonly rank: PriorityRank;
  readonly deadlineMs: number;
  readonly #ledger: Ledger;
  verdicts = 0;
  left = false;
  permit: Permit | undefined;
  /** Where it stands among the holders. */
  place = -1;
  stream = false;
  attemptAtMs = Number.NaN;
  /** Some attempt of it has ended. */
  answered = false;
  /** Its last attempt has ended and no other has begun. */
  flowing = false;

  constructor(ledger: Ledger, rank: PriorityRank, deadlineMs: number) {
    this.#ledger = ledger;
    this.rank = rank;
    this.deadlineMs = deadlineMs;
  }

  admitted(permit: Permit): void {
    this.#ledger.granted(this, permit);
  }

  shed(): void {
    this.#ledger.refused += 1;
    this.#ledger.heard(this);
  }

  wouldShed(): void {
    this.#ledger.wouldShed += 1;
  }
}

export class Ledger {
  readonly gate: Admission;
  now = 0;
  entered = 0;
  admitted = 0;
  /** Critical requests admitted past the limit. */
  beyond = 0;
  refused = 0;
  wouldShed = 0;
  /** Whatever was wrong, in words; empty at the end. */
  readonly faults: string[] = [];
  readonly #everybody: Guest[] = [];
  readonly #holders: Guest[] = [];
  readonly #waiting = new Set<Guest>();
  readonly #chance: Random;
  #policy: AdmissionPolicy;
  #streams = 0;
  #flowing = 0;
  #critical = 0;
  /** Of lower classes in other workers, as told last. */
  #lowerElsewhere = 0;
  /** Attempts × ms of those that have ended, and what the admission told. */
  #areaMs = 0;
  #toldAreaMs = 0;

  constructor(gate: Admission, policy: AdmissionPolicy, chance: Random) {
    this.gate = gate;
    this.#policy = policy;
    this.#chance = chance;
  }

  /** Those who did not hear exactly one verdict, or none when they left. */
  get misheard(): number {
    return this.#everybody.filter((guest) => guest.verdicts !== (guest.left ? 0 : 1)).length;
  }

  enter(rank: PriorityRank, patienceMs: number): void {
    const guest = new Guest(this, rank, this.now + patienceMs);
    this.entered += 1;
    this.#everybody.push(guest);
    this.#waiting.add(guest);
    this.gate.enter(guest, this.now);
  }

  /** One who waits goes away. */
  leave(): void {
    for (const guest of this.#waiting) {
      guest.left = true;
      this.#waiting.delete(guest);
      this.gate.leave(guest, this.now);
      return;
    }
  }

  heard(guest: Guest): void {
    guest.verdicts += 1;
    if (guest.left) this.faults.push('a verdict after leaving');
    if (guest.verdicts > 1) this.faults.push('a second verdict');
    this.#waiting.delete(guest);
  }

  granted(guest: Guest, permit: Permit): void {
    this.heard(guest);
    this.admitted += 1;
    guest.permit = permit;
    guest.place = this.#holders.length;
    this.#holders.push(guest);
    if (guest.rank === 0) this.#critical += 1;
    if (this.#policy.mode === 'enforce') this.#judge(guest.rank);
    if (this.#chance() < AT_ONCE) this.release(guest);
  }

  /** One of the holders, rather an early one. */
  holder(random: Random): Guest | undefined {
    const early = this.#holders.length > 8 && random() < 0.5 ? 8 : this.#holders.length;
    return this.#holders[Math.floor(random() * early)];
  }

  attempt(guest: Guest): void {
    this.#ended(guest);
    this.#flows(guest, false);
    guest.attemptAtMs = this.now;
    guest.permit?.attempt(this.now);
  }

  head(guest: Guest, outcome: HeadOutcome): void {
    // What failed may be tried again, and keeps its place for that.
    const answers = outcome === 'sample' || outcome === 'ignored';
    if (answers && !Number.isNaN(guest.attemptAtMs)) this.#flows(guest, true);
    this.#ended(guest);
    guest.permit?.head(this.now, outcome);
  }

  upgrade(guest: Guest): void {
    if (!guest.stream) {
      this.#ended(guest);
      this.#flows(guest, false);
      this.#streams += 1;
      if (guest.rank === 0) this.#critical -= 1;
      guest.stream = true;
    }
    guest.permit?.asStream(this.now);
  }

  release(guest: Guest): void {
    const { permit } = guest;
    const last = this.#holders.pop();
    if (last !== undefined && last !== guest) {
      this.#holders[guest.place] = last;
      last.place = guest.place;
    }
    this.#ended(guest);
    this.#flows(guest, false);
    if (guest.stream) this.#streams -= 1;
    else if (guest.rank === 0) this.#critical -= 1;
    if (permit?.release(this.now) !== true) this.faults.push('a held permit was not given back');
    if (permit?.release(this.now) !== false) this.faults.push('a permit was given back twice');
    // Nothing that comes later counts.
    permit?.attempt(this.now);
    permit?.head(this.now, 'sample');
    permit?.asStream(this.now);
  }

  hear(share: Share): void {
    this.#lowerElsewhere = share.inFlight - share.critical;
    this.gate.hear(share, this.now);
  }

  tell(): Share {
    const share = this.gate.share(this.now);
    // Whose answer flows already is not told of: it waits for no service.
    const inFlight = this.#holders.length - this.#streams - this.#flowing;
    this.#toldAreaMs += share.awaitingAreaMs;
    if (share.inFlight !== inFlight || share.critical !== this.#critical)
      this.faults.push(`told ${share.critical} of ${share.inFlight}, held ${this.#critical} of ${inFlight}`);
    if (share.ended < 0 || share.awaitingAreaMs < 0) this.faults.push('told less than nothing');
    if (!(share.limit >= 1)) this.faults.push(`told a limit of ${share.limit}`);
    return share;
  }

  setCeiling(maxInFlight: number): void {
    this.#policy = { ...this.#policy, maxInFlight };
    this.gate.setCeiling(maxInFlight, this.now);
  }

  configure(change: Partial<AdmissionPolicy>): void {
    this.#policy = { ...this.#policy, ...change };
    this.gate.configure(this.#policy, this.now);
  }

  check(): void {
    const view = this.gate.view(this.now);
    if (view.inFlight !== this.#holders.length - this.#streams || view.streams !== this.#streams)
      this.faults.push(`in flight ${view.inFlight}, held ${this.#holders.length}, streams ${view.streams}`);
    if (view.queueDepth !== this.#waiting.size)
      this.faults.push(`depth ${view.queueDepth}, waiting ${this.#waiting.size}`);
    if (view.queueByRank.some((n) => n < 0)) this.faults.push('a line of negative length');
    if (!(view.limit >= 1)) this.faults.push(`limit ${view.limit}`);
  }

  /** Everybody who holds a permit gives it back, whoever still waits hears or leaves; then there is nothing left. */
  end(): void {
    for (let round = 0; round < 10_000 && this.#holders.length + this.#waiting.size > 0; round += 1) {
      this.now += 5;
      for (let guest = this.#holders[0]; guest !== undefined; guest = this.#holders[0]) this.release(guest);
      this.gate.tick(this.now);
    }
    this.check();
    const share = this.tell();
    if (share.inFlight !== 0 || share.critical !== 0 || share.criticalWaiting !== 0)
      this.faults.push(`left over: ${JSON.stringify(share)}`);
    this.now += 1000;
    // Nobody is awaited any more, and all that ever was came to the same attempts × ms.
    if (this.tell().awaitingAreaMs !== 0) this.faults.push('somebody is awaited for ever');
    if (Math.abs(this.#toldAreaMs - this.#areaMs) > 1e-6 * (1 + this.#areaMs))
      this.faults.push(`attempts of ${this.#areaMs} ms in all, told ${this.#toldAreaMs}`);
  }

  /** Asked inside the verdict: this one is counted already. */
  #judge(rank: PriorityRank): void {
    const { maxInFlight } = this.#policy;
    const auto = this.#policy.limit === 'auto';
    const inFlight = this.#holders.length - this.#streams;
    if (maxInFlight > 0 && inFlight + this.#streams > maxInFlight)
      this.faults.push(`${inFlight} and ${this.#streams} streams past the caps of ${maxInFlight}`);
    // A found limit counts those who wait for the service, a given one all.
    const counted = auto ? inFlight - this.#flowing : inFlight;
    const held = this.#streams + (auto ? this.#flowing : 0);
    const { limit } = this.gate.view(this.now);
    const allowance = maxInFlight > 0 ? Math.min(limit, Math.max(0, maxInFlight - held)) : limit;
    if (counted <= allowance) return;
    const lower = inFlight - this.#flowing - this.#critical + this.#lowerElsewhere;
    const most =
      auto && rank === 0 ? allowance + Math.min(lower + MORE, Math.max(LEAST, allowance)) : allowance;
    if (counted > most)
      this.faults.push(`rank ${rank}: ${counted} admitted of ${allowance}, at most ${most}`);
    this.beyond += 1;
  }

  #ended(guest: Guest): void {
    if (Number.isNaN(guest.attemptAtMs)) return;
    this.#areaMs += this.now - guest.attemptAtMs;
    guest.attemptAtMs = Number.NaN;
    guest.answered = true;
  }

  #flows(guest: Guest, flowing: boolean): void {
    if (guest.flowing === flowing || (flowing && guest.stream)) return;
    guest.flowing = flowing;
    this.#flowing += flowing ? 1 : -1;
    if (guest.rank === 0) this.#critical -= flowing ? 1 : -1;
  }
}
