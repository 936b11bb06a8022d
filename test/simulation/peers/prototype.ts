/**
 * The prototype of the design notes as a peer: one governor and a strict-priority queue, re-implemented with its numbers.
 * A row to beat, not code to copy.
 */
import type { Random } from '../../../src/kernel/random.ts';
import type { AdmissionPolicy } from '../../../src/shedding/policy.ts';
import type { Entrant, Gate, GatePermit } from '../gate.ts';

interface Level {
  readonly m: number;
  readonly mean: number;
  readonly limit: number;
}

class PrototypePermit implements GatePermit {
  readonly #gate: PrototypeGate;
  at = 0;
  constructor(gate: PrototypeGate) {
    this.#gate = gate;
  }
  attempt(now: number): void {
    this.at = now;
    this.#gate.starts.add(this);
  }
  head(now: number, outcome: string): void {
    if (this.#gate.starts.delete(this)) this.#gate.sample(now, now - this.at, outcome === 'sample');
  }
  asStream(): void {
    throw new Error('the prototype knows no streams');
  }
  release(now: number): boolean {
    this.#gate.starts.delete(this);
    this.#gate.leave0(now);
    return true;
  }
}

interface Place {
  readonly at: number;
  readonly who: Entrant;
  readonly most: number;
}

export class PrototypeGate implements Gate {
  readonly starts = new Set<PrototypePermit>();
  readonly #sla: number;
  readonly #random: Random;
  readonly #lines: Place[][] = [[], [], [], []];
  #limit = 20;
  #inFlight = 0;
  #area = 0;
  #areaAt = 0;
  #latencies: number[] = [];
  #drops = 0;
  #windowAt = 0;
  #base50 = 0;
  #base95 = 0;
  #p50 = 0;
  #reference: Level | undefined;
  #bound = false;
  #brakeAt = Number.NEGATIVE_INFINITY;
  #brakeFrom = 0;
  #before: { at: number; m: number; limit: number; n: number; sum: number } | undefined;
  #congestedAt = Number.NEGATIVE_INFINITY;
  #floorFrom = 0;
  #atFloor = 0;
  #waiting = 0;
  #leastWait = Number.POSITIVE_INFINITY;
  #intervalAt = 0;
  #over = false;

  constructor(policy: AdmissionPolicy, random: Random) {
    this.#sla = policy.slaMs;
    this.#random = random;
  }

