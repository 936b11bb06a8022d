import type { Evidence } from '../kernel/evidence.ts';
import type { Random } from '../kernel/random.ts';
import type { ActivePolicy } from './active-axis.ts';
import { FailingChecks, type FailingCheck } from './failing-checks.ts';
import { RemovalGovernor } from './governor.ts';
import { instanceId } from './instance-id.ts';
import { InstanceRecord, type InstanceSpec, type RecordPolicy } from './instance-record.ts';
import { isFault, opensNew, type InstanceState } from './instance-state.ts';
import type { OutlierPolicy } from './outlier.ts';
import type { PassiveReport } from './passive-slice.ts';
import { emptyCounts, serviceVerdict, type InstanceCounts, type ServiceState } from './service-state.ts';

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
  readonly instances: readonly InstanceSpec[];
  readonly slowStartMs: number;
  readonly sessionTimeoutMs: number;
  readonly readiness: ActivePolicy;
  readonly outlier: OutlierPolicy;
}

/** What workers and `/v1/services` see of an instance. Ages, never moments: it crosses processes. */
export interface InstanceView {
  /** `host:port` */
  readonly id: string;
  readonly url: string;
  readonly version: string;
  readonly weight: number;
  readonly state: InstanceState;
  readonly reason: string;
  readonly opensNew: boolean;
  readonly keepsPinned: boolean;
  /** At most one request a worker, after an ejection. */
  readonly trial: boolean;
  /** May be tried when nothing is open: silent, but enabled and on the list. */
  readonly panic: boolean;
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
/** Age at which the sums over all instances are taken anew; a sum for each failure would be n² when all fail at once. */
const SUMS_MS = 100;

export class Fleet {
  #policy: FleetPolicy;
  readonly #random: Random;
  readonly #records = new Map<string, InstanceRecord>();
  readonly #governor = new RemovalGovernor();
  readonly #checks = new FailingChecks();
  #sequence = 0;
  #state: ServiceState = 'unknown';
  #reason = '';
  #stateSince: number;
  #counts = emptyCounts();
  #everOpen = false;
  #sumsAt = -Infinity;
  #sumFailed = 0;
  #sumTotal = 0;

  /** @param firstList these instances were there before the gateway: they get their full share at once */
  constructor(policy: FleetPolicy, random: Random, now: number, firstList: boolean) {
    this.#policy = policy;
    this.#random = random;
    this.#stateSince = now;
    this.#list(policy.instances, now, firstList);
  }

