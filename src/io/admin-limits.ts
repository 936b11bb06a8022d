import type { Configuration } from '../../config/schema.ts';
import { CODES, isOwn } from '../limits/decision.ts';
import { compileRate } from '../limits/gcra.ts';
import { MOST_OVERRIDES } from '../limits/override-book.ts';
import { SLOT_RETRY_MS } from '../limits/slots.ts';
import { errorRow, type ErrorCode } from '../kernel/errors.ts';
import type {
  BlockView,
  ConcurrencyView,
  LimitScope,
  LimitView,
  OverrideFigures,
  OverrideResult,
  PeekQuestion,
  PeekView,
  QuotaResult,
  QuotaView,
} from './admin-port.ts';
import type { BucketFigures, NamedClient, PeekAnswer, QuotaAct, QuotaAnswer } from './client-quota.ts';
import { errorMessage } from './error-message.ts';
import type { Answer } from './ipc.ts';
import type { LimitOverrides } from './limit-overrides.ts';
import type { Questions } from './questions.ts';
import { rateText } from './rate-text.ts';
import type { WorkerPool, WorkerProcess } from './worker-pool.ts';

/**
 * A client's quota, for operators: looked at, overridden for a time, and filled.
 *
 * The buckets are in Redis or in the supervisor's memory; each worker may hold leased units of them, charged there and not
 * yet used, and holds refusals for as long as they last. So a look asks every worker, takes the store's figures from the
 * first that has them and adds what all hold. Filling takes three rounds: a look finds a worker whose store answers, that
 * one alone deletes the buckets (each further deletion would give away what was spent in between), then every worker
 * forgets its leases and refusals, after everything it had asked before is answered. Workers of other gateways on the same
 * Redis are told through `limit-overrides.ts`, as is an override, and forget within two seconds.
 *
 * Limits: a worker that does not answer in time is missing from the figures, and goes on by what it holds, a lease for
 * 100 ms, a refusal until one unit would have come back; `workers` says how many were heard. Units that another worker
 * leased between the last two rounds are dropped, never doubled. Shared limits are shown, not filled: they are not this
 * client's.
 */

/** A worker's loop may be late by this beside the store's deadline. */
const PATIENCE_MS = 250;
/** The embedded store's deadline, when there is no `redis.timeout`. */
const EMBEDDED_TIMEOUT_MS = 100;

interface AdminLimitsParts {
  readonly pool: Pick<WorkerPool, 'all'>;
  readonly questions: Questions;
  readonly limitOverrides: Pick<LimitOverrides, 'find' | 'set' | 'remove' | 'filled'>;
  readonly current: () => { readonly configuration: Configuration };
}

type Known = Extract<QuotaAnswer, { state: 'known' }>;
type Unavailable = Extract<QuotaResult, { state: 'unavailable' }>;

interface Looked {
  readonly result: QuotaResult;
  /** Who is meant, also of those that have used nothing and while the store is lost. */
  readonly named?: NamedClient;
  /** One whose store answers. */
  readonly worker?: WorkerProcess;
}

export class AdminLimits {
  readonly #parts: AdminLimitsParts;

  constructor(parts: AdminLimitsParts) {
    this.#parts = parts;
  }

