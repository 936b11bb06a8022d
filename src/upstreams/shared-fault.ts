import type { InstanceRecord } from './instance-record.ts';
import type { PassiveReport } from './passive-slice.ts';
import { RECENT_MS, RecentOutcomes, type Outcomes } from './recent-outcomes.ts';

/**
 * How the other instances of a service fare while one of them fails: the question behind every ejection.
 *
 * Signal: the reports on all open instances. Decision: none here; how many of the others' requests went well and failed, over
 * the whole window and while the suspect's own row lasted. Why both: at the onset of a fault behind all of them the window of the
 * others is full of good answers of before, and comparing with it ejected a third of the fleet in its first 100 ms.
 * Cost: totals over all are kept, and the suspect's own taken off, so that a failure costs the same at 10 and at 1 000.
 */

/** Age at which the sums over all instances are taken anew; a sum for each failure would be n² when all fail at once. */
const SUMS_MS = 100;
/** The others that must have been heard: one witness of ten may be another victim, all ten may never come. */
const WITNESS_RATIO = 0.5;

export class SharedFault {
  readonly #records: ReadonlyMap<string, InstanceRecord>;
  readonly #recent = new RecentOutcomes();
  #sumsAt = -Infinity;
  #sumFailed = 0;
  #sumOk = 0;

  constructor(records: ReadonlyMap<string, InstanceRecord>) {
    this.#records = records;
  }

  /** Takes a report on an instance. */
  take(record: InstanceRecord, report: PassiveReport, now: number): void {
    const failed = report.hard + report.soft;
    if (!record.open || report.ok + failed === 0) return;
    record.lastReportAt = now;
    record.recent.add(report.ok, failed, now);
    this.#recent.add(report.ok, failed, now);
  }

  /** What the other open instances did in the window of outlier detection. */
  inWindow(suspect: InstanceRecord, now: number): Outcomes {
    if (now - this.#sumsAt >= SUMS_MS) {
      this.#sumsAt = now;
      this.#sumFailed = 0;
      this.#sumOk = 0;
      for (const record of this.#records.values()) {
        record.countedFailed = record.open ? record.outlier.failedCount(now) : 0;
        record.countedOk = record.open ? record.outlier.okCount(now) : 0;
        this.#sumFailed += record.countedFailed;
        this.#sumOk += record.countedOk;
      }
    }
    return { ok: this.#sumOk - suspect.countedOk, failed: this.#sumFailed - suspect.countedFailed };
  }

  /** Another one than this takes new sessions. */
  someOpen(but: InstanceRecord): boolean {
    for (const record of this.#records.values()) if (record !== but && record.open) return true;
    return false;
  }

  /** True while this one may go: never the last open one, and at most this share of the service's instances, but one. */
  mayEject(suspect: InstanceRecord, maxEjectedRatio: number): boolean {
    let instances = 0;
    let ejected = 0;
    for (const record of this.#records.values()) {
      if (record.presence === 'gone' || record.admin === 'disabled') continue;
      instances++;
      if (record.outlier.state === 'ejected') ejected++;
    }
    return this.someOpen(suspect) && ejected < Math.max(1, Math.floor(maxEjectedRatio * instances));
  }

  /** What they did in [from, to], of which at most the last three seconds count. */
  between(suspect: InstanceRecord, from: number, to: number, now: number): Outcomes {
    const begin = Math.max(from, now - RECENT_MS);
    const all: Outcomes = { ok: 0, failed: 0 };
    const own: Outcomes = { ok: 0, failed: 0 };
    this.#recent.sum(begin, to, all);
    suspect.recent.sum(begin, to, own);
    return { ok: all.ok - own.ok, failed: all.failed - own.failed };
  }

  /** At least half of them had traffic since then. The only question whose cost grows with their number: ask it last. */
  heardSince(suspect: InstanceRecord, from: number): boolean {
    let others = 0;
    let heard = 0;
    for (const record of this.#records.values()) {
      if (record === suspect || !record.open) continue;
      others++;
      if (record.lastReportAt >= from) heard++;
    }
    return heard >= others * WITNESS_RATIO;
  }
}
