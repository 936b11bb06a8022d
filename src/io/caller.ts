import { clientAddress } from '../clients/address.ts';
import type { RequestFacts } from '../forwarding/request-facts.ts';
import { isRequestId } from '../forwarding/request-id.ts';
import type { RequestAdditions } from '../forwarding/request-headers.ts';
import { trimOws, wholeNumber } from '../forwarding/tokens.ts';
import { isTraceparent, newTraceparent } from '../forwarding/trace-context.ts';
import type { ErrorCode } from '../kernel/errors.ts';
import { effectiveRank } from '../kernel/priority.ts';
import { clientMark } from '../shedding/cohort.ts';
import type { Exchange } from './exchange.ts';

/** No caller tries more often; a longer number is none. */
const MOST_ATTEMPTS = 1_000_000;

/**
 * Who is behind an exchange: address, client, tier and priority, and what of it an instance is told.
 */

/** Peer and caller's address, and a trusted proxy's request id: only such a peer's word counts. */
export function locateCaller(exchange: Exchange): void {
  const { req, facts, snapshot } = exchange;
  const { trusted } = snapshot;
  const { header } = snapshot.configuration.trust;
  const peer = req.socket.remoteAddress ?? '';
  // In its shortest form: a listener on both families shows IPv4 callers as ::ffff:1.2.3.4.
  const { connection } = exchange;
  if (connection.peerAddress === '') connection.peerAddress = clientAddress(peer, header, '', trusted);
  exchange.peerAddress = connection.peerAddress;
  exchange.peerTrusted = trusted.includes(peer);
  const told = exchange.peerTrusted ? (header === 'forwarded' ? facts.forwarded : facts.xForwardedFor) : '';
  exchange.address = told === '' ? exchange.peerAddress : clientAddress(peer, header, told, trusted);
  if (exchange.peerTrusted && isRequestId(facts.xRequestId)) {
    exchange.requestId = facts.xRequestId;
    exchange.serial = 0;
  }
}

/**
 * Asks the identity chain, once; the front gate may have done so before the step that is named after it.
 * @returns the code of a refusal, or ''
 */
export function identifyCaller(exchange: Exchange): ErrorCode | '' {
  if (exchange.identity === undefined) {
    const { snapshot, route, facts } = exchange;
    const identity = snapshot.identity.identify(exchange);
    const tierRank = snapshot.rankOfTier(identity.tier);
    exchange.identity = identity;
    exchange.client = identity.client;
    exchange.bucket = identity.bucket;
    exchange.tier = identity.tier;
    exchange.exempt = identity.exempt;
    // A stranger has no tier: what its route is worth, at its peer's address.
    const own = identity.code === '' ? tierRank : (route?.rank ?? 1);
    exchange.rank = effectiveRank(own, route?.rank ?? own, facts.xPriority);
  }
  return exchange.identity.code;
}

/** Asks whether the worker itself can keep up; true when the request was refused because it cannot. */
export function refuseOverload(exchange: Exchange, now: number): boolean {
  const { worker, snapshot } = exchange;
  const { mode } = snapshot.configuration.shedding;
  if (mode === 'off') return false;
  identifyCaller(exchange);
  if (worker.pressure.pressing) levelOf(exchange, now);
  const code = worker.pressure.refuses(exchange, now, worker.random);
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
    cookie:
      service?.cookies === undefined
        ? undefined
        : exchange.connection.session.rest(facts.cookie, service.cookieName),
    fallbackHost: exchange.instance,
    instanceHost: service?.configuration.hostHeader === 'instance' ? authorityOf(exchange) : '',
  };
}
