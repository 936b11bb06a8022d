import { ActiveAxis, type ActivePolicy } from './active-axis.ts';
import { deriveState, opensNew, type Admin, type InstanceState, type Presence } from './instance-state.ts';
import { OutlierDetector, type OutlierPolicy } from './outlier.ts';

/**
 * All that the supervisor knows of one incarnation of an instance: its four axes, and since when what is so.
 *
 * The state is derived from the axes after each change and kept only to notice changes and their age. Born grown: an
 * instance of the first list that passes its first probes has been running before us and gets its full share at once; any
 * fault or order in between makes the next opening a young one.
 */

export interface InstanceSpec {
  readonly url: string;
  readonly version: string;
  /** Above 0. */
  readonly weight: number;
}

/** What a record needs of its service's policy. */
export interface RecordPolicy {
  readonly slowStartMs: number;
  readonly sessionTimeoutMs: number;
  readonly readiness: ActivePolicy;
  readonly outlier: OutlierPolicy;
}

/** Why an instance leaves: its list dropped it, or it said so itself. */
type LeavingBy = 'list' | 'instance';

export class InstanceRecord {
  readonly id: string;
  spec: InstanceSpec;
  readonly active = new ActiveAxis();
  readonly outlier: OutlierDetector;
  admin: Admin = 'enabled';
  presence: Presence = 'present';
  state: InstanceState = 'joining';
  reason = '';
  /** Takes new sessions. */
  open = false;
  keepsPinned = false;
  /** At most one request a worker, after an ejection. */
  trial = false;
  /** May be tried when nothing is open: silent, but enabled and on the list. */
  panic = false;
  stateSince: number;
  /** When it took its first new session in this opening; meaningless while closed. */
  openSince = 0;
  grown = false;
  /** When good traffic was last reported. */
  lastOkAt = -Infinity;
  /** When traffic last counted as a probe's pass. */
  trafficPassAt = -Infinity;
  /** Counts of the window as the fleet last summed them, see `Fleet`. */
  countedFailed = 0;
  countedTotal = 0;
  goneSince = 0;
  #bornGrown: boolean;
  #adminBy = '';
  #adminSince = 0;
  #adminUntil = Infinity;
  #leavingBy: LeavingBy = 'list';
  #leavingSince = 0;
  #quietProbes = 0;
  /** Open, or draining with sessions since it was open. */
  #serving = false;
  /** All that others see, in one string, to notice changes. */
  #face = '';

  constructor(id: string, spec: InstanceSpec, policy: RecordPolicy, bornGrown: boolean, now: number) {
    this.id = id;
    this.spec = spec;
    this.outlier = new OutlierDetector(policy.outlier);
    this.stateSince = now;
    this.#bornGrown = bornGrown;
    this.derive(now, policy);
  }

  /** Sets the operator's axis. `untilMs` is a moment; Infinity for no end. */
  operate(admin: Admin, by: string, now: number, untilMs: number): void {
    if (admin !== this.admin) this.#adminSince = now;
    this.admin = admin;
    this.#adminBy = by;
    this.#adminUntil = untilMs;
  }

  /** Takes over what an operator ordered for an earlier incarnation at this address. */
  inherit(from: InstanceRecord): void {
    this.admin = from.admin;
    this.#adminBy = from.#adminBy;
    this.#adminSince = from.#adminSince;
    this.#adminUntil = from.#adminUntil;
  }

  leave(by: LeavingBy, now: number): void {
    this.#quietProbes = 0;
    if (this.presence === 'present') {
      this.presence = 'leaving';
      this.#leavingSince = now;
      this.#leavingBy = by;
    } else if (by === 'list') this.#leavingBy = by; // off the list weighs more: a probe cannot take it back
  }

