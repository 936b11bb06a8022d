/**
 * The course of a soak: every process of the gateway looked at each two seconds from outside and each so often from inside, every
 * second's answers counted, every fault noted with its moments. All moments are ms since the load began.
 */
import { descendants, cpuMs } from '../../test/harness/process.ts';
import { readFileSync } from 'node:fs';

import { metric } from '../overload/metrics.ts';
import type { Inspector } from './inspector.ts';
import type { Fault, FromCallers, Incident } from './outcomes.ts';
import { processFigures, tcpStates } from './process-figures.ts';

export interface Look {
  readonly atMs: number;
  readonly residentBytes: number;
  readonly descriptors: number;
  readonly established: number;
}

export interface HeapLook {
  readonly atMs: number;
  readonly heapBytes: number;
  readonly timers: number;
}

/** One process over its life. */
export interface Course {
  readonly name: string;
  readonly pid: number;
  readonly bornMs: number;
  readonly looks: Look[];
  readonly heap: HeapLook[];
}

export interface Second {
  readonly atMs: number;
  readonly ok: number;
  readonly left: number;
  readonly refused: number;
  readonly failed: number;
}

const LOOK_EACH_MS = 2000;
/** Callers tell each second. */
const LOOKED_BACK_MS = 1000;
/** Half is what a busy minute of another program does; at double a probe has been missed. */
const LATE_MS = 200;
/** Half: the pages of metrics make garbage of their own; double: innocent seconds are blamed on a shortage. */
const PRESSURE_EACH_MS = 4000;
/** A full collection of 30 MiB takes some 20 ms; twice as often and they would show in the answers. */
const HEAP_EACH_MS = 15_000;

interface MachineTime {
  readonly busyMs: number;
  readonly allMs: number;
}

/** Of all cores, from /proc/stat; ticks of 10 ms. */
function machineTime(): MachineTime {
  const [user = 0, nice = 0, system = 0, idle = 0, wait = 0, irq = 0, soft = 0, steal = 0] = readFileSync(
    '/proc/stat',
    'latin1',
  )
    .slice(0, 200)
    .split('\n', 1)[0]!
    .trim()
    .split(/\s+/)
    .slice(1)
    .map(Number);
  const busy = user + nice + system + irq + soft + steal;
  return { busyMs: busy * 10, allMs: (busy + idle + wait) * 10 };
}

export class Recorder {
  readonly courses: Course[] = [];
  readonly seconds: Second[] = [];
  readonly faults: Fault[] = [];
  readonly incidents: Incident[] = [];
  /** By `kind\tending\thow`. */
  readonly counts = new Map<string, number>();
  readonly protocols = new Map<string, number>();
  /** When a certificate was met, by its serial number. */
  readonly certificates: { readonly atMs: number; readonly serials: readonly string[] }[] = [];
  skipped = 0;
  /** Wall clock of the moment 0. */
  originMs = Date.now();
  readonly #gatewayPid: number;
  readonly #metrics: () => Promise<string>;
  readonly #inspector: Inspector;
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #machineBefore = machineTime();
  readonly #ownBefore: number;
  #looking = false;
  #asking = false;
  #askedMs = 0;
  #closed = 0;
  #recording = false;
  #heirs = 0;

  constructor(gatewayPid: number, metrics: () => Promise<string>, inspector: Inspector) {
    this.#gatewayPid = gatewayPid;
    this.#metrics = metrics;
    this.#inspector = inspector;
    this.#ownBefore = this.#ownCpuMs();
    this.#follow();
  }

  get nowMs(): number {
    return Date.now() - this.originMs;
  }

