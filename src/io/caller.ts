import { stripCookie } from '../affinity/session-cookie.ts';
import { clientAddress } from '../clients/address.ts';
import { isRequestId } from '../forwarding/request-id.ts';
import type { RequestAdditions } from '../forwarding/request-headers.ts';
import { isTraceparent, newTraceparent } from '../forwarding/trace-context.ts';
import type { ErrorCode } from '../kernel/errors.ts';
import { effectiveRank } from '../kernel/priority.ts';
import type { Exchange } from './exchange.ts';

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
  if (exchange.peerTrusted && isRequestId(facts.xRequestId)) exchange.requestId = facts.xRequestId;
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
    exchange.rank = effectiveRank(tierRank, route?.rank ?? tierRank, facts.xPriority);
  }
  return exchange.identity.code;
}

/** Asks whether the worker itself can keep up; true when the request was refused because it cannot. */
export function refuseOverload(exchange: Exchange, now: number): boolean {
  const { worker, snapshot } = exchange;
  const { mode } = snapshot.configuration.shedding;
  if (mode === 'off') return false;
  identifyCaller(exchange);
  const code = worker.pressure.refuses(exchange.rank, now, worker.random);
  if (code === '') return false;
  worker.recorder.shed(exchange, code, mode);
  if (mode === 'observe') return false;
  exchange.refuse(code, 'event loop or memory of the gateway');
  return true;
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
    cookie: service?.cookies === undefined ? undefined : stripCookie(facts.cookie, service.cookieName),
    fallbackHost: exchange.instance,
  };
}
