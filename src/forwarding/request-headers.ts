import { isObservedField } from '../kernel/reserved-fields.ts';
import { COOKIE, DROP, MAX_FORWARDS, TRACESTATE, X_FORWARDED_OTHER } from './field-names.ts';
import { CompiledChanges, type HeaderChanges } from './header-changes.ts';
import type { RequestFacts } from './request-facts.ts';
import { isTraceparent } from './trace-context.ts';

/**
 * The header section that goes to an instance, as the flat list that an upstream pool takes.
 *
 * End-to-end fields pass as they came, spelling and octets included. What belongs to one connection, what `Connection`
 * nominated, what imitates a protected name and every copy of a field that only we speak is left out; then ours is added,
 * after the removal, so that nominating a field of ours removes nothing (CVE-2026-33805). `X-Forwarded-*` and `Forwarded` of
 * an untrusted peer are replaced, of a trusted one continued. Length is written once and canonical; a body without one is
 * chunked by the client that sends it. `TE` belongs to a connection, so the caller's never passes; since we do pass an
 * answer's trailers to whoever reads them, we say so in a field of our own: many senders make none unasked (RFC 9110
 * §6.5.1, §10.1.4). The `Connection: TE` that belongs to it is not sent, since the client writes a `Connection` of its own;
 * whoever passes the field on for the lack of it does no harm, since it only permits. RFC 9110 §7.6, RFC 7239; forwarding.md §3.
 */

/** What a request's way through the gateway adds. An exchange may be its own additions. */
export interface RequestAdditions {
  readonly requestId: string;
  /** The socket's peer, without port. */
  readonly peerAddress: string;
  readonly peerTrusted: boolean;
  /** Whom a trusted peer names, else the peer. */
  readonly clientAddress: string;
  readonly proto: 'http' | 'https';
  /** Our name in `Via`. */
  readonly viaName: string;
  /** Empty: not told. */
  readonly client: string;
  readonly tier: string;
  /** What is left of the deadline. */
  readonly remainingMs: number;
  /** 1 for the first try. */
  readonly attempt: number;
  /** Used when the request brought no valid one; empty: none is made. */
  readonly traceparent: string;
  /** The `Cookie` value without our own cookie; undefined: as it came. */
  readonly cookie: string | undefined;
  /** Host for a 1.0 request that named none. */
  readonly fallbackHost: string;
  /** Host that the instance is told instead of the caller's, which stays in X-Forwarded-Host; empty: the caller's. */
  readonly instanceHost: string;
}

export type RequestPlan = CompiledChanges;

/** @throws RangeError for a name that no route may change, or set. */
export function requestPlan(changes: HeaderChanges): RequestPlan {
  for (const name of Object.keys(changes.set)) {
    if (isObservedField(name.toLowerCase())) throw new RangeError(`a route cannot set the field ${name}`);
  }
  return new CompiledChanges(changes);
}

/** @returns a new list; `content-length` is in it when the length is known. */
export function buildRequestHeaders(
  rawHeaders: readonly string[],
  facts: RequestFacts,
  additions: RequestAdditions,
  plan: RequestPlan,
): string[] {
  const list = endToEnd(rawHeaders, facts, additions);
  addLength(list, facts);
  // On a stream `te` is gRPC's alone; there it has to pass.
  if (facts.trailers && (!facts.http2 || facts.grpc)) list.push('te', 'trailers');
  addOwn(list, facts, additions);
  return plan.apply(list);
}

/** The same for a WebSocket handshake on a connection of its own: it keeps what makes it one. */
export function buildTunnelHeaders(
  rawHeaders: readonly string[],
  facts: RequestFacts,
  additions: RequestAdditions,
  plan: RequestPlan,
): string[] {
  const list = endToEnd(rawHeaders, facts, additions);
  addOwn(list, facts, additions);
  const changed = plan.apply(list);
  changed.push('connection', 'Upgrade', 'upgrade', 'websocket');
  return changed;
}

const DEADLINE = 'x-request-deadline-ms';
const ATTEMPT = 'x-spillway-attempt';

function wholeMs(remainingMs: number): string {
  return String(Math.max(0, Math.floor(remainingMs)));
}