  /** Takes a new policy and list. The same incarnation (address and version) keeps all; one that is missing leaves. */
  configure(policy: FleetPolicy, now: number): void {
    this.#policy = policy;
    for (const record of this.#records.values()) record.outlier.configure(policy.outlier);
    this.#list(policy.instances, now, false);
  }

  /** Takes what a probe, or a notice on an answer, says. An unknown id is ignored: the list is newer. */
  probe(id: string, evidence: Evidence, now: number): void {
    const record = this.#records.get(id);
    if (record === undefined) return;
    const { readiness } = this.#policy;
    // Traffic that goes well says more than a probe that does not come back. A closed port is another matter: what goes
    // well there are connections of before.
    const contradicted =
      evidence.kind === 'absent' && !evidence.refused && now - record.lastOkAt < readiness.intervalMs;
    if (evidence.kind === 'drain') record.leave('instance', now);
    if (evidence.kind === 'pass' || evidence.kind === 'warn') record.quietProbe(readiness.rise);
    if (!contradicted) this.#active(record, evidence, now);
    record.tick(now, this.#policy);
    this.#settle(record, now);
  }

  /** Takes a worker's report on one instance. */
  passive(id: string, report: PassiveReport, now: number): void {
    const record = this.#records.get(id);
    if (record === undefined) return;
    if (report.ok > 0) {
      record.lastOkAt = now;
      this.#trafficPass(record, now);
    }
    record.outlier.take(report, now, this.#random, {
      othersRatio: (at) => this.#othersRatio(record, at),
      mayEject: () => this.#mayEject(record),
    });
    this.#settle(record, now);
  }

  /**
   * Carries out an operator's command. `drain` and `disable` end after `ttlMs`, if given.
   * @returns false when there is no such instance
   */
  operate(
    id: string,
    command: 'drain' | 'enable' | 'disable',
    ttlMs: number | undefined,
    by: string,
    now: number,
  ): boolean {
    const record = this.#records.get(id);
    if (record === undefined) return false;
    const until = ttlMs === undefined || command === 'enable' ? Infinity : now + ttlMs;
    switch (command) {
      case 'drain':
        record.operate('draining', by, now, until);
        break;
      case 'disable':
        record.operate('disabled', by, now, until);
        break;
      case 'enable':
        record.operate('enabled', by, now, until);
        break;
    }
    this.#settle(record, now);
    return true;
  }

  /** What time alone changes: ends of drains, holds, ejections, slow starts, orders; held removals. A few times a second. */
  tick(now: number): void {
    const { readiness } = this.#policy;
    let changed = false;
    for (const [id, record] of this.#records) {
      const before = record.active.value;
      record.tick(now, this.#policy);
      record.active.settle(now, readiness, () => this.#mayRemove(now));
      this.#afterReturn(record, before);
      if (record.derive(now, this.#policy)) changed = true;
      if (record.forgettable(now, FORGET_MS)) {
        this.#records.delete(id);
        changed = true;
      }
    }
    if (changed) this.#changed(now);
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
      failingChecks: this.#checks.count(this.#records.values(), now),
    };
  }

  #list(specs: readonly InstanceSpec[], now: number, bornGrown: boolean): void {
    const listed = new Set<string>();
    let changed = false;
    for (const spec of specs) {
      const id = instanceId(spec.url);
      if (listed.has(id)) continue; // the configuration's check reports it; the first one counts
      listed.add(id);
      const known = this.#records.get(id);
      if (known !== undefined && known.spec.url === spec.url && known.spec.version === spec.version) {
        known.spec = spec;
        known.arrive();
        continue;
      }
      const record = new InstanceRecord(id, spec, this.#policy, bornGrown, now);
      if (known !== undefined) record.inherit(known);
      this.#records.set(id, record);
      changed = true;
    }
    for (const [id, record] of this.#records) if (!listed.has(id)) record.leave('list', now);
    for (const record of this.#records.values()) if (record.derive(now, this.#policy)) changed = true;
    if (changed) this.#changed(now);
  }

  #active(record: InstanceRecord, evidence: Evidence, now: number): void {
    const before = record.active.value;
    record.active.take(evidence, now, this.#policy.readiness, () => this.#mayRemove(now));
    this.#afterReturn(record, before);
  }

  /** A port that answers again is another process, or a mended one: its ejection gives way to a trial. */
  #afterReturn(record: InstanceRecord, before: InstanceRecord['active']['value']): void {
    const failed = before === 'failExplicit' || before === 'failSilent';
    if (failed && (record.active.value === 'pass' || record.active.value === 'warn')) {
      record.outlier.release();
    }
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

  #mayEject(suspect: InstanceRecord): boolean {
    let instances = 0;
    let ejected = 0;
    let open = 0;
    for (const record of this.#records.values()) {
      if (record.presence === 'gone' || record.admin === 'disabled') continue;
      instances++;
      if (record.outlier.state === 'ejected') ejected++;
      if (record !== suspect && record.open) open++;
    }
    if (open === 0) return false;
    return ejected < Math.max(1, Math.floor(this.#policy.outlier.maxEjectedRatio * instances));
  }

  #othersRatio(suspect: InstanceRecord, now: number): number {
    if (now - this.#sumsAt >= SUMS_MS) {
      this.#sumsAt = now;
      this.#sumFailed = 0;
      this.#sumTotal = 0;
      for (const record of this.#records.values()) {
        record.countedFailed = record.open ? record.outlier.failedCount(now) : 0;
        record.countedTotal = record.open ? record.countedFailed + record.outlier.okCount(now) : 0;
        this.#sumFailed += record.countedFailed;
        this.#sumTotal += record.countedTotal;
      }
    }
    const total = this.#sumTotal - suspect.countedTotal;
    return total <= 0 ? 0 : (this.#sumFailed - suspect.countedFailed) / total;
  }

  #settle(record: InstanceRecord, now: number): void {
    if (record.derive(now, this.#policy)) this.#changed(now);
  }

  #changed(now: number): void {
    this.#sequence++;
    this.#releaseIfAlone(now);
    const counts = emptyCounts();
    const reasons = new Map<string, number>();
    for (const { state, reason } of this.#records.values()) {
      counts[state]++;
      if (opensNew(state)) this.#everOpen = true;
      if (reason !== '' && (isFault(state) || state === 'degraded')) {
        reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
      }
    }
    this.#counts = counts;
    const common = [...reasons].reduce((most, entry) => (entry[1] > most[1] ? entry : most), ['', 0]);
    const verdict = serviceVerdict(counts, this.#everOpen, common[0]);
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
    version: spec.version,
    weight: spec.weight,
    state,
    reason: record.reason,
    opensNew: open,
    keepsPinned: record.keepsPinned,
    trial: record.trial,
    panic: record.panic,
    readyForMs: open ? (record.grown ? -1 : now - record.openSince) : 0,
    drainForMs: draining === undefined ? -1 : now - draining,
    stateSinceMs: now - record.stateSince,
  };
}
