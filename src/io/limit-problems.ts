import { prepareProblem, type PreparedProblem } from '../kernel/problem.ts';
import type { Charge, LimitDecision } from '../limits/decision.ts';
import type { CompiledRate } from '../limits/gcra.ts';
import { concurrencyWords, rateWords } from '../limits/words.ts';

/**
 * The bodies of refusals for a caller's own rate, with its figures in them: made at the first refusal under a limit and kept
 * as long as the limit, so that a flood of refusals costs what it did without figures. Limits that many share are told
 * in the words of the error table alone.
 */

const CODES = { client: 'SPW_RATE_CLIENT', route: 'SPW_RATE_ROUTE' } as const;

export class LimitProblems {
  readonly #made = new WeakMap<CompiledRate, Map<number, PreparedProblem>>();

  /** By the figure: as many as tiers have. */
  readonly #concurrency = new Map<number, PreparedProblem>();

  /** Undefined: the code's own words. @param cost of the request that was refused */
  of(
    refusedBy: LimitDecision['refusedBy'],
    charges: readonly Charge[],
    cost: number,
  ): PreparedProblem | undefined {
    if (refusedBy !== 'client' && refusedBy !== 'route') return undefined;
    for (const { level, rate } of charges) {
      if (level !== refusedBy) continue;
      let byCost = this.#made.get(rate);
      if (byCost === undefined) this.#made.set(rate, (byCost = new Map<number, PreparedProblem>()));
      let problem = byCost.get(cost);
      if (problem === undefined) {
        const detail = rateWords(rate.ratePerSecond, cost, refusedBy === 'route');
        problem = prepareProblem(CODES[refusedBy], { detail });
        byCost.set(cost, problem);
      }
      return problem;
    }
    return undefined;
  }

  /** @param most requests that the client may have in flight */
  ofConcurrency(most: number): PreparedProblem {
    let problem = this.#concurrency.get(most);
    if (problem === undefined) {
      problem = prepareProblem('SPW_CONCURRENCY_CLIENT', { detail: concurrencyWords(most) });
      this.#concurrency.set(most, problem);
    }
    return problem;
  }
}