  view(): {
    limit: number;
    inFlight: number;
    queueDepth: number;
    baselineMs: number;
    p50Ms: number;
    slow: boolean;
  } {
    return {
      limit: Math.floor(this.#limit),
      inFlight: this.#inFlight,
      queueDepth: this.#waiting,
      baselineMs: this.#base50,
      p50Ms: this.#p50,
      slow: false,
    };
  }

  enter(who: Entrant, now: number): void {
    const ahead = this.#lines.slice(0, who.rank + 1).some((line) => line.length > 0);
    if (!ahead && this.#free()) {
      this.#note(now, 0);
      this.#run(who, 0, now);
      return;
    }
    const capacity =
      this.#p50 > 0 ? Math.ceil(this.#limit * Math.max(1, (0.33 * this.#sla) / this.#p50)) : 1000;
    if (this.#waiting >= capacity) {
      const victim = this.#lines
        .slice(who.rank + 1)
        .findLast((line) => line.length > 0)
        ?.shift();
      if (victim === undefined) {
        who.shed('SPW_SHED_QUEUE_FULL', 'full');
        return;
      }
      this.#waiting -= 1;
      victim.who.shed('SPW_SHED_QUEUE_FULL', 'evicted');
    }
    this.#lines[who.rank]?.push({ at: now, who, most: 0.33 * this.#sla * (0.8 + 0.4 * this.#random()) });
    this.#waiting += 1;
  }

  leave(who: Entrant): void {
    const line = this.#lines[who.rank];
    const at = line?.findIndex((place) => place.who === who) ?? -1;
    if (at < 0) return;
    line?.splice(at, 1);
    this.#waiting -= 1;
  }

  tick(now: number): void {
    this.#brake(now);
    this.#close(now);
    for (const line of this.#lines) {
      for (let first = line[0]; first !== undefined && now - first.at > first.most; first = line[0]) {
        line.shift();
        this.#waiting -= 1;
        first.who.shed('SPW_SHED_QUEUE_TIMEOUT', 'late');
      }
    }
  }

  sample(now: number, ms: number, ok: boolean): void {
    const before = this.#before;
    if (ok && before !== undefined && now - ms < before.at) {
      before.n += 1;
      before.sum += ms;
    } else if (ok) this.#latencies.push(ms);
    else this.#drops += 1;
    this.#close(now);
  }

  leave0(now: number): void {
    this.#change(now, -1);
    for (let rank = 0; rank < 4; rank += 1) {
      const line = this.#lines[rank] ?? [];
      while (line.length > 0 && this.#free()) {
        const place = this.#over ? line.pop() : line.shift();
        if (place === undefined) break;
        this.#waiting -= 1;
        const waited = now - place.at;
        this.#note(now, waited);
        const short = Math.max(2 * Math.max(5, 0.05 * this.#sla), 20) * (0.8 + 0.4 * this.#random());
        if (waited > (this.#over && rank > 0 ? short : place.most))
          place.who.shed('SPW_SHED_QUEUE_TIMEOUT', 'late');
        else this.#run(place.who, waited, now);
      }
    }
  }

  #run(who: Entrant, waited: number, now: number): void {
    this.#change(now, 1);
    who.admitted(new PrototypePermit(this), waited);
  }

  #free(): boolean {
    const free = this.#inFlight < Math.floor(this.#limit);
    if (!free) this.#bound = true;
    return free;
  }

  #note(now: number, waited: number): void {
    this.#leastWait = Math.min(this.#leastWait, waited);
    if (now - this.#intervalAt <= 100) return;
    const standing = Number.isFinite(this.#leastWait) && this.#leastWait > Math.max(5, 0.05 * this.#sla);
    this.#over = standing && now - this.#congestedAt < 2000;
    this.#leastWait = Number.POSITIVE_INFINITY;
    this.#intervalAt = now;
  }

  #change(now: number, by: number): void {
    this.#area += this.#inFlight * (now - this.#areaAt);
    this.#areaAt = now;
    this.#inFlight += by;
  }

  #brake(now: number): void {
    if (
      this.#inFlight < 4 ||
      this.#base95 === 0 ||
      this.#base95 > 0.7 * this.#sla ||
      now - this.#brakeAt < 50
    )
      return;
    let old = 0;
    for (const permit of this.starts) if (now - permit.at > 0.7 * this.#sla) old += 1;
    if (old <= 0.5 * this.#inFlight) {
      if (now - this.#brakeAt > 1000) this.#brakeFrom = 0;
      return;
    }
    if (this.#brakeFrom === 0) {
      this.#brakeFrom = this.#limit;
      this.#before = { at: now, m: this.#inFlight, limit: this.#limit, n: 0, sum: 0 };
      this.#reference = undefined;
      this.#restart(now);
    }
    this.#brakeAt = now;
    this.#limit = Math.min(this.#limit, Math.max(4, 0.3 * this.#brakeFrom, 0.75 * this.#limit));
  }

  #restart(now: number): void {
    this.#latencies = [];
    this.#drops = 0;
    this.#windowAt = now;
    this.#area = 0;
    this.#areaAt = now;
  }

  #close(now: number): void {
    const n = this.#latencies.length + this.#drops;
    const span = now - this.#windowAt;
    const least = Math.min(1000, Math.max(200, 2 * (this.#base50 === 0 ? 50 : this.#base50)));
    if (span < least || (n < 40 && span < 1000) || (n < 10 && span < 3000)) return;
    this.#change(now, 0);
    const m = this.#area / span;
    const bound = this.#bound;
    const sorted = this.#latencies.sort((a, b) => a - b);
    const drops = n === 0 ? 0 : this.#drops / n;
    this.#bound = false;
    this.#restart(now);
    if (sorted.length < 10) {
      if (n >= 10) this.#limit = Math.max(4, 0.7 * this.#limit);
      return;
    }
    this.#judge(now, sorted, m, span, bound, drops);
    this.#limit = Math.min(1000, Math.max(4, this.#limit));
  }

  #judge(now: number, sorted: number[], m: number, span: number, bound: boolean, drops: number): void {
    const p50 = sorted[Math.floor(0.5 * sorted.length)] ?? 0;
    const p95 = sorted[Math.floor(0.95 * sorted.length)] ?? 0;
    const mean = sorted.reduce((sum, ms) => sum + ms, 0) / sorted.length;
    this.#p50 = p50;
    const steady = Math.abs((sorted.length / span) * mean - m) <= 0.25 * m;
    const calm = m <= 0.6 * this.#limit && !bound && steady;
    this.#base50 = this.#base50 === 0 ? p50 : learn(this.#base50, p50, calm);
    this.#base95 = this.#base95 === 0 ? p95 : learn(this.#base95, p95, calm);
    const tau = Math.min(1.8, Math.max(1.25, (0.6 * this.#sla) / this.#base95));
    const tolerance = Math.max(tau * this.#base50, this.#base50 + 0.1 * this.#sla);
    if (drops > 0.05) this.#limit *= 0.9;
    else if (p50 > tolerance) {
      this.#congestedAt = now;
      if (!this.#turnsSlow(steady, m, mean, p50, p95, tau)) {
        const g = tolerance / p50;
        this.#limit = Math.min(this.#limit, this.#limit * Math.max(0.8, 0.5 + 0.5 * Math.max(0.6, g)));
      }
    } else {
      this.#reference = undefined;
      this.#before = undefined;
      this.#floorFrom = 0;
      this.#atFloor = 0;
      if (!bound) return;
      if (p50 <= this.#base50 + 0.3 * (tolerance - this.#base50)) this.#limit *= 1.25;
      else this.#limit += Math.max(1, 0.5 * Math.sqrt(this.#limit));
    }
  }

  #turnsSlow(steady: boolean, m: number, mean: number, p50: number, p95: number, tau: number): boolean {
    const before = this.#before;
    if (steady && before !== undefined && before.n >= 3) {
      this.#reference = { m: before.m, mean: before.sum / before.n, limit: before.limit };
      this.#before = undefined;
    }
    const reference = this.#reference;
    if (steady && reference === undefined) this.#reference = { m, mean, limit: this.#limit };
    if (steady && reference !== undefined && m <= 0.75 * reference.m) {
      if (Math.log(reference.mean / mean) / Math.log(reference.m / m) < 0.5) {
        this.#relearn(p50, p95, reference.limit);
        return true;
      }
      this.#reference = { m, mean, limit: this.#limit };
    }
    const low = this.#floorFrom > 0 && m <= 0.35 * this.#floorFrom && p50 > 1.2 * this.#base50 * tau;
    this.#atFloor = low ? this.#atFloor + 1 : 0;
    if (this.#atFloor >= 2) {
      this.#relearn(p50, p95, 0.7 * this.#floorFrom);
      this.#before = undefined;
      this.#atFloor = 0;
      return true;
    }
    if (this.#floorFrom === 0) this.#floorFrom = m;
    return false;
  }

  #relearn(p50: number, p95: number, limit: number): void {
    this.#base50 = p50;
    this.#base95 = p95;
    this.#limit = Math.max(this.#limit, limit);
    this.#reference = undefined;
  }
}

function learn(from: number, to: number, calm: boolean): number {
  if (to < from) return 0.7 * from + 0.3 * to;
  return calm ? 0.95 * from + 0.05 * to : from;
}