function endToEnd(rawHeaders: readonly string[], facts: RequestFacts, additions: RequestAdditions): string[] {
  const { instanceHost, fallbackHost } = additions;
  const received = facts.host === '' ? fallbackHost : facts.host;
  const list: string[] = ['host', instanceHost === '' ? received : instanceHost];
  const { classes } = facts;
  for (let field = 0; field < classes.length; field++) {
    const fieldClass = classes[field] ?? DROP;
    if (fieldClass >= MAX_FORWARDS && !passesStill(fieldClass, facts, additions)) continue;
    const index = field * 2;
    list.push(rawHeaders[index] ?? '', rawHeaders[index + 1] ?? '');
  }
  if (facts.maxForwards > 0 && facts.method === 'OPTIONS')
    list.push('max-forwards', String(facts.maxForwards - 1));
  if (additions.cookie !== undefined && additions.cookie !== '') list.push('cookie', additions.cookie);
  return list;
}

/** Whether a field that is not simply end-to-end passes in this request. */
function passesStill(fieldClass: number, facts: RequestFacts, additions: RequestAdditions): boolean {
  switch (fieldClass) {
    case MAX_FORWARDS:
      return facts.method !== 'OPTIONS';
    case COOKIE:
      return additions.cookie === undefined;
    case TRACESTATE:
      return isTraceparent(facts.traceparent);
    case X_FORWARDED_OTHER:
      return additions.peerTrusted;
    default:
      return false;
  }
}

/** One canonical length. An empty body is told for methods that usually bring one, and by no other. */
function addLength(list: string[], facts: RequestFacts): void {
  if (facts.chunked) return;
  if (facts.contentLength > 0) list.push('content-length', String(facts.contentLength));
  else if (facts.method === 'POST' || facts.method === 'PUT' || facts.method === 'PATCH')
    list.push('content-length', '0');
}

function addOwn(list: string[], facts: RequestFacts, additions: RequestAdditions): void {
  addForwarding(list, facts, additions);
  const { traceparent } = facts;
  if (isTraceparent(traceparent)) list.push('traceparent', traceparent);
  else if (additions.traceparent !== '') list.push('traceparent', additions.traceparent);
  list.push('x-request-id', additions.requestId);
  if (additions.client !== '') list.push('x-spillway-client', fieldSafe(additions.client));
  if (additions.tier !== '') list.push('x-spillway-tier', fieldSafe(additions.tier));
  list.push(DEADLINE, wholeMs(additions.remainingMs));
  if (additions.attempt > 1) list.push(ATTEMPT, String(additions.attempt));
}

function addForwarding(list: string[], facts: RequestFacts, additions: RequestAdditions): void {
  const { peerAddress, peerTrusted, proto } = additions;
  const host = facts.host === '' ? additions.fallbackHost : facts.host;
  const node = peerAddress.includes(':')
    ? `"[${peerAddress}]"`
    : peerAddress === ''
      ? 'unknown'
      : peerAddress;
  const element = `for=${node};host=${host.includes(':') ? `"${host}"` : host};proto=${proto}`;
  const via = `${facts.http2 ? '2.0' : `1.${facts.versionMinor}`} ${additions.viaName}`;
  if (peerTrusted) {
    list.push(
      'x-forwarded-for',
      facts.xForwardedFor === '' ? peerAddress : `${facts.xForwardedFor}, ${peerAddress}`,
      'x-forwarded-proto',
      facts.xForwardedProto === '' ? proto : facts.xForwardedProto,
      'x-forwarded-host',
      facts.xForwardedHost === '' ? host : facts.xForwardedHost,
      'forwarded',
      facts.forwarded === '' ? element : `${facts.forwarded}, ${element}`,
    );
  } else {
    list.push(
      'x-forwarded-for',
      peerAddress,
      'x-forwarded-proto',
      proto,
      'x-forwarded-host',
      host,
      'forwarded',
      element,
    );
  }
  list.push('x-real-ip', additions.clientAddress, 'via', facts.via === '' ? via : `${facts.via}, ${via}`);
}

/** Names come from a configuration and may hold anything; what cannot stand in a field is written as `%XX`. */
function fieldSafe(text: string): string {
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code < 0x20 || code > 0x7e) return encodeURIComponent(text.toWellFormed());
  }
  return text;
}
