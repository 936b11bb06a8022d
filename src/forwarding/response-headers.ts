import type { ErrorCode } from '../kernel/errors.ts';
import { isHopByHop } from './field-names.ts';
import { CompiledChanges, type HeaderChanges } from './header-changes.ts';
import { LocationRewriter, type RouteAddress } from './location.ts';
import { listMembers, trimOws, wholeNumber } from './tokens.ts';

/**
 * An instance's header section on its way to the caller, as the flat latin-1 list that `writeHead` takes; it comes as one,
 * names and values alternating.
 *
 * Order, spelling and octets stay; what belongs to the instance's connection goes (its `Connection: close` is not the
 * caller's), and so does a copy of a field that only we speak. Framing is read once: an answer that two readers could cut
 * at different places is no answer (RFC 9112 §6.3). What the gateway adds is pushed to `list` by the caller; `Date` is
 * node's, which adds it only when the list has none.
 */

export interface ResponseHead {
  /** Empty when the answer may pass. */
  readonly code: ErrorCode | '';
  readonly reason: string;
  readonly list: string[];
  /** Bytes of the body; -1 unknown, 0 where none may come. HEAD and 304 keep their field in the list. */
  readonly contentLength: number;
  /** HEAD, 204, 304: no body follows, whatever the length says. */
  readonly bodyless: boolean;
  readonly eventStream: boolean;
  /** As sent, after the route's changes were not yet made; joined by commas. */
  readonly cacheControl: string;
  /** The instance says that it drains (`x-drain: 1`); a word for us that is not passed on. */
  readonly drains: boolean;
  /** What it says of its load (`load-report.ts`), empty without; not passed on either. */
  readonly loadReport: string;
}

export interface ResponsePlan {
  readonly changes: CompiledChanges;
  readonly location: LocationRewriter;
}

export function responsePlan(changes: HeaderChanges, address: RouteAddress): ResponsePlan {
  return { changes: new CompiledChanges(changes), location: new LocationRewriter(address) };
}

/** Fields of answers that need more than to be passed on. */
type AnswerField =
  | 'length'
  | 'coding'
  | 'connection'
  | 'location'
  | 'type'
  | 'caching'
  | 'drain'
  | 'load'
  | 'drop'
  | 'plain';

const ANSWER_FIELDS: readonly (readonly [name: string, field: AnswerField])[] = [
  ['content-length', 'length'],
  ['transfer-encoding', 'coding'],
  ['connection', 'connection'],
  ['location', 'location'],
  ['content-type', 'type'],
  ['cache-control', 'caching'],
  ['keep-alive', 'drop'],
  ['x-request-id', 'drop'],
  ['x-drain', 'drain'],
  ['endpoint-load-metrics', 'load'],
  ['endpoint-load-metrics-bin', 'drop'],
  ['date', 'plain'],
  ['server', 'plain'],
  ['etag', 'plain'],
  ['vary', 'plain'],
  ['set-cookie', 'plain'],
  ['last-modified', 'plain'],
  ['content-encoding', 'plain'],
];

const FIELD_OF: ReadonlyMap<string, AnswerField> = new Map([
  ...ANSWER_FIELDS,
  ...ANSWER_FIELDS.map(([name, field]): [string, AnswerField] => [
    name.replaceAll(/(^|-)([a-z])/g, (_, dash: string, letter: string) => dash + letter.toUpperCase()),
    field,
  ]),
  ['ETag', 'plain'],
]);

function fieldOf(name: string): AnswerField {
  const known = FIELD_OF.get(name);
  if (known !== undefined) return known;
  const lowered = name.toLowerCase();
  return (
    FIELD_OF.get(lowered) ?? (isHopByHop(lowered) || lowered.startsWith('x-spillway-') ? 'drop' : 'plain')
  );
}

interface Framing {
  lengths: number;
  length: number;
  codings: number;
  coding: string;
  connection: string;
  eventStream: boolean;
  cacheControl: string;
  drains: boolean;
  loadReport: string;
}

/**
 * @param status of the final answer; 101 belongs to `buildSwitchingHead`.
 * @param method of the request.
 */
export function buildResponseHeaders(
  raw: readonly string[],
  status: number,
  method: string,
  plan: ResponsePlan,
): ResponseHead {
  const framing: Framing = {
    lengths: 0,
    length: -1,
    codings: 0,
    coding: '',
    connection: '',
    eventStream: false,
    cacheControl: '',
    drains: false,
    loadReport: '',
  };
  const passed = passOn(raw, framing, plan);
  const reason = faultOf(framing, status);
  const bodyless = method === 'HEAD' || status === 204 || status === 304;
  const kept = framing.connection === '' ? passed : withoutNominated(passed, framing.connection);
  const list = plan.changes.apply(kept);
  if (reason === '' && framing.length >= 0 && status !== 204)
    list.push('content-length', String(framing.length));
  return {
    code: reason === '' ? '' : 'SPW_UPSTREAM_PROTOCOL',
    reason,
    list,
    contentLength: bodyless ? 0 : framing.length,
    bodyless,
    eventStream: framing.eventStream,
    cacheControl: framing.cacheControl,
    drains: framing.drains,
    loadReport: framing.loadReport,
  };
}

