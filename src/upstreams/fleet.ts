import type { Evidence } from '../kernel/evidence.ts';
import type { Random } from '../kernel/random.ts';
import type { ActivePolicy } from './active-axis.ts';
import { FailingChecks, type FailingCheck } from './failing-checks.ts';
import { RemovalGovernor } from './governor.ts';
import {
  byAddress,
  InstanceRecord,
  type Command,
  type InstanceSpec,
  type RecordPolicy,
} from './instance-record.ts';
import type { InstanceState } from './instance-state.ts';
import type { Company, OutlierPolicy } from './outlier.ts';
import type { PassiveReport } from './passive-slice.ts';
import { SharedFault } from './shared-fault.ts';
import {
  emptyCounts,
  serviceVerdict,
  summaryOf,
  type InstanceCounts,
  type ServiceState,
} from './service-state.ts';

/**
 * All instances of one service on all their axes: the supervisor's side.
 *
 * Signal: the list, probes, the workers' reports, operators, time. Decision: which instances take new sessions, which keep
 * theirs, and why; given out as a complete picture that workers follow. Why in one place: a worker sees a part of the
 * traffic and no probes; ten workers that each eject "at most a third" would eject everything.
 * Cold start: `joining`, no traffic before a first pass. Idle gap: probes go on. Recovery: by the axes' own rules; when
 * nothing is open, ejections end at once, since a bad instance on trial is more than none.
 */

export interface FleetPolicy extends RecordPolicy {
  readonly service: string;
  /** Undefined: discovery lists them, see `discover`. */
  readonly instances: readonly InstanceSpec[] | undefined;
  readonly slowStartMs: number;
  readonly sessionTimeoutMs: number;
  readonly readiness: ActivePolicy;
  readonly outlier: OutlierPolicy;
  /** An instance whose only fault is a dependency that is blamed serves on. */
  readonly servesBlamed: boolean;
}

/** What workers and `/v1/services` see of an instance. Ages, never moments: it crosses processes. */
export interface InstanceView {
  /** `host:port` */
  readonly id: string;
  readonly url: string;
  /** Discovery's name of this life of it; empty where there is none. */
  readonly uid: string;
  readonly version: string;
  /** Order in which the fleet first saw the version; the newest is the largest. */
  readonly versionSeq: number;
  readonly weight: number;
  readonly state: InstanceState;
  readonly reason: string;
  readonly opensNew: boolean;
  readonly keepsPinned: boolean;
  /** At most one request a worker, after an ejection. */
  readonly trial: boolean;
  /** May be tried when nothing is open: silent, but enabled and on the list. */
  readonly panic: boolean;
  /** `panic`, and what its probes get is a timeout: may be tried while few are open. */
  readonly timedOut: boolean;
  /** Age of this opening; -1 born grown; 0 while closed. */
  readonly readyForMs: number;
  /** Age of the drain; -1 while it does not drain. */
  readonly drainForMs: number;
  readonly stateSinceMs: number;
}

export interface FleetState {
  readonly state: ServiceState;
  readonly reason: string;
  /** Age of `state`. */
  readonly sinceMs: number;
  readonly counts: InstanceCounts;
  readonly failingChecks: readonly FailingCheck[];
}

/** A gone instance and its metric series end this long after. Half: a slow scrape misses it; double: a longer list. */
export const FORGET_MS = 600_000;

export class Fleet {
  #policy: FleetPolicy;
  readonly #random: Random;
  readonly #records = new Map<string, InstanceRecord>();
  readonly #governor = new RemovalGovernor();
  readonly #checks = new FailingChecks();
  readonly #others = new SharedFault(this.#records);
  #sequence = 0;
  #versions = 0;
  #state: ServiceState = 'unknown';
  #reason = '';
  #stateSince: number;
  #counts = emptyCounts();
  #everOpen = false;

  /** @param firstList the policy's instances were there before the gateway: they get their full share at once */
  constructor(policy: FleetPolicy, random: Random, now: number, firstList: boolean) {
    this.#policy = policy;
    this.#random = random;
    this.#stateSince = now;
    if (policy.instances === undefined) this.#reason = 'discovery has found no instances';
    else this.#list(policy.instances, now, firstList);
  }

