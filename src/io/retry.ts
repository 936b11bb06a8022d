import type { ErrorCode } from '../kernel/errors.ts';
import { mayRetry, retryPauseMs, type FailedAttempt } from '../upstreams/retry-policy.ts';
import type { FailedTry } from './attempt.ts';
import { chooseInstance, enterInstance, leaveInstance } from './choose-instance.ts';
import type { Exchange } from './exchange.ts';
import type { LiveAttempt } from './live-attempt.ts';

/**
 * Another attempt after one that failed: at another instance, after a short pause, if the policy (`retry-policy.ts`), the
 * service's budget and the fleet allow it.
 *
 * Asked in this order, since only the last takes something: policy, instance, budget. If one says no the failed attempt's
 * place at its instance is taken again, so that what follows finds the exchange as it was. A try at a silent instance
 * (`panic-tries.ts`) was ours: what follows it takes nothing of `max` and the budget, but is one of the most attempts.
 */

/** Begins an attempt at the instance that was chosen. */
export type Begin = (exchange: Exchange, now: number) => void;

/** The wait before another attempt, so that the callers of an instance that died do not arrive at the next one together. */
class RetryPause implements LiveAttempt {
  readonly #exchange: Exchange;
  readonly #begin: Begin;
  readonly dueMs: number;
  #over = false;

  constructor(exchange: Exchange, dueMs: number, begin: Begin) {
    this.#exchange = exchange;
    this.dueMs = dueMs;
    this.#begin = begin;
  }

  overdue(now: number): void {
    if (!this.#over) this.#begin(this.#exchange, now);
  }

  abandon(): void {
    this.#over = true;
  }

  resume(): void {
    // Nothing is on its way yet.
  }
}

/** Share of failing instances above which nothing is tried again. Of one or two the failed one alone is that many. */
const MOST_FAILING = 0.5;
const FEW_INSTANCES = 3;

/** Starts another attempt at another instance if the policy, the budget and the fleet allow it. */
export function retry(
  attempt: FailedTry,
  phase: FailedAttempt['phase'],
  status: number,
  retryAfter: boolean,
  now: number,
  begin: Begin,
): boolean {
  const { exchange } = attempt;
  const { route, worker } = exchange;
  if (route === undefined || exchange.finished) return false;
  const { service } = route;
  const { panicTry } = exchange;
  const wasTry = panicTry === 'running';
  const shedding = service.admission.view(now);
  const allowed =
    wasTry ||
    mayRetry({
      phase,
      method: exchange.req.method ?? 'GET',
      keyed: isKeyed(exchange),
      status,
      hasRetryAfter: retryAfter,
      bodyUntouched: attempt.body === null || attempt.body.repeatable,
      // What a version does not have was no failed try.
      attempts: exchange.attempts - (exchange.versionChoice?.rescues ?? 0),
      max: service.configuration.retry.max + (panicTry === 'failed' ? 1 : 0),
      pressure: Math.max(worker.pressure.view(now).pressure, shedding.pressure),
      leftMs: exchange.deadlineMs - now,
      p50Ms: shedding.p50Ms,
      mostFail: service.instances >= FEW_INSTANCES && service.balancer.failingRatio(now) > MOST_FAILING,
    });
  if (!allowed) return false;
  if (wasTry) exchange.panicTry = 'failed';
  exchange.tried.push(attempt.slot);
  const { slot, instance, version, pickReason } = exchange;
  leaveInstance(exchange, now);
  const fresh = phase === 'sent-no-byte' || phase === 'unprocessed';
  let code: ErrorCode | '' = chooseInstance(exchange, !fresh);
  if (code !== '' && fresh) {
    // Alone in its service, or of its version: most likely a connection that was just being closed, so a fresh one there
    // will do.
    exchange.tried.length = 0;
    code = chooseInstance(exchange);
  }
  // What an instance has not begun costs nobody twice; a server that says GOAWAY may leave a hundred of them at once.
  if (code !== '' || (phase !== 'unprocessed' && !wasTry && !service.budget.tryRetry(now))) {
    // Nobody else can take it, or the budget is spent: the first answer stands.
    if (code === '') leaveInstance(exchange, now);
    worker.recorder.retried(exchange, code === '' ? 'budget' : 'no_instance');
    Object.assign(exchange, { slot, instance, version, pickReason, panicTry });
    enterInstance(exchange, slot, now);
    return false;
  }
  attempt.abandon();
  worker.recorder.retried(exchange, 'sent');
  const pause = new RetryPause(exchange, now + retryPauseMs(exchange.attempts, worker.random), begin);
  exchange.attempt = pause;
  exchange.arm(pause.dueMs);
  return true;
}

/** Its caller names the operation, so that doing it twice does it once, and the service goes by that. */
export function isKeyed({ route, facts }: Exchange): boolean {
  if (route?.service.configuration.retry.idempotencyKey !== true) return false;
  return (facts.lookup('idempotency-key') ?? '') !== '';
}
