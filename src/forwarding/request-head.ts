import type { ErrorCode } from '../kernel/errors.ts';
import {
  ACCEPT,
  AUTHORIZATION,
  CONNECTION,
  CONTENT_LENGTH,
  CONTENT_TYPE,
  COOKIE,
  DROP,
  EXPECT,
  FORGED,
  FORWARDED,
  HOST,
  MAX_FORWARDS,
  SEC_FETCH_MODE,
  TE,
  TRACEPARENT,
  TRANSFER_ENCODING,
  UPGRADE,
  VIA,
  X_FORWARDED_FOR,
  X_FORWARDED_HOST,
  X_FORWARDED_PROTO,
  X_PRIORITY,
  X_REQUEST_DEADLINE,
  X_REQUEST_ID,
  isProtected,
  isReplacedAnyway,
  requestFieldClass,
} from './field-names.ts';
import { HostMemo } from './host.ts';
import { RequestFacts, STREAM_MAJOR, STREAM_MINOR } from './request-facts.ts';
import { listMembers, trimOws, wholeNumber } from './tokens.ts';
import { isLoop } from './via.ts';

/**
 * The rules for a request's header section: one pass, one verdict.
 *
 * The parser (llhttp, strict) has refused what is not HTTP. What is left to refuse here is what two readers could read
 * differently: two Hosts, a coding besides `chunked`, a body where nobody expects one, a protected field declared
 * hop-by-hop so that it vanishes on the way. A message passed on is re-framed from `contentLength` and `chunked` alone.
 * Facts are filled even for a refused request as far as the answer needs them (`accept`, `navigation`).
 * RFC 9110 §7.6, RFC 9112 §3.2, §6; forwarding.md §3 has the table.
 */

export interface HeadRules {
  /** More fields than this are refused; node's own limit would drop them in silence. */
  readonly headerCount: number;
  /** Our own name in `Via`, to see loops; empty: only a name thrice is a loop. */
  readonly viaName: string;
  /** GET and HEAD with a body are let by and marked `unusualBody`. */
  readonly passUnusualBody: boolean;
}

export const DEFAULT_HEAD_RULES: HeadRules = Object.freeze({
  headerCount: 100,
  viaName: '',
  passUnusualBody: false,
});

/** A `Connection` that names more fields than this is no mistake any more; matching them would cost a product. */
const MOST_NOMINATED = 32;

/**
 * @param rawHeaders flat list of names and values, one character an octet.
 * @param versionMajor as the parser read it: it lets 0.9 and 2.0 by.
 * @param hosts of the connection
 */
export function scanRequest(
  rawHeaders: readonly string[],
  method: string,
  versionMajor: number,
  versionMinor: number,
  rules: HeadRules = DEFAULT_HEAD_RULES,
  hosts = new HostMemo(),
): RequestFacts {
  const facts = new RequestFacts(rawHeaders, method, versionMinor);
  if (versionMajor !== 1 || versionMinor > 1) {
    facts.http2 = versionMajor === STREAM_MAJOR && versionMinor === STREAM_MINOR;
    // Every stream has a place for trailers.
    facts.trailers = facts.http2;
    if (!facts.http2) {
      refuse(facts, 'SPW_HTTP_VERSION', 'version');
      return facts;
    }
  }
  if (rawHeaders.length > rules.headerCount * 2) {
    refuse(facts, 'SPW_HEADERS_TOO_LARGE', 'field count');
    return facts;
  }
  const seen = readFields(facts, rawHeaders);
  judgeHost(facts, seen, hosts);
  judgeFraming(facts, seen, method, rules);
  judgeRepeated(facts, seen);
  judgeConnection(facts, seen, method);
  judgeExpect(facts, seen);
  if (isLoop(facts.via, rules.viaName)) refuse(facts, 'SPW_LOOP', 'via');
  return facts;
}

/**
 * For node's `shouldUpgradeCallback`, which asks before the facts exist: only WebSocket handshakes leave HTTP. The parser
 * has seen `Connection: upgrade` by then.
 */
export function isWebsocketUpgrade(
  method: string,
  versionMinor: number,
  upgrade: string | undefined,
): boolean {
  return (
    method === 'GET' &&
    versionMinor === 1 &&
    upgrade !== undefined &&
    trimOws(upgrade).toLowerCase() === 'websocket'
  );
}