  /** Everything counted from now on; what the warm-up did is forgotten. */
  start(): void {
    this.originMs = Date.now();
    this.#recording = true;
    this.#timers.push(
      setInterval(() => this.#look(), LOOK_EACH_MS),
      setInterval(() => void this.#lookInside(), HEAP_EACH_MS),
      setInterval(() => void this.#askPressure(), PRESSURE_EACH_MS),
    );
    this.#look();
    void this.#lookInside();
  }

  /** No more is counted. */
  stop(): void {
    this.#recording = false;
    for (const timer of this.#timers) clearInterval(timer);
  }

  /** The supervisor and its workers that run now, with their names. */
  running(): readonly Course[] {
    this.#follow();
    const alive = new Set([this.#gatewayPid, ...descendants(this.#gatewayPid)]);
    return this.courses.filter(({ pid }) => alive.has(pid));
  }

  take(message: FromCallers): void {
    if (message.type !== 'counts' || !this.#recording) return;
    if (message.latestMs > LATE_MS) this.shortOfTime(Date.now() - LOOKED_BACK_MS - message.latestMs);
    const second = { atMs: this.nowMs, ok: 0, left: 0, refused: 0, failed: 0 };
    for (const [key, count] of Object.entries(message.counts)) {
      this.counts.set(key, (this.counts.get(key) ?? 0) + count);
      const ending = key.split('\t')[1];
      if (ending === 'ok' || ending === 'left' || ending === 'failed') second[ending] += count;
      else second.refused += count;
    }
    this.seconds.push(second);
    this.incidents.push(...message.incidents);
    this.skipped += message.skipped;
    for (const [name, count] of Object.entries(message.protocols))
      this.protocols.set(name, (this.protocols.get(name) ?? 0) + count);
    if (message.certificates.length > 0)
      this.certificates.push({ atMs: this.nowMs, serials: message.certificates });
  }

  /** The processes had too little time, from that moment until now; neighbouring spans are one. */
  shortOfTime(fromMs: number): void {
    const last = this.faults.findLast(({ what }) => what === 'short-of-time');
    const toMs = Date.now();
    if (last === undefined || last.toMs < fromMs) this.faults.push({ what: 'short-of-time', fromMs, toMs });
    else this.faults[this.faults.indexOf(last)] = { ...last, toMs };
  }

  /** A call of the runner's own that did not end as wanted. */
  noteIncident(incident: Incident): void {
    const key = `${incident.kind}\tfailed\t${incident.how}`;
    this.counts.set(key, (this.counts.get(key) ?? 0) + 1);
    this.incidents.push(incident);
  }

  /** Shares of all cores since this recorder began: in all, and without what the soak's own processes used. */
  machineShares(): { readonly busy: number; readonly others: number } {
    const now = machineTime();
    const allMs = Math.max(1, now.allMs - this.#machineBefore.allMs);
    const busyMs = now.busyMs - this.#machineBefore.busyMs;
    return {
      busy: busyMs / allMs,
      others: Math.max(0, busyMs - (this.#ownCpuMs() - this.#ownBefore)) / allMs,
    };
  }

  /** Of this process and all that it started and that lives; a child killed meanwhile counts as somebody else's. */
  #ownCpuMs(): number {
    return [process.pid, ...descendants(process.pid)].reduce((sum, pid) => sum + cpuMs(pid), 0);
  }

  #follow(): void {
    for (const pid of [this.#gatewayPid, ...descendants(this.#gatewayPid)]) {
      if (this.courses.some((course) => course.pid === pid)) continue;
      const workers = this.courses.length - this.#heirs;
      const isHeir = this.#recording;
      if (isHeir) this.#heirs += 1;
      const name =
        pid === this.#gatewayPid ? 'supervisor' : isHeir ? `heir ${this.#heirs}` : `worker ${workers}`;
      this.courses.push({ name, pid, bornMs: isHeir ? this.nowMs : 0, looks: [], heap: [] });
    }
  }

  #look(): void {
    const states = tcpStates();
    for (const { pid, looks } of this.running()) {
      const { residentBytes, descriptors, byKind } = processFigures(pid, states);
      const established = byKind['tcp established'] ?? 0;
      looks.push({ atMs: this.nowMs, residentBytes, descriptors, established });
    }
  }

  /** Pressure of the loop now, or connections closed for it since the last look, make the time between a shortage. */
  async #askPressure(): Promise<void> {
    if (this.#asking) return;
    this.#asking = true;
    try {
      const page = await this.#metrics();
      const closed = metric(page, 'spillway_connections_closed_total', { reason: 'pressure' });
      const loop = metric(page, 'spillway_pressure_ratio', { signal: 'loop' });
      const since = this.#askedMs;
      this.#askedMs = Date.now();
      // Counts of a worker that died are kept in the sum, so it never falls.
      if (since > 0 && (loop > 0 || closed > this.#closed)) this.shortOfTime(since);
      this.#closed = closed;
    } catch {
      // No answer: the gateway itself was short of time.
      this.shortOfTime(Date.now() - PRESSURE_EACH_MS);
    } finally {
      this.#asking = false;
    }
  }

  /** One process after the other, so that their collections do not meet. */
  async #lookInside(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    try {
      for (const { pid, heap } of this.running()) {
        const sample = await this.#inspector.heap(pid);
        if (sample === undefined) continue;
        const timers = sample.resources['Timeout'] ?? 0;
        heap.push({ atMs: this.nowMs, heapBytes: sample.heapBytes, timers });
      }
    } catch (error) {
      process.stderr.write(`looking inside: ${error instanceof Error ? error.message : String(error)}\n`);
    } finally {
      this.#looking = false;
    }
  }
}