  /**
   * Takes a new policy and list. The same incarnation (address, version and discovery's uid) keeps all; one that is missing
   * leaves. Without a list, what discovery said last stays.
   */
  configure(policy: FleetPolicy, now: number): void {
    this.#policy = policy;
    for (const record of this.#records.values()) {
      record.outlier.configure(policy.outlier);
      record.tolerate(this.#isBlamed);
    }
    if (policy.instances !== undefined) this.#list(policy.instances, now, false);
  }

  /**
   * Takes the full set that discovery found, in place of the policy's list.
   * @param firstList as of the constructor
   */
  discover(specs: readonly InstanceSpec[], now: number, firstList: boolean): void {
    this.#list(specs, now, firstList);
  }

  /** Nothing is left at this instance, all workers say: one that leaves is gone. */
  idle(id: string, now: number): void {
    const record = this.#records.get(id);
    if (this.#policy.servesPages !== true && record?.idle(now) === true) this.#settle(record, now);
  }

  /** True while the last word of its probes is a good one. */
  probePasses(id: string): boolean {
    return this.#records.get(id)?.active.passing ?? false;
  }

  /**
   * Takes what a probe says. An unknown id is ignored: the list is newer.
   * @returns true when traffic contradicts it
   */
  probe(id: string, evidence: Evidence, now: number): boolean {
    const record = this.#records.get(id);
    if (record === undefined) return false;
    const { readiness } = this.#policy;
    const contradicted = record.weigh(evidence, readiness, now);
    if (evidence.kind === 'drain') record.probeNotice(now);
    if (evidence.kind === 'pass' || evidence.kind === 'warn') record.quietProbe(readiness.rise, now);
    if (!contradicted) this.#active(record, evidence, now);
    this.#judgeChecks(evidence.failingChecks.length > 0, now);
    record.tolerate(this.#isBlamed);
    record.tick(now, this.#policy);
    this.#settle(record, now);
    return contradicted;
  }

  /** Takes a worker's report on one instance. */
  passive(id: string, report: PassiveReport, now: number): void {
    const record = this.#records.get(id);
    if (record === undefined) return;
    if (report.ok > 0) {
      record.lastOkAt = now;
      this.#trafficPass(record, now);
    }
    if (report.drains) record.noticed(now);
    this.#others.take(record, report, now);
    record.outlier.take(report, now, this.#random, this.#companyOf(record));
    this.#settle(record, now);
  }

  /**
   * Carries out an operator's command. `drain` and `disable` end after `ttlMs`, if given.
   * @returns false when there is no such instance
   */
  operate(id: string, command: Command, ttlMs: number | undefined, by: string, now: number): boolean {
    const record = this.#records.get(id);
    if (record === undefined) return false;
    const until = ttlMs === undefined || command === 'enable' ? Infinity : now + ttlMs;
    record.operate(command, by, now, until);
    this.#settle(record, now);
    return true;
  }

  /** What time alone changes: ends of drains, holds, ejections, slow starts, orders; held removals. A few times a second. */
  tick(now: number): void {
    const { readiness } = this.#policy;
    let changed = false;
    for (const [id, record] of this.#records) {
      const { isOut } = record.active;
      record.tick(now, this.#policy);
      if (record.outlier.suspected(now)) record.outlier.settle(now, this.#random, this.#companyOf(record));
      this.#holdOut(record);
      record.active.settle(now, readiness, () => this.#mayRemove(now));
      this.#afterChange(record, isOut, now);
      if (record.derive(now, this.#policy)) changed = true;
      if (record.forgettable(now, FORGET_MS)) {
        this.#records.delete(id);
        changed = true;
      }
    }
    if (changed) this.#changed(now);
    this.#judgeChecks(false, now);
  }

  /** Grows with each change that others can see. */
  get sequence(): number {
    return this.#sequence;
  }

  /** The instances to probe: also leaving ones, until they are gone from the list. */
  probed(): readonly { readonly id: string; readonly url: string }[] {
    const listed = [...this.#records.values()].filter((record) => !record.forgettable(Infinity, 0));
    return listed.map(({ id, spec }) => ({ id, url: spec.url }));
  }

  /** Also while it is gone, until it is forgotten. */
  knows(id: string): boolean {
    return this.#records.has(id);
  }

  views(now: number): InstanceView[] {
    return [...this.#records.values()].map((record) => viewOf(record, now));
  }

  /** The service by its own instances. */
  state(now: number): FleetState {
    return {
      state: this.#state,
      reason: this.#reason,
      sinceMs: now - this.#stateSince,
      counts: { ...this.#counts },
      failingChecks: this.#checks.list(now),
    };
  }

  #list(specs: readonly InstanceSpec[], now: number, bornGrown: boolean): void {
    const listed = byAddress(specs);
    let changed = false;
    for (const [id, spec] of listed) {
      const known = this.#records.get(id);
      if (known?.isOf(spec) === true) {
        known.arrive(spec, now);
        known.active.settle(now, this.#policy.readiness, () => this.#mayRemove(now));
        continue;
      }
      const record = new InstanceRecord(
        id,
        spec,
        this.#versionSeq(spec.version),
        this.#policy,
        bornGrown,
        now,
      );
      if (known !== undefined) record.inherit(known);
      this.#records.set(id, record);
      changed = true;
    }
    for (const [id, record] of this.#records) if (!listed.has(id)) record.leave('list', now);
    for (const record of this.#records.values()) if (record.derive(now, this.#policy)) changed = true;
    if (changed) this.#changed(now);
  }

  /** That of the version's instances, or one more than any: a version that was forgotten and comes back is the newest. */
  #versionSeq(version: string): number {
    for (const { spec, versionSeq } of this.#records.values())
      if (spec.version === version) return versionSeq;
    return ++this.#versions;
  }

  #active(record: InstanceRecord, evidence: Evidence, now: number): void {
    const { isOut } = record.active;
    this.#holdOut(record);
    record.active.take(evidence, now, this.#policy.readiness, () => this.#mayRemove(now));
    this.#afterChange(record, isOut, now);
  }

  /** One that flaps is held out, but never the last. */
  #holdOut(record: InstanceRecord): void {
    const { holdMs } = record.flaps;
    record.active.extraHoldMs = holdMs > 0 && this.#others.someOpen(record) ? holdMs : 0;
  }

  #afterChange(record: InstanceRecord, wasOut: boolean, now: number): void {
    const { isOut } = record.active;
    if (isOut === wasOut) return;
    if (isOut) {
      if (!record.isExpectedToGo && !this.#checks.anyBlamed) record.flaps.left(now);
      return;
    }
    record.flaps.back(now);
    // A port that answers again is another process, or a mended one: its ejection gives way to a trial.
    record.outlier.release();
  }

  readonly #isBlamed = (check: string): boolean => this.#policy.servesBlamed && this.#checks.isBlamed(check);

  /** Whose fault the checks are that fail, after an answer. */
  #judgeChecks(namesAny: boolean, now: number): void {
    if (!namesAny && this.#checks.isEmpty) return;
    const { intervalMs } = this.#policy.readiness;
    const { begun, ended } = this.#checks.take(this.#records.values(), now, intervalMs);
    if (begun.length === 0 && !ended) return;
    let changed = false;
    for (const record of this.#records.values()) {
      const names = record.active.failingChecks;
      if (begun.some((check) => names.includes(check))) record.flaps.forgive(now - 2 * intervalMs);
      record.tolerate(this.#isBlamed);
      if (record.derive(now, this.#policy)) changed = true;
    }
    if (changed) this.#changed(now);
  }

  /** Traffic through a silent instance (panic) that goes well counts as one pass an interval. */
  #trafficPass(record: InstanceRecord, now: number): void {
    const { intervalMs } = this.#policy.readiness;
    if (record.active.value !== 'failSilent') return;
    // Not in the first interval: those are answers to requests of before.
    if (now - record.stateSince < intervalMs || now - record.trafficPassAt < intervalMs) return;
    record.trafficPassAt = now;
    this.#active(record, { kind: 'pass', reason: '', failingChecks: [], refused: false }, now);
  }

  #mayRemove(now: number): boolean {
    let instances = 0;
    let silent = 0;
    for (const record of this.#records.values()) {
      if (record.presence === 'gone') continue;
      instances++;
      if (record.silent) silent++;
    }
    return this.#governor.take(instances, silent, now);
  }

  #companyOf(suspect: InstanceRecord): Company {
    return {
      inWindow: (now) => this.#others.inWindow(suspect, now),
      between: (from, to, now) => this.#others.between(suspect, from, to, now),
      heardSince: (from) => this.#others.heardSince(suspect, from),
      mayEject: () =>
        !this.#checks.anyBlamed && this.#others.mayEject(suspect, this.#policy.outlier.maxEjectedRatio),
    };
  }

  #settle(record: InstanceRecord, now: number): void {
    if (record.derive(now, this.#policy)) this.#changed(now);
  }

  #changed(now: number): void {
    this.#sequence++;
    this.#releaseIfAlone(now);
    const { counts, someOpen, commonReason } = summaryOf(this.#records.values());
    if (someOpen) this.#everOpen = true;
    this.#counts = counts;
    const verdict = serviceVerdict(counts, this.#everOpen, commonReason);
    if (verdict.state !== this.#state) this.#stateSince = now;
    this.#state = verdict.state;
    this.#reason = verdict.reason;
  }

  /** Nothing open: every ejection ends with a trial, since a bad answer now and then is more than none. */
  #releaseIfAlone(now: number): void {
    for (const record of this.#records.values()) if (record.open) return;
    for (const record of this.#records.values()) {
      if (record.state !== 'ejected' || record.admin !== 'enabled' || record.presence !== 'present') continue;
      record.outlier.release();
      record.derive(now, this.#policy);
    }
  }
}

function viewOf(record: InstanceRecord, now: number): InstanceView {
  const { state, spec, open } = record;
  const draining = record.drainingSince;
  return {
    id: record.id,
    url: spec.url,
    uid: spec.uid ?? '',
    version: spec.version,
    versionSeq: record.versionSeq,
    weight: spec.weight,
    state,
    reason: record.reason,
    opensNew: open,
    keepsPinned: record.keepsPinned,
    trial: record.trial,
    panic: record.panic,
    timedOut: record.timedOut,
    readyForMs: open ? (record.grown ? -1 : now - record.openSince) : 0,
    drainForMs: draining === undefined ? -1 : now - draining,
    stateSinceMs: now - record.stateSince,
  };
}