/** Counts and raw values that only the verdict needs. */
interface Seen {
  hosts: number;
  lengths: number;
  length: string;
  codings: number;
  coding: string;
  authorizations: number;
  contentTypes: number;
  expects: number;
  expect: string;
  traceparents: number;
  connection: string;
  upgrade: string;
  te: string;
  fetchMode: string;
}

/** The first fault found is the one that is told. */
function refuse(facts: RequestFacts, code: ErrorCode, reason: string): void {
  if (facts.code !== '') return;
  facts.code = code;
  facts.reason = reason;
}

function joined(before: string, value: string, separator: string): string {
  return before === '' ? value : before + separator + value;
}

function readFields(facts: RequestFacts, rawHeaders: readonly string[]): Seen {
  const seen: Seen = {
    hosts: 0,
    lengths: 0,
    length: '',
    codings: 0,
    coding: '',
    authorizations: 0,
    contentTypes: 0,
    expects: 0,
    expect: '',
    traceparents: 0,
    connection: '',
    upgrade: '',
    te: '',
    fetchMode: '',
  };
  const { classes } = facts;
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const fieldClass = requestFieldClass(rawHeaders[index] ?? '');
    classes.push(fieldClass);
    if (fieldClass !== 0) readField(facts, seen, fieldClass, rawHeaders[index + 1] ?? '');
  }
  const mode = seen.fetchMode;
  // Browsers send Sec-Fetch-Mode only to https and localhost; elsewhere wanting HTML says the same.
  facts.navigation = mode === '' ? facts.accept.includes('text/html') : mode === 'navigate';
  facts.grpc = facts.contentType.startsWith('application/grpc');
  return seen;
}

function readField(facts: RequestFacts, seen: Seen, fieldClass: number, value: string): void {
  switch (fieldClass) {
    case HOST:
      seen.hosts++;
      facts.host = value;
      return;
    case ACCEPT:
      facts.accept = joined(facts.accept, value, ', ');
      return;
    case COOKIE:
      facts.cookie = joined(facts.cookie, value, '; ');
      return;
    case CONTENT_TYPE:
      seen.contentTypes++;
      facts.contentType = value;
      return;
    case CONTENT_LENGTH:
      seen.lengths++;
      seen.length = value;
      return;
    case TRANSFER_ENCODING:
      seen.codings++;
      seen.coding = value;
      return;
    case CONNECTION:
      seen.connection = joined(seen.connection, value, ', ');
      return;
    case AUTHORIZATION:
      seen.authorizations++;
      return;
    case X_PRIORITY:
      facts.xPriority = value;
      return;
    case X_REQUEST_ID:
      facts.xRequestId = value;
      return;
    case TRACEPARENT:
      seen.traceparents++;
      facts.traceparent = value;
      return;
    case SEC_FETCH_MODE:
      seen.fetchMode = value;
      return;
    default:
      readRareField(facts, seen, fieldClass, value);
  }
}

function readRareField(facts: RequestFacts, seen: Seen, fieldClass: number, value: string): void {
  switch (fieldClass) {
    case X_FORWARDED_FOR:
      facts.xForwardedFor = joined(facts.xForwardedFor, value, ', ');
      return;
    case FORWARDED:
      facts.forwarded = joined(facts.forwarded, value, ', ');
      return;
    case X_FORWARDED_PROTO:
      facts.xForwardedProto = value;
      return;
    case X_FORWARDED_HOST:
      facts.xForwardedHost = value;
      return;
    case X_REQUEST_DEADLINE:
      facts.requestDeadline = value;
      return;
    case VIA:
      facts.via = joined(facts.via, value, ', ');
      return;
    case UPGRADE:
      seen.upgrade = joined(seen.upgrade, value, ', ');
      return;
    case TE:
      seen.te = joined(seen.te, value, ', ');
      return;
    case EXPECT:
      seen.expects++;
      seen.expect = value;
      return;
    case MAX_FORWARDS:
      facts.maxForwards = wholeNumber(trimOws(value), 1_000_000);
      return;
    case FORGED:
      facts.forgedFields++;
      return;
    default:
  }
}

function judgeHost(facts: RequestFacts, seen: Seen, hosts: HostMemo): void {
  if (seen.hosts === 0) {
    if (facts.versionMinor === 1) refuse(facts, 'SPW_BAD_REQUEST', 'no Host');
    return;
  }
  const check = seen.hosts === 1 ? hosts.check(facts.host) : undefined;
  if (check === undefined || !check.ok) {
    refuse(facts, 'SPW_BAD_REQUEST', seen.hosts > 1 ? 'two Hosts' : 'malformed Host');
    facts.host = '';
    return;
  }
  facts.hostName = check.host;
  facts.hostPort = check.port;
}

