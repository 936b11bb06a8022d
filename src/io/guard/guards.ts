import type { Configuration, RouteConfiguration } from '../../../config/schema.ts';
import { prepareProblem, type PreparedProblem } from '../../kernel/problem.ts';
import type { Random } from '../../kernel/random.ts';
import { Strikes, type GuardKind, type GuardRule, type Tally } from '../../limits/guard.ts';
import { routeDigest } from '../../limits/keys.ts';
import { guardWords } from '../../limits/words.ts';
import type { Exchange } from '../exchange.ts';
import type { ToSupervisor } from '../ipc.ts';
import { openRedis } from '../limit-store/redis-options.ts';
import type { Meter } from '../meter.ts';
import type { GuardName, GuardStore } from './guard-store.ts';
import { IpcGuardStore } from './ipc-guard-store.ts';
import { RedisGuardStore } from './redis-guard-store.ts';

/**
 * Guards of routes and penalties of tiers in one worker: compiled from the configuration, asked before the limits, told of
 * each outcome.
 *
 * What is known of clients lies here by what is counted together and outlives a reload; the figures are the snapshot's. The store
 * is opened with the first configuration that has something to count, and with that only: whoever has no guard has no
 * connection for them, and no request of his meets any of this.
 */

/** As a snapshot has it. */
export interface Guard extends GuardName {
  /** The route's name, or the tier's. */
  readonly place: string;
  readonly code: 'SPW_RATE_CLIENT' | 'SPW_RATE_ROUTE';
  /** Answers that are strikes; a penalty has none, it strikes at refusals. */
  readonly statuses: ReadonlySet<number>;
  readonly strikes: Strikes;
  readonly problem: PreparedProblem;
}

/** Why a request is refused before its limits are asked. */
export interface Block {
  readonly guard: Guard;
  readonly restMs: number;
}

/** A block as operators are told of it. */
export interface BlockFigures {
  readonly kind: GuardKind;
  /** The route's or the tier's. */
  readonly name: string;
  readonly code: Guard['code'];
  readonly enforced: boolean;
  /** Until it ends, ms. */
  readonly restMs: number;
}

export interface GuardSet {
  /** In the order of the configuration's routes. */
  readonly routes: readonly (Guard | undefined)[];
  readonly penalties: ReadonlyMap<string, Guard>;
}

/** A client has one penalty, whatever its tier is called, also when its token brings another: names of tiers never reach the store. */
export const PENALTY_SUFFIX = 'p';
/** What only observes counts apart, or a client that comes with another tier would be blocked for what nobody refused. */
const OBSERVED_PENALTY_SUFFIX = 'po';
const NO_STATUSES: ReadonlySet<number> = new Set();

export class Guards {
  readonly #meter: Meter;
  readonly #random: Random;
  readonly #now: () => number;
  readonly #send: (message: ToSupervisor) => boolean;
  /** By suffix. */
  #memories: ReadonlyMap<string, Strikes> = new Map();
  #current = new Map<string, Guard>();
  #store: GuardStore | undefined = undefined;
  #mark = '';

  constructor(parts: {
    meter: Meter;
    random: Random;
    now: () => number;
    send: (message: ToSupervisor) => boolean;
  }) {
    this.#meter = parts.meter;
    this.#random = parts.random;
    this.#now = parts.now;
    this.#send = parts.send;
  }

