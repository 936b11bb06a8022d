import type { Configuration } from '../../config/schema.ts';
import type { LimitView, QuotaResult, QuotaView } from './admin-port.ts';
import { isOwn } from '../limits/limiter.ts';
import type { BucketFigures, QuotaAct, QuotaAnswer } from './client-quota.ts';
import type { Answer } from './ipc.ts';
import type { Questions } from './questions.ts';
import type { WorkerPool, WorkerProcess } from './worker-pool.ts';

/**
 * A client's quota, for operators: looked at, and filled.
 *
 * The buckets are in Redis or in the supervisor's memory; each worker may hold leased units of them, charged there and not
 * yet used, and holds refusals for as long as they last. So a look asks every worker, takes the store's figures from the
 * first that has them and adds what all hold. Filling takes three rounds: a look finds a worker whose store answers, that
 * one alone deletes the buckets (each further deletion would give away what was spent in between), then every worker
 * forgets its leases and refusals, after everything it had asked before is answered.
 *
 * Limits: a worker that does not answer in time is missing from the figures, and goes on by what it holds, a lease for
 * 100 ms, a refusal until one unit would have come back; `workers` says how many were heard. Units that another worker
 * leased between the last two rounds are dropped, never doubled. Shared limits are shown, not filled: they are not this
 * client's. Workers of other gateways on the same Redis are not reached: a refusal that they hold ends in its own time.
 */

/** A worker's loop may be late by this beside the store's deadline. */
const PATIENCE_MS = 250;
/** The embedded store's deadline, when there is no `redis.timeout`. */
const EMBEDDED_TIMEOUT_MS = 100;

interface AdminLimitsParts {
  readonly pool: Pick<WorkerPool, 'all'>;
  readonly questions: Questions;
  readonly current: () => { readonly configuration: Configuration };
}

type Known = Extract<QuotaAnswer, { state: 'known' }>;

export class AdminLimits {
  readonly #parts: AdminLimitsParts;

  constructor(parts: AdminLimitsParts) {
    this.#parts = parts;
  }

  /** The quota as it stands; charges nothing. */
  async look(client: string): Promise<QuotaResult> {
    return (await this.#look(client)).result;
  }

  /** Fills the client's own buckets; the quota as it stands after. */
  async fill(client: string): Promise<QuotaResult> {
    const { result, by } = await this.#look(client);
    if (by === undefined) return result;
    const [filled] = (await this.#ask([by], 'fill', client)).values();
    if (filled?.state !== 'known') {
      const why =
        filled?.state === 'unavailable' ? filled.reason : 'no answer from the worker that was to do it';
      return {
        state: 'unavailable',
        detail: `${this.#storeName()} did not confirm (${why}); whether the quota was filled is not known, so ask again.`,
      };
    }
    const workers = this.#parts.pool.all();
    const released = await this.#ask(workers, 'release', client);
    const known = [...released.values()].filter(isKnown);
    // The store was lost since: the buckets are full all the same, by the word of the worker that filled them.
    const quota = this.#view(known.length === 0 ? [filled] : known, known.length, workers.length);
    return { state: 'known', quota };
  }

  async #look(client: string): Promise<{ result: QuotaResult; by?: WorkerProcess }> {
    const workers = this.#parts.pool.all();
    const answers = await this.#ask(workers, 'look', client);
    const all = [...answers.values()];
    const known = all.filter(isKnown);
    const [first] = known;
    if (first === undefined) {
      if (all.some(({ state }) => state === 'unknown')) return { result: { state: 'unknown' } };
      return { result: { state: 'unavailable', detail: this.#unavailable(all) } };
    }
    if (!first.configured && known.every(isUntouched)) return { result: { state: 'unknown' } };
    const by = workers.find(({ key }) => answers.get(key)?.state === 'known');
    const quota = this.#view(known, known.length, workers.length);
    return { result: { state: 'known', quota }, ...(by === undefined ? {} : { by }) };
  }

  async #ask(
    workers: readonly WorkerProcess[],
    act: QuotaAct,
    client: string,
  ): Promise<Map<string, QuotaAnswer>> {
    const { questions, current } = this.#parts;
    const timeoutMs = current().configuration.redis?.timeout ?? EMBEDDED_TIMEOUT_MS;
    const answers = await questions.ask(workers, { what: 'quota', act, client }, PATIENCE_MS + timeoutMs);
    return new Map([...answers].flatMap(([key, answer]) => quotaOf(key, answer)));
  }

  #view(known: readonly Known[], answered: number, asked: number): QuotaView {
    const [first] = known;
    const leases = new Map<string, number>();
    for (const { limits } of known) {
      const seen = new Set<string>();
      for (const { key, leased } of limits) {
        if (!seen.has(key)) leases.set(key, (leases.get(key) ?? 0) + leased);
        seen.add(key);
      }
    }
    return {
      client: first?.client ?? '',
      tier: first?.tier ?? '',
      store: this.#parts.current().configuration.redis === null ? 'embedded' : 'redis',
      workers: { asked, answered },
      limits: (first?.limits ?? [])
        .map((limit) => limitView(limit, leases.get(limit.key) ?? 0))
        .toSorted((a, b) => Number(a.shared) - Number(b.shared)),
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

function limitView(figures: BucketFigures, leased: number): LimitView {
  const { level, name, enforced, ratePerSecond, burst, waitMs, fullMs } = figures;
  const remaining = Math.min(burst, figures.remaining + leased);
  return {
    level,
    name,
    mode: enforced ? 'enforce' : 'observe',
    shared: !isOwn(figures),
    rate: rateText(ratePerSecond),
    burst,
    remaining,
    leased,
    retryAfterMs: remaining > 0 ? 0 : waitMs,
    fullMs,
  };
}

/** In the first unit that makes it a whole number, as a configuration would say it. */
function rateText(ratePerSecond: number): string {
  for (const [unit, seconds] of [
    ['s', 1],
    ['m', 60],
    ['h', 3600],
  ] as const) {
    const count = ratePerSecond * seconds;
    const whole = Math.round(count);
    if (whole > 0 && Math.abs(count - whole) < whole * 1e-9) return `${whole}/${unit}`;
  }
  return `${Number(ratePerSecond.toPrecision(6))}/s`;
}

function isKnown(answer: QuotaAnswer): answer is Known {
  return answer.state === 'known';
}

/** None of the client's own buckets has anything missing. */
function isUntouched({ limits }: Known): boolean {
  return limits.every((limit) => !isOwn(limit) || (limit.fullMs === 0 && limit.leased === 0));
}

function quotaOf(key: string, answer: Answer): [string, QuotaAnswer][] {
  return answer.what === 'quota' ? [[key, answer.quota]] : [];
}
