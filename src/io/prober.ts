import { between, type Random } from '../kernel/random.ts';
import type { Evidence } from '../kernel/evidence.ts';
import { NOTHING_EXPECTED, type ProbeExpectation } from '../readiness/probe-document.ts';
import { tlsConnectOptions, type UpstreamTls } from './pools.ts';
import { ProbeAttempt, type ProbeAim } from './probe-attempt.ts';
import type { UpstreamProtocol } from './upstream-pool.ts';

/**
 * Asks every instance, again and again, whether it is ready, and says what it answered, of its load too. What follows from it is not known
 * here (`src/upstreams`).
 *
 * Each instance has its own rhythm, ± 10 %, so that probes of many gateways and instances do not beat together. First
 * probes are spread. A changed result brings the next probe soon, so that `rise` and `fall` are counted in quarters of a
 * second, not in intervals; so does a failure of its traffic. At most 50 run at once and about 500 start a second; more instances stretch the intervals.
 */

export interface ProbeTarget {
  readonly service: string;
  /** `host:port` */
  readonly id: string;
  readonly url: string;
  /** Without it a TCP connect decides. */
  readonly path?: string | null | undefined;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly tls?: UpstreamTls | undefined;
  /** Left out: `auto`. */
  readonly protocol?: UpstreamProtocol | undefined;
  readonly expectation?: ProbeExpectation | undefined;
}

export interface ProberOptions {
  /**
   * Returns true when it does not believe the evidence: the instance is asked again soon then, as if for the first time;
   * in its rhythm from the second doubt in a row on.
   * @param utilization of `ProbeDone`
   */
  readonly onEvidence: (
    service: string,
    id: string,
    evidence: Evidence,
    now: number,
    utilization: number,
  ) => boolean;
  /** Monotonic ms. */
  readonly now: () => number;
  readonly random: Random;
}

/** Half: a thousand hanging instances delay the rest by 10 timeouts; double: a burst of sockets for no earlier news. */
const MAX_AT_ONCE = 50;
/** Half: a thousand instances are asked every 2 s and leave too late; double: probing is a load of its own. */
const MAX_PER_SECOND = 500;
/** Half: a stop-the-world pause is asked twice; double: a removal by silence takes longer than 2.5 s. */
const CONFIRM_MS = 250;
/** After a refusal, which no pause of a process explains. Half: a restart is caught in the act twice; double: a dead dependency is named after more than an interval and a tenth. */
const CONFIRM_REFUSED_MS = 100;
const JITTER = 0.1;
/** Looks without a verdict that are repeated soon. Half: a slow start of our own hides a good instance; double: a 429 is asked for more. */
export const FIRST_LOOKS = 4;

interface Track {
  target: ProbeTarget;
  aim: ProbeAim;
  timer: NodeJS.Timeout | undefined;
  attempt: ProbeAttempt | undefined;
  lastKind: Evidence['kind'];
  /** Looks so far while none of them said anything (our own loop was late, a 429); -1 after the first verdict. */
  looks: number;
  /** The last verdict was not believed. */
  doubted: boolean;
  startedAt: number;
  hurriedAt: number;
}

export class Prober {
  readonly #options: ProberOptions;
  readonly #tracks = new Map<string, Track>();
  /** Due, but 50 run already. */
  readonly #waiting = new Set<Track>();
  #running = 0;
  #stretch = 1;

  constructor(options: ProberOptions) {
    this.#options = options;
  }

  /** How much longer than configured the intervals are, because there are so many instances; 1 = not at all. */
  get stretch(): number {
    return this.#stretch;
  }

  /**
   * Takes the whole list. What stays keeps its rhythm; what is missing is asked no more.
   * @throws when a TLS file cannot be read; nothing is changed then
   */
  configure(targets: readonly ProbeTarget[]): void {
    const aims = new Map(targets.map((target) => [keyOf(target), { target, aim: aimOf(target) }] as const));
    for (const [key, track] of this.#tracks) {
      if (aims.has(key)) continue;
      this.#tracks.delete(key);
      this.#drop(track);
    }
    let rate = 0;
    for (const { target } of aims.values()) rate += 1000 / target.intervalMs;
    this.#stretch = Math.max(1, rate / MAX_PER_SECOND);
    const added: Track[] = [];
    for (const [key, { target, aim }] of aims) {
      const known = this.#tracks.get(key);
      if (known === undefined) {
        const track: Track = {
          target,
          aim,
          timer: undefined,
          attempt: undefined,
          lastKind: 'pass',
          looks: 0,
          doubted: false,
          startedAt: -Infinity,
          hurriedAt: -Infinity,
        };
        this.#tracks.set(key, track);
        added.push(track);
        continue;
      }
      const sooner = target.intervalMs < known.target.intervalMs;
      known.target = target;
      known.aim = aim;
      if (sooner && known.attempt === undefined) this.#arm(known, this.#options.random() * target.intervalMs);
    }
    for (const [index, track] of added.entries()) {
      const spreadMs = Math.min(track.target.intervalMs, (added.length / MAX_PER_SECOND) * 1000);
      this.#arm(track, (spreadMs * index) / added.length);
    }
  }