  /** The quota as it stands, and what would become of a request; charges nothing. */
  async look(client: string, peek?: PeekQuestion): Promise<QuotaResult> {
    return (await this.#look(client, peek)).result;
  }

  /** Sets the client's own rate for a time; the quota as it stands after. */
  async override(client: string, figures: OverrideFigures, by: string): Promise<OverrideResult> {
    const { result, named } = await this.#look(client);
    if (named === undefined) return result.state === 'no-route' ? { state: 'unknown' } : result;
    const { ratePerSecond, ttlMs } = figures;
    const burst = figures.burst ?? Math.max(1, Math.ceil(ratePerSecond));
    const { routes } = this.#parts.current().configuration;
    try {
      compileRate(ratePerSecond, burst, Math.max(...routes.map(({ cost }) => cost)));
    } catch (error) {
      return { state: 'invalid', detail: errorMessage(error) };
    }
    const { bucket, hashed } = named;
    const order = { bucket, hashed, client: named.client, ratePerSecond, burst, ttlMs, by };
    const scope = await this.#parts.limitOverrides.set(order);
    if (scope === undefined) return { state: 'full', most: MOST_OVERRIDES };
    const { quota } = await this.#all('obey', client, named);
    return { state: 'known', quota: { ...quota, scope } };
  }

  /** Ends an override and fills the client's own buckets; the quota as it stands after. */
  async fill(client: string, by: string): Promise<QuotaResult> {
    const { result, named, worker } = await this.#look(client);
    if (named === undefined) return result;
    const { limitOverrides } = this.#parts;
    // Asked of everybody: another gateway may have set one a moment ago.
    const removed = await limitOverrides.remove(named.bucket, by);
    if (result.state === 'unknown' && removed === undefined && !this.#mayBeBlockedElsewhere()) return result;
    if (worker === undefined) return result.state === 'unavailable' ? withoutStore(result, removed) : result;
    const [filled] = (await this.#ask([worker], 'fill', client)).values();
    if (filled?.state !== 'known') {
      const why =
        filled?.state === 'unavailable' ? filled.reason : 'no answer from the worker that was to do it';
      const detail = `${this.#storeName()} did not confirm (${why}); whether the quota was filled is not known, so ask again.`;
      return withoutStore({ state: 'unavailable', detail }, removed);
    }
    const scope = await limitOverrides.filled(named.bucket);
    const { quota, known } = await this.#all('release', client, named);
    // The store was lost since: the buckets are full all the same, by the word of the worker that filled them.
    const told = known > 0 ? quota : this.#view(named, [filled], 0, quota.workers.asked);
    return { state: 'known', quota: { ...told, scope } };
  }

  /** What only another gateway has blocked is in Redis alone until the client comes here. */
  #mayBeBlockedElsewhere(): boolean {
    const { redis, routes, tiers } = this.#parts.current().configuration;
    if (redis === null) return false;
    return (
      routes.some(({ guard }) => guard !== null) ||
      Object.values(tiers).some(({ penalty }) => penalty !== null)
    );
  }

  /** Every worker forgets what it holds of the client's, and says how it stands. */
  async #all(
    act: 'obey' | 'release',
    client: string,
    named: NamedClient,
  ): Promise<{ quota: QuotaView; known: number }> {
    const workers = this.#parts.pool.all();
    const answers = await this.#ask(workers, act, client);
    const known = knownOf(answers);
    return { quota: this.#view(named, known, known.length, workers.length), known: known.length };
  }

  async #look(client: string, peek?: PeekQuestion): Promise<Looked> {
    const workers = this.#parts.pool.all();
    const answers = await this.#ask(workers, 'look', client, peek);
    const all = [...answers.values()];
    const noRoute = all.find((each) => each.state === 'no-route');
    if (noRoute !== undefined) return { result: noRoute };
    const known = knownOf(answers);
    const [first] = known;
    if (first === undefined) {
      if (all.some(({ state }) => state === 'unknown')) return { result: { state: 'unknown' } };
      const named = all.flatMap((each) => (each.state === 'unavailable' ? [each.named] : []))[0];
      const result: QuotaResult = { state: 'unavailable', detail: this.#unavailable(all) };
      return { result, ...(named === undefined ? {} : { named }) };
    }
    const worker = workers.find(({ key }) => answers.get(key) === first);
    const found = { named: first, ...(worker === undefined ? {} : { worker }) };
    const isUsed =
      first.configured ||
      known.some(({ blocks, slots }) => blocks.length > 0 || (slots?.held ?? 0) > 0) ||
      this.#parts.limitOverrides.find(first.bucket) !== undefined ||
      !known.every(isUntouched);
    if (!isUsed && peek === undefined) return { ...found, result: { state: 'unknown' } };
    const quota = this.#view(first, known, known.length, workers.length);
    return { ...found, result: { state: 'known', quota } };
  }

  async #ask(
    workers: readonly WorkerProcess[],
    act: QuotaAct,
    client: string,
    peek?: PeekQuestion,
  ): Promise<Map<string, QuotaAnswer>> {
    const { questions, current } = this.#parts;
    const timeoutMs = current().configuration.redis?.timeout ?? EMBEDDED_TIMEOUT_MS;
    const question = { what: 'quota', act, client, ...(peek === undefined ? {} : { peek }) } as const;
    const answers = await questions.ask(workers, question, PATIENCE_MS + timeoutMs);
    return new Map([...answers].flatMap(([key, answer]) => quotaOf(key, answer)));
  }

  #view(named: NamedClient, known: readonly Known[], answered: number, asked: number): QuotaView {
    const [first] = known;
    // Of another tier is what a worker makes of a client whose token it has not seen.
    const own = known.filter(({ tier }) => tier === named.tier);
    const leases = new Map<string, number>();
    for (const { limits } of known) {
      const seen = new Set<string>();
      for (const { key, leased } of limits) {
        if (!seen.has(key)) leases.set(key, (leases.get(key) ?? 0) + leased);
        seen.add(key);
      }
    }
    const set = this.#parts.limitOverrides.find(named.bucket);
    const note = set && { until: new Date(set.untilMs).toISOString(), by: set.by };
    const concurrency = concurrencyView(own);
    const peek = peekView(own, concurrency);
    return {
      client: named.client,
      tier: named.tier,
      store: this.#parts.current().configuration.redis === null ? 'embedded' : 'redis',
      workers: { asked, answered },
      ...(concurrency && { concurrency }),
      blocks: blockViews(known),
      ...(set && note && { override: { rate: rateText(set.ratePerSecond), burst: set.burst, ...note } }),
      limits: (first?.limits ?? [])
        .map((limit) => limitView(limit, leases.get(limit.key) ?? 0, note))
        .toSorted((a, b) => Number(a.shared) - Number(b.shared)),
      ...(peek && { peek }),
    };
  }

