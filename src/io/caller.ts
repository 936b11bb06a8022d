import { stripCookie } from '../affinity/session-cookie.ts';
import { clientAddress } from '../clients/address.ts';
import type { Identity } from '../clients/identity.ts';
import type { RequestFacts } from '../forwarding/request-facts.ts';
import { isRequestId } from '../forwarding/request-id.ts';
import type { RequestAdditions } from '../forwarding/request-headers.ts';
import { trimOws, wholeNumber } from '../forwarding/tokens.ts';
import { isTraceparent, newTraceparent } from '../forwarding/trace-context.ts';
import { effectiveRank } from '../kernel/priority.ts';
import type { Charge } from '../limits/decision.ts';
import { clientMark } from '../shedding/cohort.ts';
import type { Exchange } from './exchange.ts';
import { peerSubject } from './peer-subject.ts';
import type { ServiceRuntime } from './service-runtime.ts';
import type { Next } from './steps.ts';

/**
 * Who is behind an exchange: address, client, tier and priority, and what of it an instance is told.
 */

/** No caller tries more often; a longer number is none. */
const MOST_ATTEMPTS = 1_000_000;

/** Peer and caller's address, and a trusted proxy's request id: only such a peer's word counts. */
export function locateCaller(exchange: Exchange): void {
  const { req, facts, snapshot } = exchange;
  const { trusted } = snapshot;
  const { header } = snapshot.configuration.trust;
  const peer = req.socket.remoteAddress ?? '';
  // In its shortest form: a listener on both families shows IPv4 callers as ::ffff:1.2.3.4.
  const { connection } = exchange;
  if (connection.peerAddress === '') {
    connection.peerAddress = clientAddress(peer, header, '', trusted);
    if (exchange.listener.tls?.clientCa) connection.subject = peerSubject(req.socket);
  }
  exchange.peerAddress = connection.peerAddress;
  exchange.peerTrusted = trusted.includes(peer);
  const told = exchange.peerTrusted ? (header === 'forwarded' ? facts.forwarded : facts.xForwardedFor) : '';
  exchange.address = told === '' ? exchange.peerAddress : clientAddress(peer, header, told, trusted);
  if (exchange.peerTrusted && isRequestId(facts.xRequestId)) {
    exchange.requestId = facts.xRequestId;
    exchange.serial = 0;
  }
}

/** Asks the identity chain, once; the front gate may have done so before the step that is named after it. */
export function identifyCaller(exchange: Exchange): void {
  if (exchange.identity === undefined) takeIdentity(exchange, exchange.snapshot.identity.identify(exchange));
}

function takeIdentity(exchange: Exchange, identity: Identity): void {
  const { snapshot, route, facts } = exchange;
  const tierRank = snapshot.rankOfTier(identity.tier);
  exchange.identity = identity;
  exchange.client = identity.client;
  exchange.bucket = identity.bucket;
  exchange.tier = identity.tier;
  exchange.exempt = identity.exempt;
  // A stranger has no tier: what its route is worth, at its peer's address.
  const own = identity.kind === 'client' ? tierRank : (route?.rank ?? 1);
  exchange.rank = effectiveRank(own, route?.rank ?? own, facts.xPriority);
}

/**
 * Step 3 once the chain has answered: goes on with `next`, at once or when a token has been verified, or refuses. A 401 is
 * charged to the address that it was given to.
 */
export function admitCaller(exchange: Exchange, next: Next): void {
  const { identity } = exchange;
  if (identity === undefined || identity.kind === 'client') next(exchange);
  else if (identity.kind === 'pending') {
    exchange.next = next;
    void settleToken(exchange);
  } else if (identity.code === 'SPW_RATE_CLIENT') refuseUnseen(exchange, next);
  else refuseStranger(exchange, '');
}

/** The deadline may have passed meanwhile, or the caller have left; then the verdict is only remembered. */
async function settleToken(exchange: Exchange): Promise<void> {
  const { snapshot, worker, address } = exchange;
  try {
    const unverified = snapshot.identity.unverified(exchange);
    const verdict = unverified === undefined ? undefined : await snapshot.verifyToken(unverified);
    if (exchange.finished || exchange.code !== '') return;
    if (verdict?.kind === 'undecided') {
      exchange.refuse(verdict.code, verdict.reason);
      return;
    }
    const good = verdict?.kind === 'good';
    const { identity: chain } = snapshot;
    takeIdentity(exchange, good ? chain.verified(verdict.facts, address) : chain.badToken(address));
    if (good) exchange.proceed();
    else refuseStranger(exchange, verdict?.reason ?? '');
  } catch (error) {
    worker.recorder.fault(error);
    exchange.refuse('SPW_INTERNAL', 'a step failed');
  }
}

