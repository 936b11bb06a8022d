import type { Evidence } from '../kernel/evidence.ts';
import { ActiveAxis, type ActivePolicy } from './active-axis.ts';
import { deriveState, opensNew, type Admin, type InstanceState, type Presence } from './instance-state.ts';
import { FlapHold } from './flap-hold.ts';
import { instanceId } from './instance-id.ts';
import { OutlierDetector, type OutlierPolicy } from './outlier.ts';
import { RecentOutcomes } from './recent-outcomes.ts';

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
  /** What discovery calls this life of it; another one at the same address is another incarnation. Static: none. */
  readonly uid?: string;
  /** Still listed, but about to end: no new sessions. */
  readonly leaving?: boolean;
  /** What discovery says of its readiness: `notReady` is silence, which the governor bounds; the probe must agree with `ready`. */
  readonly readyHint?: 'ready' | 'notReady' | 'unknown';
}

/** What a record needs of its service's policy. */
export interface RecordPolicy {
  readonly slowStartMs: number;
  readonly sessionTimeoutMs: number;
  /** It serves for all of that time: who has a page of it asks for parts without anybody knowing beforehand. */
  readonly servesPages?: boolean;
  readonly readiness: ActivePolicy;
  readonly outlier: OutlierPolicy;
}

/** Why an instance leaves: its list dropped it, discovery says that it ends, or it said so itself. */
type LeavingBy = 'list' | 'discovery' | 'instance';

/** What an operator's command makes of the admin axis. */
const ORDERED = { drain: 'draining', enable: 'enabled', disable: 'disabled' } as const;
export type Command = keyof typeof ORDERED;

const LEAVING_WORDS: Readonly<Record<LeavingBy, string>> = {
  list: 'removed from the list',
  discovery: 'discovery says that it ends',
  instance: 'the instance says that it drains',
};

/**
 * How long a notice on an answer stands against probes that never told of it: its probe may be another program's, and a
 * drained instance has no answers left to say it with. Half: it returns while it still shuts down; double: a process that
 * was replaced within a probe's interval is kept out for most of a minute.
 */
const NOTICE_MS = 10_000;
/**
 * Since it leaves, until "nothing is left there" is believed. Half: the reports of a second are older than the news that it
 * leaves, and a request that was just sent there is not in them; double: an empty instance is shown as draining for longer.
 */
const IDLE_AFTER_MS = 2500;
/**
 * How long an answer to a request clears one that is out of use of the silence of its probes. Half: at one try a second the
 * passes do not add up; double: nothing, since who is out returns by answers alone.
 */
const TRIED_MS = 2000;

export class InstanceRecord {
  readonly id: string;
  spec: InstanceSpec;
  /** Order in which the fleet first saw its version; the newest is the largest. */
  readonly versionSeq: number;
  active = new ActiveAxis();
  readonly outlier: OutlierDetector;
  readonly flaps = new FlapHold();
  /** Its no is about nothing but what lies behind all instances, and the service serves on. */
  tolerated = false;
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
  /** `panic`, and what its probes get is a timeout: may be tried while few are open. */
  timedOut = false;
  stateSince: number;
  /** When it took its first new session in this opening; meaningless while closed. */
  openSince = 0;
  grown = false;
  /** When good traffic was last reported. */
  lastOkAt = -Infinity;
  /** When traffic last counted as a probe's pass. */
  trafficPassAt = -Infinity;
  /** Reports while it was open, and the moment of the last, see `SharedFault`. */
  readonly recent = new RecentOutcomes();
  lastReportAt = -Infinity;
  /** Counts of the window as they were last summed, see `SharedFault`. */
  countedFailed = 0;
  countedOk = 0;
  goneSince = 0;
  #bornGrown: boolean;
  #adminBy = '';
  #adminSince = 0;
  #adminUntil = Infinity;
  #leavingBy: LeavingBy = 'list';
  #leavingSince = 0;
  #noticedAt = -Infinity;
  /** The last word of its probes was none. */
  #probesTimeOut = false;
  /** Its probes are to be believed of its end: they told of it, or its port was closed since. */
  #probesTell = false;
  #quietProbes = 0;
  /** Open, or draining with sessions since it was open. */
  #serving = false;
  /** All that others see, in one string, to notice changes. */
  #face = '';