  #unavailable(answers: readonly QuotaAnswer[]): string {
    if (answers.length === 0) return 'No worker answered in time, so the quota is not known.';
    const reasons = answers.flatMap((answer) => (answer.state === 'unavailable' ? [answer.reason] : []));
    return `${this.#storeName()} is unavailable (${[...new Set(reasons)].join(', ')}), so the quota is not known; nothing was changed.`;
  }

  #storeName(): string {
    return this.#parts.current().configuration.redis === null ? 'The limit store' : 'Redis';
  }
}

/** @param note of the client's override */
function limitView(figures: BucketFigures, leased: number, note: LimitView['override']): LimitView {
  const { level, name, enforced, ratePerSecond, burst, waitMs, fullMs } = figures;
  const remaining = Math.min(burst, figures.remaining + leased);
  return {
    level,
    name,
    mode: modeOf(enforced),
    shared: !isOwn(figures),
    rate: rateText(ratePerSecond),
    burst,
    remaining,
    leased,
    retryAfterMs: remaining > 0 ? 0 : waitMs,
    fullMs,
    ...(level === 'client' && note && { override: note }),
  };
}

/** Undefined where the tier does not limit them. */
function concurrencyView(known: readonly Known[]): ConcurrencyView | undefined {
  const all = known.flatMap(({ slots }) => (slots === undefined ? [] : [slots]));
  const [first] = all;
  return (
    first && {
      mode: modeOf(first.enforced),
      allowed: first.most,
      inFlight: all.reduce((sum, { inFlight }) => sum + inFlight, 0),
      held: all.reduce((sum, { held }) => sum + held, 0),
    }
  );
}

/** Each once, as the worker knows it that knows of the longest. */
function blockViews(known: readonly Known[]): BlockView[] {
  const views = new Map<string, BlockView>();
  const blocks = known.flatMap((each) => each.blocks);
  for (const { kind, name, enforced, restMs } of blocks.toSorted((a, b) => a.restMs - b.restMs)) {
    const view = { by: kind, name, mode: modeOf(enforced), retryAfterMs: Math.ceil(restMs) };
    views.set(`${kind} ${name}`, view);
  }
  return [...views.values()];
}

