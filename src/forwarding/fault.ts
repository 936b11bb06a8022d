import type { ErrorCode } from '../kernel/errors.ts';

/**
 * What went wrong between us and an instance, in the terms of the error table.
 *
 * The signal is the error code, of our clients (`io/h1-*.ts`, `io/upstream-*.ts`) or of node, and how far the attempt had got. The decision has four parts: what the caller
 * is told, what kind of fault the balancer learns, how strongly it speaks against the instance (hard counts toward an
 * ejection, soft only in a ratio, none not at all), and a word for the log. Our own shortage (no descriptors), our own
 * mistakes and a caller that left never speak against an instance. Unknown errors are read as a reset: they did end
 * the attempt. Limits: a stale kept-alive socket looks like a reset; the retry policy asks for a fresh one.
 * Cases U01 to U46 in forwarding.md §8, evidence in upstreams.md §5.
 */

/**
 * How far the attempt was: `connect` no byte of the request handed to a socket · `waiting` sent, no answer yet · `body` the
 * head of the answer has come. The others are told by us, without an error: our limit for connecting, our deadline, an
 * answer that is none, an instance that was taken out while it was asked.
 */
export type FaultPhase = 'connect' | 'connect-timeout' | 'waiting' | 'timeout' | 'body' | 'protocol' | 'lost';

export type FaultKind = 'connect' | 'reset' | 'timeout' | 'protocol' | 'own';

export type Evidence = 'hard' | 'soft' | 'none';

export interface UpstreamFault {
  readonly code: ErrorCode;
  readonly kind: FaultKind;
  readonly evidence: Evidence;
  /** For log and explain: a code, never an address or a text of the instance. */
  readonly reason: string;
  /** The instance has certainly not begun it, though it was written: any method may be repeated (RFC 9113 §8.7). */
  readonly unprocessed?: true;
  /** The code with which it reset its stream, to be told to a caller of HTTP/2. */
  readonly resetCode?: number;
}

export function upstreamFault(error: unknown, phase: FaultPhase): UpstreamFault {
  switch (phase) {
    case 'connect-timeout':
      return { code: 'SPW_UPSTREAM_TIMEOUT', kind: 'connect', evidence: 'hard', reason: 'connect timeout' };
    case 'timeout':
      return { code: 'SPW_UPSTREAM_TIMEOUT', kind: 'timeout', evidence: 'hard', reason: 'no answer in time' };
    case 'protocol':
      return protocol('invalid answer');
    case 'lost':
      // Known of it already: counted once more here it would be held against it when it is back.
      return own('SPW_UPSTREAM_RESET', 'instance lost');
    case 'connect':
    case 'waiting':
    case 'body':
      return fromHttp2(error, phase) ?? fromError(errorCode(error), phase);
    default:
      return phase satisfies never;
  }
}

function protocol(reason: string): UpstreamFault {
  return { code: 'SPW_UPSTREAM_PROTOCOL', kind: 'protocol', evidence: 'hard', reason };
}

/** Reasons of faults that are nobody's but ours. */
export const OWN_REASONS: ReadonlySet<string> = new Set([
  'EADDRNOTAVAIL',
  'EMFILE',
  'ENFILE',
  'ENOBUFS',
  'field that HTTP/2 does not carry',
  'goaway',
  'instance lost',
  'pool closed',
]);

function own(code: ErrorCode, reason: string): UpstreamFault {
  return { code, kind: 'own', evidence: 'none', reason };
}

function fromError(code: string, phase: 'connect' | 'waiting' | 'body'): UpstreamFault {
  // So node's parser names what is wrong with an answer, and so does our own reader.
  if (code.startsWith('HPE_')) return protocol(code);
  switch (code) {
    case 'ETIMEDOUT': {
      const kind = phase === 'connect' ? 'connect' : 'timeout';
      return { code: 'SPW_UPSTREAM_TIMEOUT', kind, evidence: 'hard', reason: code };
    }
    case 'POOL_CLOSED':
      // Of an instance that is gone: another one may take the request.
      return own('SPW_CONNECT_FAILED', 'pool closed');
    case 'EMFILE':
    case 'ENFILE':
    case 'ENOBUFS':
    case 'EADDRNOTAVAIL':
      // We are out of descriptors or ports; ejecting instances for it would take all of them.
      return own('SPW_CONNECT_FAILED', code);
    default:
      return phase === 'connect' ? refusedConnect(code) : reset(code, phase);
  }
}