  /** Something speaks against this instance: its next probe comes at once, if the last is not just done; once an interval. */
  hurry(service: string, id: string): void {
    const track = this.#tracks.get(keyOf({ service, id }));
    if (track !== undefined) this.#hurry(track);
  }

  /** What befell one instance of a service may have befallen all: the same for each, where they are not too many. */
  hurryAll(service: string): void {
    const tracks = [...this.#tracks.values()].filter(({ target }) => target.service === service);
    if (tracks.length <= MAX_AT_ONCE) for (const track of tracks) this.#hurry(track);
  }

  #hurry(track: Track): void {
    if (track.timer === undefined) return; // it is being asked, or waits for its turn
    const now = this.#options.now();
    if (now - track.hurriedAt < track.target.intervalMs || now - track.startedAt < CONFIRM_MS) return;
    track.hurriedAt = now;
    this.#arm(track, 0);
  }

  stop(): void {
    this.#waiting.clear(); // else each one that is dropped makes room for the next
    for (const track of this.#tracks.values()) this.#drop(track);
    this.#tracks.clear();
  }

  #arm(track: Track, delayMs: number): void {
    clearTimeout(track.timer);
    this.#waiting.delete(track);
    track.timer = setTimeout(() => {
      track.timer = undefined;
      if (this.#running < MAX_AT_ONCE) this.#start(track);
      else this.#waiting.add(track);
    }, delayMs);
  }

  #start(track: Track): void {
    const { now } = this.#options;
    track.startedAt = now();
    this.#running++;
    track.attempt = new ProbeAttempt(track.aim, now, (result, utilization) => {
      track.attempt = undefined;
      this.#running--;
      const { service, id } = track.target;
      const isDoubted = this.#options.onEvidence(service, id, result, now(), utilization);
      if (this.#tracks.get(keyOf(track.target)) === track) this.#next(track, result, isDoubted);
      this.#startWaiting();
    });
  }

  #next(track: Track, result: Evidence, isDoubted: boolean): void {
    const { now, random } = this.#options;
    const intervalMs = track.target.intervalMs * this.#stretch * between(random, 1 - JITTER, 1 + JITTER);
    let soon: boolean;
    if (isDoubted) {
      soon = !track.doubted;
      track.doubted = true;
    } else if (result.kind === 'void') soon = track.looks >= 0 && ++track.looks < FIRST_LOOKS;
    else {
      soon = result.kind !== track.lastKind;
      track.lastKind = result.kind;
      track.looks = -1;
      track.doubted = false;
    }
    const restMs = track.startedAt + intervalMs - now();
    const soonMs = result.refused ? CONFIRM_REFUSED_MS : CONFIRM_MS;
    this.#arm(track, Math.max(1, soon ? Math.min(soonMs, restMs) : restMs));
  }

  #startWaiting(): void {
    for (const track of this.#waiting) {
      if (this.#running >= MAX_AT_ONCE) return;
      this.#waiting.delete(track);
      this.#start(track);
    }
  }

  #drop(track: Track): void {
    clearTimeout(track.timer);
    this.#waiting.delete(track);
    if (track.attempt === undefined) return;
    track.attempt.cancel();
    track.attempt = undefined;
    this.#running--;
    this.#startWaiting();
  }
}

function keyOf({ service, id }: Pick<ProbeTarget, 'service' | 'id'>): string {
  return `${service}/${id}`;
}

function aimOf({ url, path, timeoutMs, tls, protocol, expectation }: ProbeTarget): ProbeAim {
  return {
    url,
    path: typeof path === 'string' ? escaped(path) : undefined,
    timeoutMs,
    protocol: protocol ?? 'auto',
    tls: tlsConnectOptions(tls),
    expectation: expectation ?? NOTHING_EXPECTED,
  };
}

/** A path from a file may hold spaces or umlauts, which `node:http` throws at. */
function escaped(path: string): string {
  const { pathname, search } = new URL(`http://host${path}`);
  return pathname + search;
}