  constructor(
    id: string,
    spec: InstanceSpec,
    versionSeq: number,
    policy: RecordPolicy,
    bornGrown: boolean,
    now: number,
  ) {
    this.id = id;
    this.spec = spec;
    this.versionSeq = versionSeq;
    this.outlier = new OutlierDetector(policy.outlier);
    this.stateSince = now;
    this.#bornGrown = bornGrown;
    this.arrive(spec, now);
    this.derive(now, policy);
  }

  /** The same incarnation: address, discovery's name of it, and version. */
  isOf(spec: InstanceSpec): boolean {
    return this.#isAt(spec) && this.spec.version === spec.version;
  }

  /**
   * A name that one side does not have says nothing: a file whose list gives way to discovery, or the reverse, must not have
   * everybody join anew.
   */
  #isAt({ url, uid = '' }: InstanceSpec): boolean {
    const own = this.spec.uid ?? '';
    return this.spec.url === url && (own === uid || own === '' || uid === '');
  }

  /** Sets the operator's axis. `untilMs` is a moment; Infinity for no end. */
  operate(command: Command, by: string, now: number, untilMs: number): void {
    const admin = ORDERED[command];
    if (admin !== this.admin) this.#adminSince = now;
    this.admin = admin;
    this.#adminBy = by;
    this.#adminUntil = untilMs;
  }

  /**
   * Takes over what an operator ordered for an earlier incarnation at this address, and what probes say of it where only the
   * version has another name: whoever names a version that runs already must not be without an instance until they ask again.
   */
  inherit(from: InstanceRecord): void {
    this.admin = from.admin;
    this.#adminBy = from.#adminBy;
    this.#adminSince = from.#adminSince;
    this.#adminUntil = from.#adminUntil;
    if (from.presence === 'gone' || !from.#isAt(this.spec)) return;
    this.active = from.active;
    this.active.hint(this.spec.readyHint === 'notReady');
    this.openSince = from.openSince;
    this.grown = from.grown;
    this.#serving = from.#serving;
    this.#bornGrown = from.#bornGrown;
  }

  leave(by: LeavingBy, now: number): void {
    this.#quietProbes = 0;
    if (this.presence === 'present') {
      this.presence = 'leaving';
      this.#leavingSince = now;
      this.#leavingBy = by;
    } else if (by !== 'instance') this.#leavingBy = by; // what the list says weighs more: a probe cannot take it back
  }

  /** No session, request or stream is left there; true when it is gone therefore. */
  idle(now: number): boolean {
    if (this.presence !== 'leaving' || now - this.#leavingSince < IDLE_AFTER_MS) return false;
    this.presence = 'gone';
    this.goneSince = now;
    return true;
  }

  /** The same incarnation is on the list (again). */
  arrive(spec: InstanceSpec, now: number): void {
    this.spec = spec;
    this.active.hint(spec.readyHint === 'notReady');
    if (spec.leaving === true) {
      this.leave('discovery', now);
      return;
    }
    if (this.presence === 'present' || this.#leavingBy === 'instance') return;
    if (this.presence === 'gone') this.active.restart();
    this.presence = 'present';
  }

  /** A probe says that it drains. */
  probeNotice(now: number): void {
    this.leave('instance', now);
    this.#probesTell = true;
  }

  /** An answer to a request says that it drains. */
  noticed(now: number): void {
    this.#noticedAt = now;
    this.leave('instance', now);
  }

  /** A probe was answered without a notice; `rise` of them end what a notice began. */
  quietProbe(rise: number, now: number): void {
    if (this.presence === 'present' || this.#leavingBy !== 'instance') return;
    if (!this.#probesTell && now - this.#noticedAt < NOTICE_MS) return;
    this.#quietProbes++;
    if (this.#quietProbes < rise) return;
    this.presence = 'present';
    this.#probesTell = false;
  }

  /**
   * Notes what a probe says. @returns true when traffic contradicts it: that says more than a probe that does not come back
   */
  weigh(evidence: Evidence, { timeoutMs, intervalMs }: ActivePolicy, now: number): boolean {
    if (evidence.kind !== 'void') this.#probesTimeOut = evidence.timedOut === true;
    // A closed port is another matter: what goes well there are connections of before.
    if (evidence.kind !== 'absent' || evidence.refused) return false;
    const okForMs = now - this.lastOkAt;
    // Who was answered while the probe waited counts; over a whole interval a process that was stopped would be believed
    // for one probe more.
    if (okForMs < Math.min(timeoutMs, intervalMs)) return true;
    return this.active.value === 'failSilent' && okForMs < TRIED_MS;
  }

  /** What time alone changes on the admin and presence axes and in the ejection. */
  tick(now: number, policy: RecordPolicy): void {
    if (now >= this.#adminUntil) {
      this.admin = 'enabled';
      this.#adminUntil = Infinity;
    }
    this.outlier.tick(now);
    if (this.presence !== 'leaving') return;
    // Who passes after that is another process.
    if (this.active.portClosed) this.#probesTell = true;
    if (now - this.#leavingSince < policy.sessionTimeoutMs && !this.active.portClosed) return;
    this.presence = 'gone';
    this.goneSince = now;
  }

  /** An order, its list or a notice has announced that it goes: a deploy, however often, is no flapping. */
  get isExpectedToGo(): boolean {
    return this.presence !== 'present' || this.admin !== 'enabled';
  }

  /** Judges its no anew; while it comes back from one, it stays what it was. */
  tolerate(isBlamed: (check: string) => boolean): void {
    const { value, passing, failingChecks } = this.active;
    if (value !== 'failExplicit') this.tolerated = false;
    else if (!passing) this.tolerated = failingChecks.length > 0 && failingChecks.every(isBlamed);
  }

  /** True when it is off the list and was gone for `spanMs`. */
  forgettable(now: number, spanMs: number): boolean {
    return this.presence === 'gone' && this.#leavingBy === 'list' && now - this.goneSince >= spanMs;
  }

  /** Since when it drains, or undefined. One that is gone still does: streams that it left behind have their own time. */
  get drainingSince(): number | undefined {
    const leaving = this.presence === 'present' ? Infinity : this.#leavingSince;
    const ordered = this.admin === 'draining' ? this.#adminSince : Infinity;
    const since = Math.min(leaving, ordered);
    return since === Infinity ? undefined : since;
  }

  /** Derives the state from the axes; true when anything that others see has changed. */
  derive(now: number, policy: RecordPolicy): boolean {
    const { active, outlier, presence } = this;
    const said = this.tolerated && active.value === 'failExplicit' ? 'warn' : active.value;
    let state = deriveState(this.admin, presence, said, outlier.state, false);
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
    if (young) state = deriveState(this.admin, presence, said, outlier.state, true);
    this.open = open;
    if (state !== this.state) this.stateSince = now;
    this.state = state;
    this.reason = this.#reasonOf(state);
    this.keepsPinned = keepsPinned;
    this.trial = open && outlier.state === 'trial';
    // A closed port is certain: asking there again would only turn a quick 503 into a 502.
    this.panic = state === 'down' && this.admin === 'enabled' && presence === 'present' && !active.portClosed;
    // Both must agree: where discovery says that it is not ready, answers bring nobody back.
    this.timedOut = this.panic && this.#probesTimeOut && this.spec.readyHint !== 'notReady';
    const face = `${state} ${keepsPinned} ${this.trial} ${this.panic} ${this.timedOut} ${since} ${this.spec.weight} ${this.spec.uid} ${this.reason}`;
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
        return LEAVING_WORDS[this.#leavingBy];
      case 'unready':
      case 'down':
      case 'joining':
      case 'degraded':
        return this.active.reason;
      case 'ejected':
        return this.outlier.reason;
      case 'warming':
      case 'ready':
        break;
    }
    if (this.active.held) return this.active.reason;
    if (state === 'ready') return '';
    return this.outlier.state === 'trial' ? this.outlier.reason : 'slow start';
  }

  /** Silent and out of use for it; counts against the governor's share. */
  get silent(): boolean {
    return this.active.value === 'failSilent' && this.presence !== 'gone';
  }
}

/** One spec an address: the first, but one that stays before one that leaves (an address that changes hands). */
export function byAddress(specs: readonly InstanceSpec[]): ReadonlyMap<string, InstanceSpec> {
  const listed = new Map<string, InstanceSpec>();
  for (const spec of specs) {
    const id = instanceId(spec.url);
    const known = listed.get(id);
    // Two of a configuration are reported by its check.
    if (known === undefined || (known.leaving === true && spec.leaving !== true)) listed.set(id, spec);
  }
  return listed;
}
