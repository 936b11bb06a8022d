import { LEAST_CALL_MS } from '../forwarding/deadline.ts';
import { upstreamFault, type UpstreamFault } from '../forwarding/fault.ts';
import { buildRequestHeaders } from '../forwarding/request-headers.ts';
import { isGoodAnswer } from '../upstreams/panic-tries.ts';
import type { FailedAttempt } from '../upstreams/retry-policy.ts';
import { answerChunk, answerEnd, answerHead, answerInterim, answerText } from './answer.ts';
import { Attempt, type AttemptOwner, type FailedTry } from './attempt.ts';
import { rescueAsset } from './asset-rescue.ts';
import { additionsOf } from './caller.ts';
import type { Exchange } from './exchange.ts';
import { passResetCode } from './http2-answer.ts';
import { RequestBody } from './request-body.ts';
import { isKeyed, retry } from './retry.ts';
import { openTunnel } from './tunnel.ts';

/**
 * Step 7: the request goes to its instance, and to another one where that is safe.
 *
 * Both mounts end here. What an instance's pool (`upstream-pool.ts`) hears goes straight to the response (`answer.ts`); this module
 * decides: what is written upstream, what is made of an attempt's news (another one: `retry.ts`), and which code the caller
 * gets when nothing helps.
 */

/** @param path checked and rewritten, without the query; the query is appended as it was received. */
export function forward(exchange: Exchange, path: string): void {
  const { route, worker } = exchange;
  if (exchange.finished || route === undefined) return;
  const now = worker.now();
  if (exchange.deadlineMs - now < LEAST_CALL_MS) {
    exchange.refuse('SPW_DEADLINE_EXCEEDED');
    return;
  }
  exchange.upstreamPath = exchange.query === '' ? path : path + exchange.query;
  exchange.phase = 'forwarding';
  exchange.bodyWhole = exchange.req.complete;
  if (exchange.facts.expectContinue) exchange.res.writeContinue();
  if (exchange.facts.hasBody && !exchange.bodyWhole) worker.rates.watch(exchange);
  route.service.budget.attempt(now);
  startAttempt(exchange, now);
}

function startAttempt(exchange: Exchange, now: number): void {
  const { route, facts, req } = exchange;
  if (route === undefined) return;
  const { service } = route;
  exchange.attempts++;
  exchange.worker.recorder.picked(exchange);
  if (exchange.firstAttemptMs === 0) exchange.firstAttemptMs = now;
  if (exchange.upgradeSocket !== undefined) {
    openTunnel(exchange, retryHandshake, now);
    return;
  }
  const body = facts.hasBody ? bodyOf(exchange) : null;
  const attempt = new Attempt(
    exchange,
    exchange.slot,
    body,
    owner,
    now,
    service.configuration.timeout.connect,
    exchange.panicTry === 'running'
      ? service.tries.limitMs
      : (service.configuration.retry.perTry ?? Infinity),
  );
  exchange.attempt = attempt;
  exchange.arm(Math.min(attempt.dueMs, exchange.deadlineMs));
  service.pool(exchange.slot).dispatch(
    {
      path: exchange.upstreamPath,
      method: req.method ?? 'GET',
      headers: buildRequestHeaders(req.rawHeaders, facts, additionsOf(exchange, now), route.requestPlan),
      body,
      bodyBytes: facts.contentLength,
    },
    attempt,
  );
}

function bodyOf(exchange: Exchange): RequestBody {
  const body = new RequestBody(
    exchange.req,
    exchange.listener.limits.bodyBytes,
    () => {
      // A body without a length grew past the limit.
      exchange.refuse('SPW_BODY_TOO_LARGE');
    },
    (bytes) => exchange.worker.garbage.read(bytes),
  );
  const earlier = exchange.body;
  if (exchange.route?.service.mayRefuseStreams(exchange.slot) === true || isKeyed(exchange)) body.keep();
  if (earlier !== undefined && earlier.bytes > 0) body.repeat(earlier);
  exchange.body = body;
  return body;
}

