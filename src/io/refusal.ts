import { grpcRefusalFields } from '../forwarding/grpc-status.ts';
import { errorRow, type ErrorCode, type ErrorRow } from '../kernel/errors.ts';
import { formatProblem, problemMembers, type PreparedProblem } from '../kernel/problem.ts';
import { addFields, retryAfterSeconds } from '../limits/fields.ts';
import { blockedRetryAfterSeconds, type GuardKind } from '../limits/guard.ts';
import type { LimitDecision } from '../limits/decision.ts';
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
  const { res } = exchange;
  const row = errorRow(code);
  if (row.status === 499 || res.headersSent || res.destroyed) {
    exchange.cut('client');
    return;
  }
  if (exchange.facts.grpc) {
    const fields = grpcRefusalFields({
      contentType: exchange.facts.contentType,
      httpStatus: row.status,
      message: `${code}: ${wordsOf(exchange)?.detail ?? row.detail}`,
      requestId: exchange.requestId,
      retryAfterS: row.retryAfter ? retryAfterOf(exchange, code) : 0,
    });
    if (!exchange.facts.http2) fields.push('content-length', '0');
    send(exchange, row, 200, fields, '', true);
    return;
  }
  const problem = formatProblem(
    code,
    exchange.requestId,
    exchange.facts.accept,
    exchange.facts.navigation,
    violatedBy(exchange),
    exchange.snapshot.errorPage,
    wordsOf(exchange),
  );
  const bytes = Buffer.byteLength(problem.body);
  const headers: string[] = [
    'content-type',
    problem.contentType,
    'content-length',
    String(bytes),
    'cache-control',
    'no-store',
    'x-request-id',
    exchange.requestId,
  ];
  if (row.retryAfter) headers.push('retry-after', String(retryAfterOf(exchange, code)));
  // A 401 must name a way to authenticate (RFC 9110 §15.5.2).
  if (row.status === 401) headers.push('www-authenticate', exchange.identity?.challenge ?? '');
  if (exchange.allow !== '') headers.push('allow', exchange.allow);
  send(exchange, row, row.status, headers, problem.body, bytes === problem.body.length);
}

function send(
  exchange: Exchange,
  row: ErrorRow,
  status: number,
  headers: string[],
  body: string,
  ascii: boolean,
): void {
  const { res, worker } = exchange;
  addLimitFields(exchange, headers);
  if (exchange.snapshot.serverTiming) headers.push('server-timing', serverTiming(exchange, worker.now()));
  const unread = bodyMayBeLarge(exchange);
  const closes =
    row.closes || exchange.closes || worker.draining || unread || exchange.upgradeSocket !== undefined;
  if (closes) {
    exchange.connection.closing = true;
    headers.push('connection', 'close');
  }
  res.writeHead(status, headers);
  if (closes && exchange.upgradeSocket === undefined) closeInOrder(exchange);
  else if (exchange.facts.hasBody && !exchange.req.complete) worker.rates.swallow(exchange.req, worker.now());
  // As latin-1 it joins its head in one piece.
  res.end(body, ascii ? 'latin1' : 'utf8');
}

/** Which limit refused, by its public name (draft-ietf-httpapi-ratelimit-headers, `violated-policies`). */
const VIOLATED: Readonly<Record<LimitDecision['refusedBy'], string>> = {
  '': '',
  concurrency: violated('concurrency'),
  client: violated('client'),
  route: violated('route'),
  tier: violated('tier'),
  'route-total': violated('route-total'),
  global: violated('global'),
};

function violated(policy: string): string {
  return problemMembers({ 'violated-policies': [policy] });
}

const BLOCKED_BY: Readonly<Record<GuardKind, string>> = {
  guard: violated('guard'),
  penalty: violated('penalty'),
};

function violatedBy({ block, decision }: Exchange): string {
  if (block !== undefined) return BLOCKED_BY[block.guard.rule.kind];
  return decision === undefined ? '' : VIOLATED[decision.refusedBy];
}

/** The words of a refusal for the caller's own limits, with the figures that he is held to. */
function wordsOf(exchange: Exchange): PreparedProblem | undefined {
  const { block, decision, charges, cost, slotLimit, snapshot } = exchange;
  if (block !== undefined) return block.guard.problem;
  if (decision === undefined || decision.ok) return undefined;
  if (decision.refusedBy === 'concurrency' && slotLimit !== undefined)
    return snapshot.problems.ofConcurrency(slotLimit.most);
  return snapshot.problems.of(decision.refusedBy, charges, cost);
}

/** Seconds for `Retry-After`, from the figures of whichever limiter refused. */
function retryAfterOf(exchange: Exchange, code: ErrorCode): number {
  const { block, decision, worker, route, rank } = exchange;
  const now = worker.now();
  if (block !== undefined) return blockedRetryAfterSeconds(block.restMs, worker.random);
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
  if (decision === undefined || snapshot.limitHeaders === 'none' || limitPolicy === '') return;
  addFields(headers, snapshot.limitHeaders, charges, decision, limitPolicy);
}

/** More may come than is cheaper to read than to end the connection for. */
export function bodyMayBeLarge(exchange: Exchange): boolean {
  const { req, facts } = exchange;
  if (req.complete) return false;
  return facts.chunked || facts.expectContinue || facts.contentLength > SWALLOW_BYTES;
}