  /** For a snapshot; undefined when it guards nothing. Changes nothing that is in force. */
  compile({ limits, routes, tiers }: Configuration): GuardSet | undefined {
    if (limits.mode === 'off') return undefined;
    const enforces = limits.mode === 'enforce';
    const memories = new Map(this.#memories);
    const penalties = new Map<string, Guard>();
    for (const [tier, { penalty, mode }] of Object.entries(tiers)) {
      if (penalty === null) continue;
      const enforced = enforces && mode === 'enforce' && penalty.mode === 'enforce';
      const rule = ruleOf('penalty', penalty.refusals, penalty, enforced);
      const suffix = enforced ? PENALTY_SUFFIX : OBSERVED_PENALTY_SUFFIX;
      penalties.set(tier, guardOf(memories, `${PENALTY_SUFFIX}.${tier}`, suffix, tier, rule, NO_STATUSES));
    }
    const guards = routes.map((route) => {
      const { guard } = route;
      if (guard === null) return undefined;
      const rule = ruleOf('guard', guard.failures, guard, enforces && guard.mode === 'enforce');
      const suffix = `g.${guardDigest(route)}`;
      const place = `${route.host ?? ''}${route.path}`;
      return guardOf(memories, suffix, suffix, place, rule, new Set(guard.status));
    });
    if (penalties.size === 0 && guards.every((guard) => guard === undefined)) return undefined;
    return { routes: guards, penalties };
  }

  /** Puts a compiled set into force. */
  configure({ redis }: Configuration, set: GuardSet | undefined): void {
    const mark = set === undefined ? '' : JSON.stringify(redis);
    if (mark !== this.#mark) {
      this.#store?.close();
      this.#store = set === undefined ? undefined : this.#open(redis);
      this.#mark = mark;
    }
    const current = new Map<string, Guard>();
    for (const guard of [...(set?.routes ?? []), ...(set?.penalties.values() ?? [])]) {
      if (guard !== undefined) current.set(guard.name, guard);
    }
    this.#memories = new Map(current.values().map(({ suffix, strikes }) => [suffix, strikes]));
    this.#current = current;
  }

  /** Asked before the limits: the block that this request meets, the longest if two do. */
  blockOf(exchange: Exchange, now: number): Block | undefined {
    const { route, bucket, tier, exempt } = exchange;
    const guards = exchange.snapshot.guards;
    if (exempt || guards === undefined) return undefined;
    const penalty = guards.penalties.get(tier);
    const byPenalty = penalty === undefined ? undefined : this.#met(exchange, penalty, bucket, now);
    const guard = route?.guard;
    const byGuard = guard === undefined ? undefined : this.#met(exchange, guard, bucket, now);
    if (byPenalty === undefined || byGuard === undefined) return byPenalty ?? byGuard;
    return byGuard.restMs > byPenalty.restMs ? byGuard : byPenalty;
  }

  /** Step 8: whether what became of a request is a strike. */
  judge(exchange: Exchange, now: number): void {
    const { route, bucket, tier, exempt, identity } = exchange;
    const guards = exchange.snapshot.guards;
    if (exempt || guards === undefined || identity?.code !== '') return;
    const guard = route?.guard;
    // An instance's answer, however it ended; what the gateway refuses by itself is nobody's password.
    if (guard !== undefined && exchange.headMs !== 0 && guard.statuses.has(exchange.status))
      this.#strike(guard, bucket, now);
    const penalty = guards.penalties.get(tier);
    if (penalty !== undefined && isRefusal(exchange, penalty.rule)) this.#strike(penalty, bucket, now);
  }

  /** For an operator: what this worker blocks the client for, or would; a penalty as that of `tier`, if it has one. */
  blocksOf(client: string, tier: string, now: number): BlockFigures[] {
    const found = new Map<string, BlockFigures>();
    for (const guard of this.#current.values()) {
      if (found.has(guard.suffix) && guard.place !== tier) continue;
      for (const block of blocksBy(guard, client, now)) found.set(guard.suffix, block);
    }
    return [...found.values()];
  }

  /** The supervisor's word. */
  struck(name: string, client: string, tally: Tally, own: boolean): void {
    if (own) {
      this.#told(name, client, tally);
      return;
    }
    this.#current.get(name)?.strikes.blocked(client, tally.restMs, this.#now());
  }

  /** It was lifted, maybe elsewhere. */
  forget(client: string): void {
    for (const strikes of this.#memories.values()) strikes.forgive(client);
  }

  /** An operator lifts what a client has brought upon itself. Resolves when it is done, or cannot be. */
  async forgive(client: string): Promise<void> {
    const bySuffix = new Map(this.#current.values().map((guard) => [guard.suffix, guard]));
    await this.#store?.forgive([...bySuffix.values()], client);
    this.forget(client);
  }

  close(): void {
    this.#store?.close();
  }

  #met(exchange: Exchange, guard: Guard, client: string, now: number): Block | undefined {
    const restMs = guard.strikes.blockedMs(client, now);
    if (restMs === 0) return undefined;
    const { kind, enforced } = guard.rule;
    this.#meter.add('limited_total', [exchange.tier, kind, enforced ? 'enforce' : 'observe']);
    return enforced ? { guard, restMs } : undefined;
  }

  #strike(guard: Guard, client: string, now: number): void {
    if (guard.strikes.strike(client, guard.rule, now)) this.#store?.count(guard, client);
  }

  readonly #told = (name: string, client: string, tally: Tally): void => {
    const guard = this.#current.get(name);
    guard?.strikes.counted(client, guard.rule, tally, this.#now());
  };

  #open(redis: Configuration['redis']): GuardStore {
    if (redis === null) return new IpcGuardStore(this.#send);
    return new RedisGuardStore({
      client: openRedis(redis, this.#random),
      now: this.#now,
      told: this.#told,
      onInsured: () => {
        this.#meter.add('limit_store_errors_total', ['guard']);
      },
    });
  }
}

/** Tells everything that these guards know that a client has another hash. */
export function renamer({ routes, penalties }: GuardSet): (before: string, client: string) => void {
  const guards = [...routes, ...penalties.values()];
  const memories = new Set(guards.flatMap((guard) => (guard === undefined ? [] : [guard.strikes])));
  return (before, client) => {
    for (const strikes of memories) strikes.rename(before, client);
  };
}

/** @param memories by suffix; one that is not there yet is added */
function guardOf(
  memories: Map<string, Strikes>,
  name: string,
  suffix: string,
  place: string,
  rule: GuardRule,
  statuses: ReadonlySet<number>,
): Guard {
  const strikes = memories.get(suffix) ?? new Strikes();
  memories.set(suffix, strikes);
  const code = rule.kind === 'guard' ? 'SPW_RATE_ROUTE' : 'SPW_RATE_CLIENT';
  const problem = prepareProblem(code, { ...BLOCKED, detail: guardWords(rule) });
  return { name, suffix, place, rule, code, statuses, strikes, problem };
}

/** One or none. */
export function blocksBy(guard: Guard | undefined, client: string, now: number): BlockFigures[] {
  const restMs = guard?.strikes.blockedMs(client, now) ?? 0;
  if (guard === undefined || restMs === 0) return [];
  const { rule, place, code } = guard;
  return [{ kind: rule.kind, name: place, code, enforced: rule.enforced, restMs }];
}

const BLOCKED = {
  type: 'https://iana.org/assignments/http-problem-types#abnormal-usage-detected',
  title: 'Blocked for a while',
};

interface Span {
  readonly per: number;
  readonly blockFor: number;
}

function ruleOf(kind: GuardKind, strikes: number, { per, blockFor }: Span, enforced: boolean): GuardRule {
  return { kind, strikes, windowSeconds: per / 1000, blockSeconds: blockFor / 1000, enforced };
}

/** Routes of one path that differ in what else they ask for are guarded apart. */
function guardDigest({ host, path, methods, match }: RouteConfiguration): string {
  const more = [methods ?? [], Object.entries(match.headers)].filter((each) => each.length > 0);
  return routeDigest(`${host ?? ''}${path}${more.length === 0 ? '' : JSON.stringify(more)}`);
}

/** A 429 for the client's own limits; where penalties only observe, also one that there would have been. */
function isRefusal(exchange: Exchange, rule: GuardRule): boolean {
  const { code, block, decision, slotLimit, clientInFlight } = exchange;
  if (block !== undefined) return false;
  if (code === 'SPW_RATE_CLIENT' || code === 'SPW_RATE_ROUTE' || code === 'SPW_CONCURRENCY_CLIENT')
    return true;
  if (rule.enforced || decision === undefined) return false;
  // It went on without the slot that it should have had.
  if (slotLimit !== undefined && clientInFlight === 0) return true;
  return decision.observed.includes('client') || decision.observed.includes('route');
}
