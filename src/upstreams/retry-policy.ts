/**
 * May this failure be tried again?
 *
 * The rule behind the table: what the instance cannot have acted upon may be repeated with any method, what it may have
 * acted upon only with methods that change nothing, or where the caller names the operation by a key of its own. A
 * `Retry-After` is an answer ("not now"), so it is passed on. Repeating needs a body of which nothing was read or all is
 * kept, time for a usual answer, and neither a gateway under pressure nor a service that half of the others are refused
 * at: a retry is the least important request there is. While most instances fail, another try adds load to what is
 * breaking, unless nothing was sent or begun: then the failed one did no work, and in a quick roll each is refused once.
 *
 * The budget is asked afterwards (`retry-budget.ts`); which instance is the balancer's.
 * Limits: PUT and DELETE are idempotent by definition but not in every service, so they count as others do.
 * Source: RFC 9110 §9.2.2; upstreams.md §5, table.
 */
import { between, type Random } from '../kernel/random.ts';

export interface FailedAttempt {
  /**
   * How far it came: `unsent`, nothing of the request was written; `unprocessed`, written, but the instance has certainly
   * not begun it (GOAWAY, REFUSED_STREAM); `sent-no-byte`, written and not one byte came back (stale socket, reset);
   * `given-up`, the same, but it was we who ended the try (its time is over, its instance went down); `response`, a head came
   * and was not passed on.
   */
  readonly phase: 'unsent' | 'unprocessed' | 'sent-no-byte' | 'given-up' | 'response';
  readonly method: string;
  /** It has an `Idempotency-Key`, and the service knows what that means. */
  readonly keyed: boolean;
  /** Of the response, 0 without one. */
  readonly status: number;
  readonly hasRetryAfter: boolean;
  /** There is no body, or it can be sent from its beginning once more: nothing was read, or all that was is kept. */
  readonly bodyUntouched: boolean;
  /** Attempts made so far, this one included. */
  readonly attempts: number;
  /** Retries that the configuration allows. */
  readonly max: number;
  /** The gateway's own or the share of its service's requests that are refused, whichever is more, 0..1. */
  readonly pressure: number;
  /** Time to the request's deadline. */
  readonly leftMs: number;
  /** The service's usual time to a response head; 0 when unknown. */
  readonly p50Ms: number;
  /** Most of the service's instances fail just now. */
  readonly mostFail: boolean;
}

/** Whatever the configuration says. Half: no second retry for anyone; double: one request can hit six instances. */
const MAX_ATTEMPTS = 3;
/** Half: a gateway at a quarter of its strength gives up on healing; double: it retries until it falls over itself. */
const MAX_PRESSURE = 0.5;
/** The pause before the first retry is below this. Half: retries arrive as the burst that failed; double: users wait. */
const PAUSE_MS = 25;

export function mayRetry(attempt: FailedAttempt): boolean {
  const { attempts, max, pressure, leftMs, p50Ms } = attempt;
  if (attempts > max || attempts >= MAX_ATTEMPTS) return false;
  if (pressure >= MAX_PRESSURE || leftMs <= 0 || leftMs < p50Ms) return false;
  if (!attempt.bodyUntouched) return false;
  switch (attempt.phase) {
    case 'unsent':
    case 'unprocessed':
      return true;
    case 'sent-no-byte':
    case 'given-up':
      return isSafe(attempt) && !attempt.mostFail;
    case 'response':
      return isSafe(attempt) && !attempt.mostFail && isPassing(attempt.status, attempt.hasRetryAfter);
    default:
      return attempt.phase satisfies never;
  }
}

/** The wait before the next attempt after `attempts` of them: anywhere in [0, (2^attempts − 1) · 25 ms). */
export function retryPauseMs(attempts: number, random: Random): number {
  return between(random, 0, (2 ** Math.min(attempts, MAX_ATTEMPTS) - 1) * PAUSE_MS);
}

function isSafe({ method, keyed }: FailedAttempt): boolean {
  return keyed || method === 'GET' || method === 'HEAD' || method === 'OPTIONS';
}

/** Statuses that speak of this instance at this moment; a 500 is the request's own, a 429 the caller's. */
function isPassing(status: number, hasRetryAfter: boolean): boolean {
  return status === 502 || status === 504 || (status === 503 && !hasRetryAfter);
}