/** What ends an exchange over HTTP/2; undefined for an error of another kind. */
function fromHttp2(error: unknown, phase: 'connect' | 'waiting' | 'body'): UpstreamFault | undefined {
  switch (errorCode(error)) {
    case 'H2_UNPROCESSED':
      return { ...reset('stream refused', 'body'), unprocessed: true };
    case 'H2_GOAWAY':
      // It said goodbye in good order, as every restart does; that is no failure.
      return { ...own('SPW_UPSTREAM_RESET', 'goaway'), unprocessed: true };
    case 'H2_UNSPOKEN':
      return refusedConnect('speaks no HTTP/2');
    case 'ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL':
      return refusedConnect('no common protocol (ALPN)');
    case 'H2_CLOSED':
      return own('SPW_CONNECT_FAILED', 'pool closed');
    case 'H2_RESET': {
      const { http2Code = 0 } = error as { readonly http2Code?: number };
      const reason = `stream reset, ${http2ErrorName(http2Code)}`;
      if (PROTOCOL_RESETS.has(http2Code)) return protocol(reason);
      const fault = reset(reason, phase === 'body' ? 'body' : 'waiting');
      // Half an answer that was left without a fault is one all the same.
      return http2Code === 0 ? fault : { ...fault, resetCode: http2Code };
    }
    case 'ERR_HTTP2_ERROR':
      return protocol('invalid HTTP/2');
    case 'ERR_INVALID_HTTP_TOKEN':
    case 'ERR_HTTP2_INVALID_CONNECTION_HEADERS':
    case 'ERR_HTTP2_INVALID_PSEUDOHEADER':
      return own('SPW_INTERNAL', 'field that HTTP/2 does not carry');
    default:
      return undefined;
  }
}

/** Codes by which one side says that the other does not keep the protocol; nghttp2 uses them for what it cannot read. */
const PROTOCOL_RESETS: ReadonlySet<number> = new Set([1, 3, 6, 9, 11, 13]);

/** RFC 9113 §7, in order. */
const HTTP2_ERRORS: readonly string[] = [
  'NO_ERROR',
  'PROTOCOL_ERROR',
  'INTERNAL_ERROR',
  'FLOW_CONTROL_ERROR',
  'SETTINGS_TIMEOUT',
  'STREAM_CLOSED',
  'FRAME_SIZE_ERROR',
  'REFUSED_STREAM',
  'CANCEL',
  'COMPRESSION_ERROR',
  'CONNECT_ERROR',
  'ENHANCE_YOUR_CALM',
  'INADEQUATE_SECURITY',
  'HTTP_1_1_REQUIRED',
];

function http2ErrorName(code: number): string {
  return HTTP2_ERRORS[code] ?? `code ${code}`;
}

/** Refused, unreachable, unknown name, certificate: nothing of the request has been sent. */
function refusedConnect(code: string): UpstreamFault {
  return {
    code: 'SPW_CONNECT_FAILED',
    kind: 'connect',
    evidence: 'hard',
    reason: code === '' ? 'connect failed' : code,
  };
}

function reset(code: string, phase: 'waiting' | 'body'): UpstreamFault {
  return {
    code: 'SPW_UPSTREAM_RESET',
    kind: 'reset',
    evidence: phase === 'body' ? 'soft' : 'hard',
    reason: code === '' ? 'connection lost' : code,
  };
}

function errorCode(error: unknown): string {
  if (typeof error !== 'object' || error === null) return '';
  const { code } = error as { readonly code?: unknown };
  return typeof code === 'string' ? code : '';
}
