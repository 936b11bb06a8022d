/**
 * A process in which every map of the limiter is filled past its cap by callers who come once or twice: leases of those
 * who are admitted, holds of those who are refused, and the share of an outage. The store keeps nothing here, so what is
 * left after a collection is the limiter's own. Started with `--expose-gc`.
 */
import process from 'node:process';
import { setImmediate as nextTurn } from 'node:timers/promises';

import type { LimitCaller, LimitDecision } from '../../src/limits/decision.ts';
import { EmbeddedStore } from '../../src/limits/embedded-store.ts';
import { compileRate, decideLevels, TERMS_PER_LEVEL, TICKS_PER_MS } from '../../src/limits/gcra.ts';
import { clientKey } from '../../src/limits/keys.ts';
import type { Limiter } from '../../src/limits/limiter.ts';
import type { StoreCall } from '../../src/limits/store.ts';
import { watchStalls } from './stall-watch.ts';
import type { Stalls } from './stall-watch.ts';
import { limiterOn } from './worker-limiter.ts';

export interface SprayReport {
  readonly keys: number;
  /** What the limiter holds after each kind of spray, MiB, one on top of the other. */
  readonly heapMiB: Readonly<Record<string, number>>;
  readonly stalls: Readonly<Record<string, Stalls>>;
  readonly decisions: Readonly<Record<string, number>>;
}

const [keys = 0] = process.argv.slice(2).map(Number);
/** Decisions in one turn of the event loop: a busy worker's. */
const EACH_TURN = 100;
const WARM_UP_KEYS = 20_000;

/** Answers by the arithmetic of the gateway, from buckets that are all full or all empty, and remembers none. */
class Forgetful extends EmbeddedStore {
  answers: 'yes' | 'no' | 'nothing' = 'yes';

  override decide(call: StoreCall, now: number): boolean {
    if (this.answers === 'nothing') return false;
    const nowTicks = Math.floor(now * TICKS_PER_MS);
    const tats: number[] = [];
    for (let level = 0; level < call.keys.length; level += 1) {
      const unitTicks = call.terms[level * TERMS_PER_LEVEL] ?? 0;
      const burst = call.terms[level * TERMS_PER_LEVEL + 1] ?? 0;
      tats.push(this.answers === 'yes' ? 0 : nowTicks + unitTicks * burst);
    }
    const reply: number[] = [];
    decideLevels(tats, call.terms, 0, call.keys.length, nowTicks, reply);
    call.answered(reply, now);
    return true;
  }
}

const store = new Forgetful(1, Math.random);

/** Large enough to be leased, slow enough that nothing is full again while this runs. */
const rate = compileRate(1000, 1000);
const slow = compileRate(1 / 60, 10);

/** How often who decided what. */
class Counts {
  readonly #counts = new Map<string, number>();

  add(name: string): void {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
  }

  take(): Record<string, number> {
    const taken = Object.fromEntries(this.#counts);
    this.#counts.clear();
    return taken;
  }
}
const counts = new Counts();

class OneOfMany implements LimitCaller {
  readonly charges: LimitCaller['charges'];
  readonly cost = 1;

  constructor(client: number, kind: string, leasable: boolean) {
    // A name as the gateway makes it, flat and of its own.
    const hash = Buffer.from(`${kind}${client.toString(36)}`.padEnd(22, 'x')).toString('latin1');
    this.charges = [{ key: clientKey(hash), level: 'client', rate: leasable ? rate : slow, enforced: true }];
  }

  decided({ path, ok }: LimitDecision): void {
    counts.add(`${path}, ${ok ? 'admitted' : 'refused'}`);
  }
}

type Kind = 'leased' | 'refused' | 'lost';
const KINDS: readonly Kind[] = ['leased', 'refused', 'lost'];
const ANSWERS = { leased: 'yes', refused: 'no', lost: 'nothing' } as const;

async function spray(limiter: Limiter, kind: Kind, count: number): Promise<void> {
  store.answers = ANSWERS[kind];
  for (let client = 0; client < count; client += 1) {
    limiter.decide(new OneOfMany(client, kind, kind === 'leased'), performance.now());
    if (client % EACH_TURN === 0) await nextTurn();
  }
}

function heapMiB(): number {
  const { gc } = globalThis;
  gc?.();
  gc?.();
  return process.memoryUsage().heapUsed / 2 ** 20;
}

async function allSprays(): Promise<SprayReport> {
  // Compiled code and the runtime's own are not the limiter's: one that is thrown away again goes first.
  for (const kind of KINDS) await spray(limiterOn(store, 'auto'), kind, WARM_UP_KEYS);
  counts.take();
  const limiter = limiterOn(store, 'auto');
  const before = heapMiB();
  const heap: Record<string, number> = {};
  const stalls: Record<string, Stalls> = {};
  for (const kind of KINDS) {
    // Collections that are asked for here are not among the stalls.
    const stop = watchStalls();
    await spray(limiter, kind, keys);
    stalls[kind] = stop();
    heap[kind] = heapMiB() - before;
  }
  return { keys, heapMiB: heap, stalls, decisions: counts.take() };
}

process.send?.(await allSprays(), () => process.exit(0));