/** Something that refuses a request that is imagined, or would. */
interface Obstacle {
  readonly by: string;
  readonly code: ErrorCode;
  readonly enforced: boolean;
  readonly waitMs: number;
  readonly never?: boolean;
}

/** Undefined where nobody was asked. */
function peekView(known: readonly Known[], concurrency: ConcurrencyView | undefined): PeekView | undefined {
  const peeks = known.flatMap(({ peek }) => (peek === undefined ? [] : [peek]));
  const [first] = peeks;
  if (first === undefined) return undefined;
  const { route, cost } = first;
  // In the order in which a request meets them.
  const obstacles = [...blocking(peeks), ...atLimit(concurrency), ...lacking(peeks, first)];
  const refusing = obstacles.filter(({ enforced }) => enforced);
  const refusal = refusing[0];
  return {
    route,
    cost,
    ok: refusal === undefined,
    status: refusal === undefined ? 0 : errorRow(refusal.code).status,
    code: refusal?.code ?? '',
    refusedBy: refusal?.by ?? '',
    retryAfterMs: refusing.some(({ never }) => never)
      ? null
      : Math.max(0, ...refusing.map(({ waitMs }) => waitMs)),
    observed: [...new Set(obstacles.flatMap(({ by, enforced }) => (enforced ? [] : [by])))],
  };
}

/** The longest first: of two it is the one that is told. */
function blocking(peeks: readonly PeekAnswer[]): Obstacle[] {
  return peeks
    .flatMap(({ blocks }) => blocks)
    .toSorted((a, b) => b.restMs - a.restMs)
    .map(({ kind, code, enforced, restMs }) => ({ by: kind, code, enforced, waitMs: Math.ceil(restMs) }));
}

function atLimit(concurrency: ConcurrencyView | undefined): Obstacle[] {
  if (concurrency === undefined || concurrency.inFlight < concurrency.allowed) return [];
  const enforced = concurrency.mode === 'enforce';
  return [{ by: 'concurrency', code: 'SPW_CONCURRENCY_CLIENT', enforced, waitMs: SLOT_RETRY_MS }];
}

/** A request takes what one worker holds, never of two. */
function lacking(peeks: readonly PeekAnswer[], { cost, levels }: PeekAnswer): Obstacle[] {
  return levels.flatMap(({ level, enforced, waitMs, remaining, never }, i) => {
    const leased = Math.max(...peeks.map((each) => each.levels[i]?.leased ?? 0));
    const lacks = cost > 0 && waitMs > 0 && remaining + leased < cost;
    return lacks ? [{ by: level, code: CODES[level], enforced, waitMs, never }] : [];
  });
}

function modeOf(enforced: boolean): 'enforce' | 'observe' {
  return enforced ? 'enforce' : 'observe';
}

/** The store is lost, and an override went all the same. */
function withoutStore(result: Unavailable, removed: LimitScope | undefined): Unavailable {
  if (removed === undefined) return result;
  const where = removed === 'this-gateway-only' ? ', at this gateway only until the store is back' : '';
  const detail = result.detail.replace('nothing was changed.', 'nothing was filled.');
  return { ...result, detail: `${detail} The override was removed${where}.` };
}

/** Those that had a token of the client first: what tier it claims is known to them alone. */
function knownOf(answers: ReadonlyMap<string, QuotaAnswer>): Known[] {
  return [...answers.values()]
    .flatMap((answer) => (answer.state === 'known' ? [answer] : []))
    .toSorted((a, b) => Number(b.claimed) - Number(a.claimed));
}

/** None of the client's own buckets has anything missing. */
function isUntouched({ limits }: Known): boolean {
  return limits.every((limit) => !isOwn(limit) || (limit.fullMs === 0 && limit.leased === 0));
}

function quotaOf(key: string, answer: Answer): [string, QuotaAnswer][] {
  return answer.what === 'quota' ? [[key, answer.quota]] : [];
}