function passOn(raw: readonly string[], framing: Framing, plan: ResponsePlan): string[] {
  const list: string[] = [];
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] ?? '';
    const field = fieldOf(name);
    if (field === 'drop') continue;
    const value = raw[index + 1] ?? '';
    if (field === 'plain' || passSpecial(field, value, framing)) list.push(name, value);
    else if (field === 'location') list.push(name, plan.location.rewrite(value));
  }
  return list;
}

/** Notes what a field says; true when it passes as it is. */
function passSpecial(
  field: Exclude<AnswerField, 'plain' | 'drop'>,
  value: string,
  framing: Framing,
): boolean {
  switch (field) {
    case 'length':
      framing.lengths++;
      framing.length = wholeNumber(trimOws(value), Number.MAX_SAFE_INTEGER);
      return false;
    case 'coding':
      framing.codings++;
      framing.coding = value;
      return false;
    case 'connection':
      framing.connection = framing.connection === '' ? value : `${framing.connection},${value}`;
      return false;
    case 'type':
      framing.eventStream = trimOws(value).toLowerCase().startsWith('text/event-stream');
      return true;
    case 'caching':
      framing.cacheControl = framing.cacheControl === '' ? value : `${framing.cacheControl}, ${value}`;
      return true;
    case 'drain':
      framing.drains = trimOws(value) === '1';
      return false;
    case 'load':
      framing.loadReport = value;
      return false;
    case 'location':
      return false;
    default:
      return field satisfies never;
  }
}

/** What is wrong with an answer, or ''. */
function faultOf(framing: Framing, status: number): string {
  if (status < 200 || status > 599) return 'status';
  // A proxy would be asking our caller for its own credentials.
  if (status === 407) return 'status 407';
  if (framing.lengths > 1) return 'two lengths';
  if (framing.lengths === 1 && framing.length < 0) return 'content-length';
  if (framing.codings > 0) {
    if (framing.lengths > 0) return 'length and transfer coding';
    if (framing.codings > 1 || trimOws(framing.coding).toLowerCase() !== 'chunked') return 'transfer coding';
  }
  return '';
}

/** An instance cannot name more fields than a section may have. */
const MOST_NOMINATED = 100;

function withoutNominated(list: string[], connection: string): string[] {
  const names = listMembers(connection, MOST_NOMINATED);
  if (names.every((name) => name === 'close' || name === 'keep-alive')) return list;
  const kept: string[] = [];
  for (let index = 0; index + 1 < list.length; index += 2) {
    const name = list[index] ?? '';
    if (!names.includes(name.toLowerCase())) kept.push(name, list[index + 1] ?? '');
  }
  return kept;
}

/** The header section of an interim answer (103 and the like). */
export function buildInterimHeaders(raw: readonly string[]): string[] {
  const list: string[] = [];
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] ?? '';
    const field = fieldOf(name);
    if (field === 'plain' || field === 'type' || field === 'caching') list.push(name, raw[index + 1] ?? '');
  }
  return list;
}

/**
 * Trailers for the caller: never what frames, routes or authenticates a message (RFC 9110 §6.5.1).
 * @returns pairs for `addTrailers`.
 */
export function answerTrailers(raw: readonly string[]): [name: string, value: string][] {
  const pairs: [string, string][] = [];
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] ?? '';
    const lowered = name.toLowerCase();
    if (fieldOf(name) !== 'plain' || lowered.startsWith('content-') || NO_TRAILER.has(lowered)) continue;
    pairs.push([name, raw[index + 1] ?? '']);
  }
  return pairs;
}

const NO_TRAILER: ReadonlySet<string> = new Set([
  'set-cookie',
  'host',
  'authorization',
  'www-authenticate',
  'age',
  'vary',
  'date',
]);

/** The whole head of a relayed `101 Switching Protocols`, to be written as latin-1. */
export function buildSwitchingHead(
  raw: readonly string[],
  requestId: string,
  changes: CompiledChanges,
): string {
  let connection = '';
  for (let index = 0; index + 1 < raw.length; index += 2)
    if (fieldOf(raw[index] ?? '') === 'connection') connection += `${raw[index + 1] ?? ''},`;
  const list = changes.applyToSwitching(withoutNominated(buildInterimHeaders(raw), connection));
  let head = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n';
  for (let index = 0; index + 1 < list.length; index += 2)
    head += `${list[index] ?? ''}: ${list[index + 1] ?? ''}\r\n`;
  return `${head}x-request-id: ${requestId}\r\n\r\n`;
}
