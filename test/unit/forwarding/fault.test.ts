import { describe, expect, it } from 'vitest';
import { tighterLimitMs } from '../../../src/forwarding/deadline.ts';
import { OWN_REASONS, upstreamFault, type FaultPhase } from '../../../src/forwarding/fault.ts';
import { clientErrorCode } from '../../../src/forwarding/parse-fault.ts';
import { isRequestId } from '../../../src/forwarding/request-id.ts';
import { isTraceparent, newTraceparent } from '../../../src/forwarding/trace-context.ts';
import { seededRandom } from '../../../src/kernel/random.ts';

function failed(code: string, phase: FaultPhase, message = ''): ReturnType<typeof upstreamFault> {
  return upstreamFault(Object.assign(new Error(message), { code }), phase);
}

describe('a fault on the way to an instance', () => {
  it.each([
    ['ECONNREFUSED', 'connect', 'SPW_CONNECT_FAILED', 'connect', 'hard'],
    ['CERT_HAS_EXPIRED', 'connect', 'SPW_CONNECT_FAILED', 'connect', 'hard'],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', 'connect', 'SPW_CONNECT_FAILED', 'connect', 'hard'],
    ['ENOTFOUND', 'connect', 'SPW_CONNECT_FAILED', 'connect', 'hard'],
    ['ECONNRESET', 'connect', 'SPW_CONNECT_FAILED', 'connect', 'hard'],
    ['ETIMEDOUT', 'connect', 'SPW_UPSTREAM_TIMEOUT', 'connect', 'hard'],
    ['CLOSED', 'waiting', 'SPW_UPSTREAM_RESET', 'reset', 'hard'],
    ['ECONNRESET', 'waiting', 'SPW_UPSTREAM_RESET', 'reset', 'hard'],
    ['EPIPE', 'waiting', 'SPW_UPSTREAM_RESET', 'reset', 'hard'],
    ['ECONNRESET', 'body', 'SPW_UPSTREAM_RESET', 'reset', 'soft'],
    ['HPE_INVALID_CONSTANT', 'waiting', 'SPW_UPSTREAM_PROTOCOL', 'protocol', 'hard'],
    ['HPE_CONTENT_LENGTH', 'body', 'SPW_UPSTREAM_PROTOCOL', 'protocol', 'hard'],
    ['ETIMEDOUT', 'waiting', 'SPW_UPSTREAM_TIMEOUT', 'timeout', 'hard'],
    ['EMFILE', 'connect', 'SPW_CONNECT_FAILED', 'own', 'none'],
    ['POOL_CLOSED', 'connect', 'SPW_CONNECT_FAILED', 'own', 'none'],
    ['H2_UNSPOKEN', 'connect', 'SPW_CONNECT_FAILED', 'connect', 'hard'],
    ['ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL', 'connect', 'SPW_CONNECT_FAILED', 'connect', 'hard'],
    ['H2_UNPROCESSED', 'waiting', 'SPW_UPSTREAM_RESET', 'reset', 'soft'],
    ['H2_GOAWAY', 'waiting', 'SPW_UPSTREAM_RESET', 'own', 'none'],
    ['H2_RESET', 'waiting', 'SPW_UPSTREAM_RESET', 'reset', 'hard'],
    ['H2_RESET', 'body', 'SPW_UPSTREAM_RESET', 'reset', 'soft'],
    ['H2_CLOSED', 'connect', 'SPW_CONNECT_FAILED', 'own', 'none'],
    ['ERR_HTTP2_ERROR', 'waiting', 'SPW_UPSTREAM_PROTOCOL', 'protocol', 'hard'],
  ] as const)('%s while %s is %s', (code, phase, wanted, kind, evidence) => {
    expect(failed(code, phase)).toMatchObject({ code: wanted, kind, evidence });
  });

  it('that is ours alone is known by its reason, and no other is', () => {
    const codes = ['EMFILE', 'ENFILE', 'ENOBUFS', 'EADDRNOTAVAIL', 'POOL_CLOSED', 'H2_CLOSED', 'H2_GOAWAY'];
    const others = [
      'ECONNREFUSED',
      'ECONNRESET',
      'ETIMEDOUT',
      'HPE_INVALID_CONSTANT',
      'H2_RESET',
      'H2_UNSPOKEN',
    ];
    for (const phase of ['connect', 'waiting', 'body'] as const) {
      for (const code of [...codes, ...others]) {
        const { kind, reason } = failed(code, phase);
        expect([code, kind, OWN_REASONS.has(reason)]).toEqual([code, kind, codes.includes(code)]);
        expect([code, kind === 'own']).toEqual([code, codes.includes(code)]);
      }
    }
    const { kind, reason, evidence } = upstreamFault(undefined, 'lost');
    expect([kind, OWN_REASONS.has(reason), evidence]).toEqual(['own', true, 'none']);
  });

  it('is told by us where there is no error', () => {
    expect(upstreamFault(undefined, 'connect-timeout')).toMatchObject({
      code: 'SPW_UPSTREAM_TIMEOUT',
      kind: 'connect',
    });
    expect(upstreamFault(undefined, 'timeout')).toMatchObject({
      code: 'SPW_UPSTREAM_TIMEOUT',
      kind: 'timeout',
    });
    expect(upstreamFault(undefined, 'protocol')).toMatchObject({
      code: 'SPW_UPSTREAM_PROTOCOL',
      kind: 'protocol',
    });
  });

  it('that a reset of HTTP/2 tells by its code', () => {
    const resetBy = (http2Code: number): ReturnType<typeof upstreamFault> =>
      upstreamFault(Object.assign(new Error(''), { code: 'H2_RESET', http2Code }), 'body');
    expect(resetBy(8)).toMatchObject({
      code: 'SPW_UPSTREAM_RESET',
      resetCode: 8,
      reason: 'stream reset, CANCEL',
    });
    expect(resetBy(1)).toMatchObject({
      code: 'SPW_UPSTREAM_PROTOCOL',
      reason: 'stream reset, PROTOCOL_ERROR',
    });
    expect(resetBy(99).reason).toBe('stream reset, code 99');
    // NO_ERROR would look like an end to whom it is passed on.
    expect(resetBy(0).resetCode).toBeUndefined();
    expect(resetBy(1).resetCode).toBeUndefined();
  });

  it('that an instance has not begun may be repeated', () => {
    expect(failed('H2_UNPROCESSED', 'waiting').unprocessed).toBe(true);
    expect(failed('H2_GOAWAY', 'waiting').unprocessed).toBe(true);
    expect(failed('H2_RESET', 'waiting').unprocessed).toBeUndefined();
  });

  it('never repeats what an instance or an error said', () => {
    const fault = failed('ECONNREFUSED', 'connect', 'connect ECONNREFUSED 10.0.0.1:9001');
    expect(JSON.stringify(fault)).not.toContain('10.0.0.1');
    expect(upstreamFault('text', 'waiting').reason).toBe('connection lost');
    expect(upstreamFault(null, 'connect').reason).toBe('connect failed');
  });
});

