/**
 * A process that decides all the time while its Redis stands still for two seconds (SIGSTOP, as in a long fork or a disk
 * that hangs), and tells how long each decision took and who made it. The limiter and its stores are those of a worker: the
 * share of the outage is kept by another process, over the message channel.
 *
 * Tenths of a millisecond and deadlines say something only where the process gets its processor. So it also tells how long
 * it did not come round itself, and what decisions take in memory alone: another limiter, whose store is never fit, is asked
 * in turn with the first, so that each is as often the one that finds the processor's caches cold.
 */
import { fork } from 'node:child_process';
import process from 'node:process';
import { setTimeout as pause } from 'node:timers/promises';

import type { Charge, LimitCaller, LimitDecision } from '../../src/limits/decision.ts';
import { IpcLimitStore, type LimitBatchReply } from '../../src/io/limit-store/ipc.ts';
import { EmbeddedStore } from '../../src/limits/embedded-store.ts';
import { compileRate } from '../../src/limits/gcra.ts';
import { clientKey, globalKey } from '../../src/limits/keys.ts';
import { RedisServer } from '../../test/harness/redis.ts';
import { fitStore, limiterOn } from './worker-limiter.ts';

export interface HangDecision {
  /** After the Redis stood still, ms. */
  readonly atMs: number;
  readonly tookMs: number;
  readonly path: LimitDecision['path'];
  readonly ok: boolean;
}

export interface HangReport {
  readonly decisions: readonly HangDecision[];
  /** When the Redis went on, ms after it stood still. */
  readonly resumedMs: number;
  /** In ms: decisions in memory alone, all along. */
  readonly memoryMs: readonly number[];
  /** The longest that the process did not come round while the first deadline was running, ms. */
  readonly awayMs: number;
}

const TIMEOUT_MS = 25;
/** As a worker gives its supervisor. */
const SUPERVISOR_TIMEOUT_MS = 100;
const SHARE_EXTRA_MS = 2;
const CALM_MS = 1500;
const STILL_MS = 2000;
const AFTER_MS = 3000;
/** From when the Redis stands still: the first deadline has passed, and whoever waited has been told. */
const FIRST_MS = 60;
const PLENTY = 100_000;

const server = await RedisServer.start();
const store = await fitStore(server.port, TIMEOUT_MS);
const supervisor = fork(new URL('share-child.ts', import.meta.url));
const gatewayStore = new IpcLimitStore({
  send: (message) => supervisor.send(message),
  timeoutMs: SUPERVISOR_TIMEOUT_MS,
  random: Math.random,
  onState: () => undefined,
});
supervisor.on('message', (reply: LimitBatchReply) => gatewayStore.receive(reply));
const share = { store: gatewayStore, withinMs: TIMEOUT_MS + SHARE_EXTRA_MS };
const limiter = limiterOn(store, 'exact', share);
const rate = compileRate(PLENTY, PLENTY);
const charges: readonly Charge[] = [
  { key: clientKey('h'.repeat(22)), level: 'client', rate, enforced: true },
  { key: globalKey(), level: 'global', rate, enforced: true },
];

/** Never fit: what is asked of it is decided in memory. */
class Lost extends EmbeddedStore {
  override decide(): boolean {
    return false;
  }
}
const memory = limiterOn(new Lost(1, Math.random), 'exact');

type Told = (askedMs: number, tookMs: number, decision: LimitDecision) => void;

/** A question that takes down how long it waited. */
class Timed implements LimitCaller {
  readonly charges = charges;
  readonly cost = 1;
  readonly askedMs = performance.now();
  readonly #told: Told;

  constructor(told: Told) {
    this.#told = told;
  }

  decided(decision: LimitDecision): void {
    this.#told(this.askedMs, performance.now() - this.askedMs, decision);
  }
}

/** Asks both limiters each millisecond until it is ended. */
class Asking {
  readonly decisions: HangDecision[] = [];
  readonly memoryMs: number[] = [];
  awayMs = 0;
  /** When the Redis stood still; all moments are told from it in the end. */
  stoppedMs = Infinity;
  readonly #startedMs = performance.now();
  #lastMs = this.#startedMs;
  #turns = 0;
  readonly #timer = setInterval(() => this.#turn(), 1);

  end(): void {
    clearInterval(this.#timer);
  }

  report(resumedMs: number): HangReport {
    const { memoryMs, awayMs, stoppedMs } = this;
    // Its first moments compile.
    const decisions = this.decisions
      .filter(({ atMs }) => atMs >= this.#startedMs + CALM_MS / 3)
      .map(({ atMs, tookMs, path, ok }) => ({ atMs: atMs - stoppedMs, tookMs, path, ok }));
    return { decisions, memoryMs, awayMs, resumedMs };
  }

  #turn(): void {
    const nowMs = performance.now();
    const first = nowMs >= this.stoppedMs && this.#lastMs < this.stoppedMs + FIRST_MS;
    if (first) this.awayMs = Math.max(this.awayMs, nowMs - this.#lastMs);
    this.#lastMs = nowMs;
    this.#turns += 1;
    if (this.#turns % 2 === 0) this.#askMemory();
    const caller = new Timed((atMs, tookMs, { path, ok }) => this.decisions.push({ atMs, tookMs, path, ok }));
    limiter.decide(caller, caller.askedMs);
    if (this.#turns % 2 === 1) this.#askMemory();
  }

  #askMemory(): void {
    const caller = new Timed((_atMs, tookMs) => this.memoryMs.push(tookMs));
    memory.decide(caller, caller.askedMs);
  }
}

const asking = new Asking();
await pause(CALM_MS);
server.pause();
asking.stoppedMs = performance.now();
await pause(STILL_MS);
server.resume();
const resumedMs = performance.now() - asking.stoppedMs;
await pause(AFTER_MS);
asking.end();
await pause(2 * TIMEOUT_MS);
store.close();
gatewayStore.close();
supervisor.disconnect();
await server.stop();
process.send?.(asking.report(resumedMs), () => process.exit(0));
