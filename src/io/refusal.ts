import { errorRow, type ErrorCode } from '../kernel/errors.ts';
import { formatProblem, type ProblemExtra } from '../kernel/problem.ts';
import { addFields, retryAfterSeconds } from '../limits/fields.ts';
import { retryAfterSeconds as afterOverload } from '../shedding/retry-after.ts';
import type { Exchange } from './exchange.ts';
import { closeInOrder } from './lingering.ts';
import { serverTiming } from './server-timing.ts';

/**
 * How the gateway says no: one prebuilt body, one header list, one write, and the connection left in a state that both
 * sides agree on.
 *
 * An unread body is the trap: closing a socket with unread bytes makes the kernel send a reset that can overtake the
 * answer. A small body is read and thrown away, so that the connection lives; a large, endless or not yet invited one
 * ends the connection in order (`lingering.ts`).
 */

/** Bodies up to this many bytes are cheaper to swallow than a connection is to open again. */
const SWALLOW_BYTES = 64 * 1024;

/** Writes the whole answer of a code. The caller makes sure that nothing was sent before. */
export function writeRefusal(exchange: Exchange, code: ErrorCode): void {
  const { res, worker } = exchange;
  const row = errorRow(code);
  if (row.status === 499 || res.headersSent || res.destroyed) {
    exchange.cut('client');
    return;
  }
  const problem = formatProblem(
    code,
    exchange.requestId,
    exchange.facts.accept,
    exchange.facts.navigation,
    membersOf(exchange),
  );
  const headers: string[] = [
    'content-type',
    problem.contentType,
    'content-length',
    String(Buffer.byteLength(problem.body)),
    'cache-control',
    'no-store',
    'x-request-id',
    exchange.requestId,
  ];
  if (row.retryAfter) headers.push('retry-after', String(retryAfterOf(exchange, code)));
  addLimitFields(exchange, headers);
  if (exchange.snapshot.serverTiming) headers.push('server-timing', serverTiming(exchange, worker.now()));
  // A 401 must name a way to authenticate (RFC 9110 §15.5.2).
  if (row.status === 401) headers.push('www-authenticate', 'ApiKey realm="api"');
  if (exchange.allow !== '') headers.push('allow', exchange.allow);
  const unread = bodyMayBeLarge(exchange);
  const closes =
    row.closes || exchange.closes || worker.draining || unread || exchange.upgradeSocket !== undefined;
  if (closes) {
    exchange.connection.closing = true;
    headers.push('connection', 'close');
  }
  res.writeHead(row.status, headers);
  if (closes && exchange.upgradeSocket === undefined) closeInOrder(exchange);
  else if (!exchange.req.complete) exchange.req.resume();
  res.end(problem.body);
}

/** Which limit refused, by its public name (draft-ietf-httpapi-ratelimit-headers, `violated-policies`). */
function membersOf({ decision }: Exchange): ProblemExtra | undefined {
  if (decision === undefined || decision.refusedBy === '') return undefined;
  return { 'violated-policies': [decision.refusedBy] };
}

/** Seconds for `Retry-After`, from the figures of whichever limiter refused. */
function retryAfterOf(exchange: Exchange, code: ErrorCode): number {
  const { decision, worker, route, rank } = exchange;
  const now = worker.now();
  if (decision !== undefined && !decision.ok) return retryAfterSeconds(decision, worker.random);
  if (code === 'SPW_CIRCUIT_OPEN' && route !== undefined) {
    const pauseS = Math.ceil(route.service.breaker.waitMs(now) / 1000);
    return Math.max(1, pauseS) + Math.floor(worker.random() * 2);
  }
  // Before admission was asked: a shed there is the front gate's, and lasts as long as its own trouble.
  if (route === undefined || exchange.enteredMs === 0)
    return afterOverload(worker.strain.lastingMs(now), rank, worker.random);
  return route.service.admission.retryAfterSeconds(rank, now);
}

/** Adds the RateLimit fields of a limited route to a header list. */
export function addLimitFields(exchange: Exchange, headers: string[]): void {
  const { decision, snapshot, charges, limitPolicy } = exchange;
  if (decision === undefined || snapshot.limitHeaders === 'none' || charges.length === 0) return;
  addFields(headers, snapshot.limitHeaders, charges, decision, limitPolicy);
}

function bodyMayBeLarge(exchange: Exchange): boolean {
  const { req, facts } = exchange;
  if (req.complete) return false;
  return facts.chunked || facts.expectContinue || facts.contentLength > SWALLOW_BYTES;
}