describe('a fault that the parser found', () => {
  it.each([
    [{ code: 'HPE_HEADER_OVERFLOW' }, 'SPW_HEADERS_TOO_LARGE'],
    [{ code: 'HPE_CHUNK_EXTENSIONS_OVERFLOW' }, 'SPW_BODY_TOO_LARGE'],
    [{ code: 'HPE_INVALID_VERSION', reason: 'Invalid HTTP version' }, 'SPW_HTTP_VERSION'],
    [{ code: 'HPE_INVALID_VERSION', reason: 'Expected CRLF after version' }, 'SPW_BAD_REQUEST'],
    [{ code: 'HPE_PAUSED_H2_UPGRADE' }, 'SPW_HTTP_VERSION'],
    [{ code: 'ERR_HTTP_REQUEST_TIMEOUT' }, 'SPW_REQUEST_TIMEOUT'],
    [{ code: 'HPE_INVALID_EOF_STATE' }, 'SPW_BAD_REQUEST'],
    [{ code: 'ECONNRESET' }, 'SPW_CLIENT_CLOSED'],
    [{}, 'SPW_BAD_REQUEST'],
    [undefined, 'SPW_BAD_REQUEST'],
  ])('%j is %s', (error, wanted) => {
    expect(clientErrorCode(error)).toBe(wanted);
  });
});

describe('time', () => {
  it('is the shorter of ours and a claim that can be read', () => {
    expect(tighterLimitMs(1000, '50')).toBe(50);
    expect(tighterLimitMs(1000, '5000')).toBe(1000);
    for (const junk of ['', '-1', '1.5', '1e3', '99999999999999999999', 'x'])
      expect(tighterLimitMs(1000, junk)).toBe(1000);
    expect(tighterLimitMs(1000, '0')).toBe(0);
    expect(tighterLimitMs(1000, ' 50 ')).toBe(50);
  });
});

describe('ids', () => {
  it('of others are taken over when they are harmless', () => {
    expect(isRequestId('Az09._-x')).toBe(true);
    for (const bad of ['short', 'a'.repeat(65), 'has space', 'line\nbreak', 'quote"quote', '', 'ümlaute-8']) {
      expect(isRequestId(bad)).toBe(false);
    }
  });

  it('of a trace are valid when we make them', () => {
    const random = seededRandom(7);
    for (let n = 0; n < 1000; n++) expect(isTraceparent(newTraceparent(random))).toBe(true);
    expect(isTraceparent(newTraceparent(() => 0))).toBe(true);
    expect(isTraceparent(newTraceparent(() => 1 - Number.EPSILON))).toBe(true);
  });

  it('of a trace are refused when they are not', () => {
    const good = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    expect(isTraceparent(good)).toBe(true);
    expect(isTraceparent(`01${good.slice(2)}-more`)).toBe(true);
    for (const bad of [
      `${good}-more`,
      good.toUpperCase(),
      `ff${good.slice(2)}`,
      good.replace('0af7651916cd43dd8448eb211c80319c', '0'.repeat(32)),
      good.replace('b7ad6b7169203331', '0'.repeat(16)),
      good.slice(1),
      '',
    ]) {
      expect(isTraceparent(bad)).toBe(false);
    }
  });
});
