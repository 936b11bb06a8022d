/**
 * A process of its own that decides, and tells what a decision cost it: the gateway's limiter as a worker has it (exact and
 * from leases), one `RateLimiterRedis` and a union of three, all on one real Redis.
 *
 * In turns within each round, the order turning, in one process: what the machine does meanwhile it does to all. A *wave*
 * of callers decides in one turn of the event loop and the next wave comes when all have their answer. CPU is that of the
 * whole process, with reading and writing the socket, compiling and collecting garbage; the price of an empty wave is
 * taken off. Called by decision.ts with the port of the Redis, the rounds, and the seconds of a turn.
 */
import process from 'node:process';

import { Redis } from 'ioredis';
import { RateLimiterRedis, RateLimiterUnion } from 'rate-limiter-flexible';

import type { Charge, LimitCaller, LimitDecision } from '../../src/limits/decision.ts';
import { compileRate } from '../../src/limits/gcra.ts';
import { clientKey, globalKey, routeKey } from '../../src/limits/keys.ts';
import type { Limiter } from '../../src/limits/limiter.ts';
import { scriptCalls } from './script-calls.ts';
import { fitStore, limiterOn } from './worker-limiter.ts';

/** One kind of decision at one number of callers a wave. */
export interface DecisionTurn {
  readonly name: string;
  readonly wave: number;
  readonly cpuUs: number;
  readonly decisions: number;
  readonly calls: number;
}

export interface DecisionReport {
  readonly turns: readonly DecisionTurn[];
  /** Answers that were no admission: nobody here is over a limit. */
  readonly refused: number;
}

const [port = 0, rounds = 1, seconds = 1] = process.argv.slice(2).map(Number);
/** One caller alone in his turn is the dearest case; sixteen is a busy worker's turn. */
const WAVES = [1, 16];
const CLIENTS = 64;
const PLENTY = 1_000_000;
const WARM_UP_SECONDS = 0.6;

const redis = new Redis(port, '127.0.0.1');
const store = await fitStore(port, 1000);
/** Leases decide two million times a second here, twice the fastest rate there is; this much burst outlasts the turns. */
const rate = compileRate(PLENTY, 1000 * PLENTY);
/** Of each client: its own limit, its limit on a route, and the front door's. */
const CHARGES: readonly (readonly Charge[])[] = Array.from({ length: CLIENTS }, (_, client) => {
  const hash = `client-${client}`.padEnd(22, '0');
  return [
    { key: clientKey(hash), level: 'client', rate, enforced: true },
    { key: routeKey(hash, 'route000'), level: 'route', rate, enforced: true },
    { key: globalKey(), level: 'global', rate, enforced: true },
  ];
});

/** Callers who decide in one turn of the event loop; the next come when all have their answer. */
class Waves {
  refused = 0;
  #left = 0;
  #over: () => void = () => undefined;

  settled(ok: boolean): void {
    if (!ok) this.refused += 1;
    this.#left -= 1;
    if (this.#left === 0) this.#over();
  }

  async run(decide: Decide, callers: number, first: number): Promise<void> {
    const done = Promise.withResolvers<void>();
    // A turn of the event loop whether or not somebody was asked, so that all pay for as many turns.
    this.#over = () => setImmediate(done.resolve);
    this.#left = callers;
    for (let caller = 0; caller < callers; caller += 1) decide(first + caller);
    await done.promise;
  }
}

const waves = new Waves();

/** As an exchange does: the caller is the question. */
class Question implements LimitCaller {
  readonly charges: readonly Charge[];
  readonly cost = 1;

  constructor(client: number) {
    this.charges = CHARGES[client % CLIENTS] ?? [];
  }

  decided({ ok }: LimitDecision): void {
    waves.settled(ok);
  }
}

type Decide = (client: number) => void;

function byLimiter(limiter: Limiter): Decide {
  return (client) => limiter.decide(new Question(client), performance.now());
}

const one = new RateLimiterRedis({ storeClient: redis, keyPrefix: 'one', points: PLENTY, duration: 60 });
const union = new RateLimiterUnion(
  ...['client', 'route', 'global'].map(
    (keyPrefix) => new RateLimiterRedis({ storeClient: redis, keyPrefix, points: PLENTY, duration: 60 }),
  ),
);
const admitted = (): void => waves.settled(true);
const denied = (): void => waves.settled(false);
const contenders: readonly { readonly name: string; readonly decide: Decide }[] = [
  { name: 'leased', decide: byLimiter(limiterOn(store, 'leased')) },
  { name: 'exact', decide: byLimiter(limiterOn(store, 'exact')) },
  {
    name: 'RateLimiterRedis',
    decide: (client) => void one.consume(`client-${client % CLIENTS}`).then(admitted, denied),
  },
  {
    name: 'union of three',
    decide: (client) => void union.consume(`client-${client % CLIENTS}`).then(admitted, denied),
  },
  { name: 'nothing', decide: () => waves.settled(true) },
];

function cpuUs(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

async function turn(
  name: string,
  decide: Decide,
  callers: number,
  forSeconds: number,
): Promise<DecisionTurn> {
  const callsBefore = await scriptCalls(redis);
  const until = performance.now() + forSeconds * 1000;
  const before = cpuUs();
  let decisions = 0;
  while (performance.now() < until) {
    await waves.run(decide, callers, decisions);
    decisions += callers;
  }
  const used = cpuUs() - before;
  return {
    name,
    wave: callers,
    cpuUs: used / decisions,
    decisions,
    calls: (await scriptCalls(redis)) - callsBefore,
  };
}

async function allTurns(): Promise<DecisionReport> {
  for (const { name, decide } of contenders) await turn(name, decide, 16, WARM_UP_SECONDS);
  const turns: DecisionTurn[] = [];
  for (let round = 0; round < rounds; round += 1) {
    for (const callers of WAVES) {
      for (const { name, decide } of round % 2 === 0 ? contenders : contenders.toReversed())
        turns.push(await turn(name, decide, callers, seconds));
    }
  }
  return { turns, refused: waves.refused };
}

process.send?.(await allTurns(), () => process.exit(0));