/** Its address is on hold: refused by the limiter's own figures, uncharged. Should the hold be over now, the chain goes on. */
function refuseUnseen(exchange: Exchange, next: Next): void {
  const { worker, snapshot, route, tier, bucket, exempt } = exchange;
  exchange.charges = chargesOfAddress(exchange);
  exchange.limitPolicy = route === undefined ? '' : snapshot.chargesFor(route, tier, bucket, exempt).policy;
  exchange.cost = 1;
  if (worker.limiter.refuseOnHold(exchange, worker.now())) return;
  takeIdentity(exchange, snapshot.identity.identify(exchange, true));
  admitCaller(exchange, next);
}

/** A 401 is what costs its address a unit, and nothing else of the identity does. */
function refuseStranger(exchange: Exchange, reason: string): void {
  const { worker, identity } = exchange;
  const code = identity?.code ?? '';
  if (code === 'SPW_UNKNOWN_KEY') worker.limiter.chargeOnly(chargesOfAddress(exchange), 1, worker.now());
  exchange.refuse(code === '' ? 'SPW_INTERNAL' : code, reason);
}

/** What guesses are charged to: the address's own bucket of the default tier, and none that is shared. */
function chargesOfAddress({ snapshot, route, tier, bucket, exempt }: Exchange): readonly Charge[] {
  if (route === undefined) return [];
  return snapshot.chargesFor(route, tier, bucket, exempt).charges.filter(({ level }) => level === 'client');
}

/** Asks whether the worker itself can keep up; true when the request was refused because it cannot. */
export function refuseOverload(exchange: Exchange, now: number): boolean {
  const { worker, snapshot, route } = exchange;
  const { mode } = snapshot.configuration.shedding;
  if (mode === 'off') return false;
  identifyCaller(exchange);
  if (worker.pressure.pressing) levelOf(exchange, now);
  const slaMs = route?.service.configuration.sla ?? Infinity;
  const code = worker.pressure.refuses(exchange, slaMs, now, worker.random);
  if (code === '') return false;
  worker.recorder.shed(exchange, code, mode);
  if (mode === 'observe') return false;
  exchange.refuse(code, 'event loop or memory of the gateway');
  return true;
}

/** Its place among those who may be refused, worked out once. */
function levelOf(exchange: Exchange, now: number): void {
  const { worker, rank, bucket, facts } = exchange;
  exchange.level = worker.levels.of(rank, clientMark(bucket, worker.wallMs()), isRetry(facts), now);
}

/** The caller says that it tries again, in one of the three ways in use. */
function isRetry(facts: RequestFacts): boolean {
  return (
    countOf(facts, 'x-retry-attempt') >= 1 ||
    countOf(facts, 'x-envoy-attempt-count') > 1 ||
    countOf(facts, 'grpc-previous-rpc-attempts') >= 1
  );
}

/** A count in a header; -1 when there is none. */
function countOf(facts: RequestFacts, name: string): number {
  const value = facts.lookup(name);
  return value === undefined ? -1 : wholeNumber(trimOws(value), MOST_ATTEMPTS);
}

/** Host and port of the instance as its URL has them: the scheme's own port is left out. */
function authorityOf({ route, slot }: Exchange): string {
  const url = route?.service.balancer.urlOf(slot) ?? '';
  return url.slice(url.indexOf('//') + 2);
}

/** The caller's cookies but for the service's own; undefined: as they came. */
function cookieWithoutOurs(
  { facts, connection }: Exchange,
  { sessions, versions }: ServiceRuntime,
): string | undefined {
  const rest =
    sessions.cookies === undefined ? undefined : connection.session.rest(facts.cookie, sessions.cookieName);
  const name = versions?.cookieName ?? '';
  return name === '' ? rest : stripCookie(rest ?? facts.cookie, name);
}

/** What is added to the request on its way to an instance. */
export function additionsOf(exchange: Exchange, now: number): RequestAdditions {
  const { worker, facts } = exchange;
  const service = exchange.route?.service;
  return {
    requestId: exchange.requestId,
    peerAddress: exchange.peerAddress,
    peerTrusted: exchange.peerTrusted,
    clientAddress: exchange.address,
    proto: exchange.secure ? 'https' : 'http',
    viaName: worker.viaName,
    client: exchange.client,
    tier: exchange.tier,
    remainingMs: exchange.deadlineMs - now,
    attempt: exchange.attempts,
    traceparent: isTraceparent(facts.traceparent) ? '' : newTraceparent(worker.random),
    cookie: service === undefined ? undefined : cookieWithoutOurs(exchange, service),
    fallbackHost: exchange.instance,
    instanceHost: service?.configuration.hostHeader === 'instance' ? authorityOf(exchange) : '',
  };
}