const owner: AttemptOwner = {
  interim(attempt, status, rawHeaders) {
    answerInterim(attempt, status, rawHeaders);
  },

  head(attempt, status, rawHeaders) {
    const { exchange } = attempt;
    const { route, worker } = exchange;
    if (route === undefined) return;
    const now = worker.now();
    const retryAfterMs = status === 503 || status === 429 ? retryAfterOf(rawHeaders, worker.wallMs()) : -1;
    worker.recorder.attemptAnswered(exchange, attempt, status, retryAfterMs, now);
    if (exchange.panicTry === 'running' ? !isGoodAnswer(status) : status >= 502 && status <= 504) {
      if (retry(attempt, 'response', status, retryAfterMs >= 0, now, startAttempt)) return;
    }
    if (status === 404 && rescueAsset(attempt, now, startAttempt)) return;
    answerHead(attempt, status, rawHeaders, now);
    // How its body ends is its instance's doing, as of any other.
    exchange.panicTry = '';
  },

  chunk(attempt, chunk, release) {
    answerChunk(attempt, chunk, release);
  },

  text(attempt, body) {
    answerText(attempt, body);
  },

  end(attempt, trailers) {
    answerEnd(attempt, trailers);
  },

  failed(attempt, fault, midAnswer) {
    const { exchange } = attempt;
    const now = exchange.worker.now();
    exchange.worker.recorder.attemptFailed(exchange, attempt, fault, now);
    if (midAnswer) {
      exchange.reason = fault.reason;
      if (fault.resetCode !== undefined) passResetCode(exchange.res, fault.resetCode);
      exchange.cut('upstream');
      return;
    }
    const outOfTime = now >= exchange.deadlineMs;
    if (!outOfTime && (fault.code !== 'SPW_UPSTREAM_PROTOCOL' || exchange.panicTry === 'running')) {
      if (retry(attempt, phaseOf(attempt, fault), 0, false, now, startAttempt)) return;
    }
    exchange.refuse(fault.code, fault.reason);
  },

  lost(attempt, now) {
    const { exchange } = attempt;
    // What cannot be repeated goes on waiting: the instance may answer yet.
    if (!retry(attempt, 'given-up', 0, false, now, startAttempt)) return;
    exchange.worker.recorder.attemptFailed(exchange, attempt, upstreamFault(undefined, 'lost'), now);
  },
};

function phaseOf(attempt: Attempt, fault: UpstreamFault): FailedAttempt['phase'] {
  if (fault.unprocessed === true) return 'unprocessed';
  if (attempt.unsent) return 'unsent';
  return fault.kind === 'timeout' ? 'given-up' : 'sent-no-byte';
}

/** A handshake of which nothing was sent; what was sent is never repeated, since nobody knows what it opened. */
function retryHandshake(failed: FailedTry, now: number): boolean {
  return now < failed.exchange.deadlineMs && retry(failed, 'unsent', 0, false, now, startAttempt);
}

/** What an instance's `Retry-After` says, ms: seconds or a date; -1 when there is none. Nonsense counts as zero. */
function retryAfterOf(rawHeaders: readonly string[], wallMs: number): number {
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const name = rawHeaders[index];
    if (name?.length !== 11 || name.toLowerCase() !== 'retry-after') continue;
    const value = rawHeaders[index + 1]?.trim() ?? '';
    const seconds = Number(value);
    const ms = Number.isNaN(seconds) ? Date.parse(value) - wallMs : seconds * 1000;
    return Number.isFinite(ms) ? Math.min(Math.max(0, ms), MOST_RETRY_AFTER_MS) : 0;
  }
  return -1;
}

/** A day: what an instance says beyond that is a mistake. */
const MOST_RETRY_AFTER_MS = 86_400_000;