  /** It is on the list (again). */
  arrive(): void {
    if (this.presence === 'present' || this.#leavingBy === 'instance') return;
    if (this.presence === 'gone') this.active.restart();
    this.presence = 'present';
  }

  /** A probe was answered without a notice; `rise` of them end what a notice began. */
  quietProbe(rise: number): void {
    if (this.presence === 'present' || this.#leavingBy !== 'instance') return;
    this.#quietProbes++;
    if (this.#quietProbes >= rise) this.presence = 'present';
  }

  /** What time alone changes on the admin and presence axes and in the ejection. */
  tick(now: number, policy: RecordPolicy): void {
    if (now >= this.#adminUntil) {
      this.admin = 'enabled';
      this.#adminUntil = Infinity;
    }
    this.outlier.tick(now);
    if (this.presence !== 'leaving') return;
    if (now - this.#leavingSince < policy.sessionTimeoutMs && !this.active.portClosed) return;
    this.presence = 'gone';
    this.goneSince = now;
  }

  /** True when it is off the list and was gone for `spanMs`. */
  forgettable(now: number, spanMs: number): boolean {
    return this.presence === 'gone' && this.#leavingBy === 'list' && now - this.goneSince >= spanMs;
  }

  /** Since when it drains, or undefined. */
  get drainingSince(): number | undefined {
    const leaving = this.presence === 'leaving' ? this.#leavingSince : Infinity;
    const ordered = this.admin === 'draining' ? this.#adminSince : Infinity;
    const since = Math.min(leaving, ordered);
    return since === Infinity ? undefined : since;
  }

  /** Derives the state from the axes; true when anything that others see has changed. */
  derive(now: number, policy: RecordPolicy): boolean {
    const { active, outlier, presence } = this;
    let state = deriveState(this.admin, presence, active.value, outlier.state, false);
    const open = opensNew(state);
    const since = this.drainingSince;
    const keepsPinned =
      open || (state === 'draining' && since !== undefined && now - since < policy.sessionTimeoutMs);
    if (open && !this.#serving) {
      this.openSince = now;
      this.grown = this.#bornGrown;
    }
    // A drain that is called off while sessions are still served ends nothing: the instance stayed warm.
    this.#serving = open || (this.#serving && keepsPinned);
    if (!this.#serving && state !== 'joining') this.#bornGrown = false;
    const young = !this.grown && now - this.openSince < policy.slowStartMs;
    if (young) state = deriveState(this.admin, presence, active.value, outlier.state, true);
    this.open = open;
    if (state !== this.state) this.stateSince = now;
    this.state = state;
    this.reason = this.#reasonOf(state);
    this.keepsPinned = keepsPinned;
    this.trial = open && outlier.state === 'trial';
    // A closed port is certain: asking there again would only turn a quick 503 into a 502.
    this.panic = state === 'down' && this.admin === 'enabled' && presence === 'present' && !active.portClosed;
    const face = `${state} ${keepsPinned} ${this.trial} ${this.panic} ${since} ${this.spec.weight} ${this.reason}`;
    const changed = face !== this.#face;
    this.#face = face;
    return changed;
  }

  #reasonOf(state: InstanceState): string {
    switch (state) {
      case 'disabled':
        return `disabled by ${this.#adminBy}`;
      case 'gone':
      case 'draining':
        if (this.presence === 'present' || this.admin === 'draining') return `drained by ${this.#adminBy}`;
        return this.#leavingBy === 'list' ? 'removed from the list' : 'the instance says that it drains';
      case 'unready':
      case 'down':
      case 'joining':
      case 'degraded':
        return this.active.reason;
      case 'ejected':
        return this.outlier.reason;
      case 'warming':
        return this.outlier.state === 'trial' ? this.outlier.reason : 'slow start';
      case 'ready':
        break;
    }
    return this.active.held ? this.active.reason : '';
  }

  /** Silent and out of use for it; counts against the governor's share. */
  get silent(): boolean {
    return this.active.value === 'failSilent' && this.presence !== 'gone';
  }
}