function judgeFraming(facts: RequestFacts, seen: Seen, method: string, rules: HeadRules): void {
  if (seen.codings > 0) {
    if (facts.versionMinor === 0) refuse(facts, 'SPW_BAD_REQUEST', 'transfer coding in HTTP/1.0');
    else if (seen.lengths > 0) refuse(facts, 'SPW_BAD_REQUEST', 'length and transfer coding');
    else if (seen.codings > 1 || trimOws(seen.coding).toLowerCase() !== 'chunked') {
      refuse(facts, 'SPW_NOT_IMPLEMENTED', 'transfer coding');
    } else facts.chunked = true;
  } else if (seen.lengths > 0) {
    const length = seen.lengths === 1 ? wholeNumber(trimOws(seen.length), Number.MAX_SAFE_INTEGER) : -1;
    if (length < 0) refuse(facts, 'SPW_BAD_REQUEST', 'content-length');
    facts.contentLength = length;
  }
  facts.hasBody = facts.chunked || facts.contentLength > 0;
  if (facts.hasBody && (method === 'GET' || method === 'HEAD')) {
    facts.unusualBody = true;
    if (!rules.passUnusualBody) refuse(facts, 'SPW_BAD_REQUEST', 'body on GET or HEAD');
  }
}

function judgeRepeated(facts: RequestFacts, seen: Seen): void {
  if (seen.authorizations > 1 || seen.contentTypes > 1 || seen.expects > 1) {
    refuse(facts, 'SPW_BAD_REQUEST', 'field given twice');
  }
  // A second traceparent makes both worthless (W3C Trace Context §3.2): a new trace begins here.
  if (seen.traceparents > 1) facts.traceparent = '';
}

function judgeConnection(facts: RequestFacts, seen: Seen, method: string): void {
  let namesUpgrade = false;
  if (seen.connection !== '' && seen.connection !== 'keep-alive' && seen.connection !== 'close') {
    const members = listMembers(seen.connection, MOST_NOMINATED + 1);
    if (members.length > MOST_NOMINATED) refuse(facts, 'SPW_BAD_REQUEST', 'Connection names too many fields');
    namesUpgrade = members.includes('upgrade');
    nominate(facts, members);
  }
  if (seen.upgrade !== '') {
    const granted = isWebsocketUpgrade(method, facts.versionMinor, seen.upgrade);
    facts.websocket = granted && namesUpgrade && !facts.hasBody;
    facts.upgradeIgnored = namesUpgrade && !facts.websocket;
  }
  // An answer to 1.0 has no chunks, so there is no place for trailers in it.
  if (seen.te !== '' && facts.versionMinor === 1)
    facts.trailers = listMembers(seen.te, MOST_NOMINATED).includes('trailers');
}

function nominate(facts: RequestFacts, members: readonly string[]): void {
  const names: string[] = [];
  for (const name of members) {
    if (name === 'close' || name === 'keep-alive' || name === 'upgrade' || name === 'te') continue;
    if (isProtected(name) && !isReplacedAnyway(name)) {
      refuse(facts, 'SPW_BAD_REQUEST', 'Connection names a protected field');
      return;
    }
    names.push(name);
  }
  if (names.length === 0) return;
  facts.nominated = names;
  const { rawHeaders, classes } = facts;
  for (let field = 0; field < classes.length; field++) {
    if (names.includes((rawHeaders[field * 2] ?? '').toLowerCase())) classes[field] = DROP;
  }
  // What was meant for this hop only must not travel on inside our own copies.
  if (names.includes('forwarded')) facts.forwarded = '';
  if (names.includes('x-forwarded-for')) facts.xForwardedFor = '';
  if (names.includes('x-forwarded-proto')) facts.xForwardedProto = '';
  if (names.includes('x-forwarded-host')) facts.xForwardedHost = '';
}

function judgeExpect(facts: RequestFacts, seen: Seen): void {
  if (seen.expects === 0) return;
  if (seen.expect.toLowerCase() !== '100-continue') {
    refuse(facts, 'SPW_EXPECTATION_FAILED', 'expectation');
    return;
  }
  facts.expectContinue = facts.hasBody && facts.versionMinor === 1;
}
