import { describe, expect, it } from 'vitest';
import { scanRequest } from '../../../src/forwarding/request-head.ts';
import {
  buildRequestHeaders,
  buildTunnelHeaders,
  requestPlan,
  type RequestAdditions,
} from '../../../src/forwarding/request-headers.ts';
import { additionsOf, fieldsOf } from './additions.ts';

const NO_PLAN = requestPlan({ set: {}, remove: [] });

function built(
  fields: readonly string[],
  changes: Partial<RequestAdditions> = {},
  method = 'GET',
  minor = 1,
): Map<string, string[]> {
  const raw = ['Host', 'A.example:81', ...fields];
  const facts = scanRequest(raw, method, 1, minor);
  expect(facts.code).toBe('');
  return fieldsOf(buildRequestHeaders(raw, facts, additionsOf(changes), NO_PLAN));
}

describe('what goes to an instance', () => {
  it('is what came, in order, spelling and octets kept, and what the gateway adds', () => {
    const raw = ['host', 'a.example', 'X-B', 'ÿþ', 'x-a', '1', 'X-B', '2'];
    const list = buildRequestHeaders(raw, scanRequest(raw, 'GET', 1, 1), additionsOf(), NO_PLAN);
    expect(list).toEqual([
      'host',
      'a.example',
      'X-B',
      'ÿþ',
      'x-a',
      '1',
      'X-B',
      '2',
      'x-forwarded-for',
      '192.0.2.7',
      'x-forwarded-proto',
      'http',
      'x-forwarded-host',
      'a.example',
      'forwarded',
      'for=192.0.2.7;host=a.example;proto=http',
      'x-real-ip',
      '192.0.2.7',
      'via',
      '1.1 gw',
      'x-request-id',
      'req-00000001',
      'x-spillway-client',
      'acme',
      'x-spillway-tier',
      'gold',
      'x-request-deadline-ms',
      '9999',
    ]);
  });

  it('holds nothing that belongs to the connection of the caller', () => {
    const fields = built([
      'Connection',
      'close, X-A',
      'X-A',
      '1',
      'Keep-Alive',
      'timeout=5',
      'Proxy-Connection',
      'keep-alive',
      'Proxy',
      'http://evil',
      'Proxy-Authorization',
      'x',
      'proxy-foo',
      'x',
      'TE',
      'gzip',
      'Trailer',
      'X',
      'Upgrade',
      'h2c',
      'HTTP2-Settings',
      'AAMA',
      'X-B',
      '2',
    ]);
    const gone = [
      'connection',
      'x-a',
      'keep-alive',
      'proxy-connection',
      'proxy',
      'proxy-authorization',
      'proxy-foo',
    ];
    for (const name of [...gone, 'te', 'trailer', 'upgrade', 'http2-settings'])
      expect(fields.has(name)).toBe(false);
    expect(fields.get('x-b')).toEqual(['2']);
  });

  it('keeps Host as received, and has one where 1.0 sent none', () => {
    expect(built([]).get('host')).toEqual(['A.example:81']);
    const facts = scanRequest([], 'GET', 1, 0);
    const fields = fieldsOf(buildRequestHeaders([], facts, additionsOf(), NO_PLAN));
    expect(fields.get('host')).toEqual(['127.0.0.1:9001']);
    expect(fields.get('via')).toEqual(['1.0 gw']);
  });

  it('has one canonical length, and a zero only where a body is expected', () => {
    expect(built(['Content-Length', '010'], {}, 'POST').get('content-length')).toEqual(['10']);
    expect(built([], {}, 'POST').get('content-length')).toEqual(['0']);
    expect(built(['Content-Length', '0']).has('content-length')).toBe(false);
    expect(built(['Content-Length', '5'], {}, 'DELETE').get('content-length')).toEqual(['5']);
    const chunked = built(['Transfer-Encoding', 'chunked'], {}, 'POST');
    expect(chunked.has('content-length') || chunked.has('transfer-encoding')).toBe(false);
  });

  it('says that trailers are read, in our own words, where the caller reads them', () => {
    for (const sent of [
      ['TE', 'trailers'],
      ['te', 'deflate;q=0.5, Trailers', 'Connection', 'te'],
      ['Te', 'gzip', 'TE', 'trailers', 'Connection', 'keep-alive, TE'],
    ])
      expect(built(sent).get('te')).toEqual(['trailers']);
  });

  it('asks for no trailers where the caller cannot be given any', () => {
    expect(built(['TE', 'deflate']).has('te')).toBe(false);
    expect(built([]).has('te')).toBe(false);
    expect(built(['TE', 'trailers'], {}, 'GET', 0).has('te')).toBe(false);
  });

  it('never holds Expect', () => {
    expect(built(['Expect', '100-continue', 'Content-Length', '1'], {}, 'POST').has('expect')).toBe(false);
  });
});

describe('who speaks for the caller', () => {
  const forged = [
    'X-Forwarded-For',
    '1.1.1.1',
    'x-forwarded-for',
    '2.2.2.2',
    'X-Forwarded-Proto',
    'https',
    'X-Forwarded-Host',
    'evil',
    'X-Forwarded-Port',
    '1',
    'Forwarded',
    'for=1.1.1.1',
    'X-Real-IP',
    '1.1.1.1',
    'X_Forwarded_For',
    '3.3.3.3',
    'X-Spillway-Client',
    'root',
    'x-spillway-anything',
    '1',
    'X_Spillway_Tier',
    'x',
    'X-Request-Id',
    'forged-request-id',
    'X-Request-Deadline-Ms',
    '1',
    'X_Request_Id',
    'x',
    'X.Forwarded.For',
    '4.4.4.4',
    'x~real+ip',
    '5.5.5.5',
  ];

  it('replaces what a stranger says about itself', () => {
    const fields = built(forged);
    expect(fields.get('x-forwarded-for')).toEqual(['192.0.2.7']);
    expect(fields.get('x-forwarded-proto')).toEqual(['http']);
    expect(fields.get('x-forwarded-host')).toEqual(['A.example:81']);
    expect(fields.get('forwarded')).toEqual(['for=192.0.2.7;host="A.example:81";proto=http']);
    expect(fields.get('x-real-ip')).toEqual(['192.0.2.7']);
    expect(fields.get('x-spillway-client')).toEqual(['acme']);
    expect(fields.get('x-request-id')).toEqual(['req-00000001']);
    expect(fields.get('x-request-deadline-ms')).toEqual(['9999']);
    for (const name of [
      'x-forwarded-port',
      'x_forwarded_for',
      'x-spillway-anything',
      'x_spillway_tier',
      'x_request_id',
      'x.forwarded.for',
      'x~real+ip',
    ]) {
      expect(fields.has(name)).toBe(false);
    }
  });

  it('continues what a trusted peer says', () => {
    const fields = built(forged, { peerTrusted: true, peerAddress: '::1', clientAddress: '2.2.2.2' });
    expect(fields.get('x-forwarded-for')).toEqual(['1.1.1.1, 2.2.2.2, ::1']);
    expect(fields.get('x-forwarded-proto')).toEqual(['https']);
    expect(fields.get('x-forwarded-host')).toEqual(['evil']);
    expect(fields.get('x-forwarded-port')).toEqual(['1']);
    expect(fields.get('forwarded')).toEqual(['for=1.1.1.1, for="[::1]";host="A.example:81";proto=http']);
    expect(fields.get('x-real-ip')).toEqual(['2.2.2.2']);
    expect(fields.has('x_forwarded_for')).toBe(false);
  });

  it('adds ours after the removal, so nominating our header does not remove it', () => {
    const fields = built([
      'X-Forwarded-For',
      '9.9.9.9',
      'Connection',
      'close, X-Forwarded-For, X-Real-IP, Forwarded',
    ]);
    expect(fields.get('x-forwarded-for')).toEqual(['192.0.2.7']);
    expect(fields.get('x-real-ip')).toEqual(['192.0.2.7']);
    expect(fields.get('forwarded')?.length).toBe(1);
  });

  it('appends to Via', () => {
    expect(built(['Via', '1.0 a', 'Via', '1.1 b']).get('via')).toEqual(['1.0 a, 1.1 b, 1.1 gw']);
  });

  it('writes a client of any name as a field that is valid', () => {
    expect(built([], { client: 'Ärger\r\nx: 1' }).get('x-spillway-client')).toEqual([
      '%C3%84rger%0D%0Ax%3A%201',
    ]);
    expect(built([], { client: '', tier: '' }).has('x-spillway-client')).toBe(false);
  });
});

describe('trace context', () => {
  const valid = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';

  it('passes when it is valid, with its state', () => {
    const fields = built(['Traceparent', valid, 'tracestate', 'a=1'], { traceparent: 'made' });
    expect(fields.get('traceparent')).toEqual([valid]);
    expect(fields.get('tracestate')).toEqual(['a=1']);
  });

  it('begins anew when it is broken, double or absent', () => {
    for (const sent of [
      ['traceparent', 'x', 'tracestate', 'a=1'],
      ['traceparent', valid, 'traceparent', valid],
      [],
    ]) {
      const fields = built(sent, { traceparent: 'made' });
      expect(fields.get('traceparent')).toEqual(['made']);
      expect(fields.has('tracestate')).toBe(false);
    }
  });
});

describe('our own cookie', () => {
  it('is never seen upstream, the others are', () => {
    expect(built(['Cookie', 'a=1', 'Cookie', 's=2']).get('cookie')).toEqual(['a=1', 's=2']);
    expect(built(['Cookie', 'a=1; s=2'], { cookie: 'a=1' }).get('cookie')).toEqual(['a=1']);
    expect(built(['Cookie', 's=2'], { cookie: '' }).has('cookie')).toBe(false);
  });
});

describe('Max-Forwards', () => {
  it('counts down for OPTIONS and is left alone elsewhere', () => {
    expect(built(['Max-Forwards', '3'], {}, 'OPTIONS').get('max-forwards')).toEqual(['2']);
    expect(built(['Max-Forwards', '3']).get('max-forwards')).toEqual(['3']);
  });
});

describe("a route's changes", () => {
  it('set and remove fields, whatever their spelling', () => {
    const raw = ['Host', 'a', 'X-C', '1', 'x-keep', '1', 'X-A', 'old'];
    const plan = requestPlan({ set: { 'x-a': 'b' }, remove: ['x-c', 'x-forwarded-for'] });
    const fields = fieldsOf(buildRequestHeaders(raw, scanRequest(raw, 'GET', 1, 1), additionsOf(), plan));
    expect(fields.get('x-a')).toEqual(['b']);
    expect(fields.has('x-c') || fields.has('x-forwarded-for')).toBe(false);
    expect(fields.get('x-keep')).toEqual(['1']);
  });

  it('cannot touch the framing', () => {
    expect(() => requestPlan({ set: { 'Content-Length': '1' }, remove: [] })).toThrow(RangeError);
    expect(() => requestPlan({ set: {}, remove: ['host'] })).toThrow(RangeError);
    expect(() => requestPlan({ set: { TE: 'gzip' }, remove: [] })).toThrow(RangeError);
  });

  it('cannot touch what only the gateway says', () => {
    expect(() => requestPlan({ set: { 'X-Spillway-Client': 'root' }, remove: [] })).toThrow(RangeError);
    expect(() => requestPlan({ set: {}, remove: ['x-spillway-tier'] })).toThrow(RangeError);
  });

  it('cannot tell an instance what the gateway did not see, though they may keep it from knowing', () => {
    for (const name of [
      'X-Forwarded-For',
      'x-forwarded-proto',
      'X-FORWARDED-HOST',
      'forwarded',
      'x-real-ip',
    ]) {
      expect(() => requestPlan({ set: { [name]: '1' }, remove: [] }), name).toThrow(RangeError);
      const plan = requestPlan({ set: {}, remove: [name] });
      const raw = ['Host', 'a'];
      const sent = fieldsOf(buildRequestHeaders(raw, scanRequest(raw, 'GET', 1, 1), additionsOf(), plan));
      expect(sent.has(name.toLowerCase()), name).toBe(false);
    }
    expect(requestPlan({ set: { 'x-forwarded-prefix': '/api' }, remove: [] }).none).toBe(false);
  });
});

describe('a later attempt', () => {
  it('says its number, the first one says nothing', () => {
    expect(built([], { attempt: 1 }).has('x-spillway-attempt')).toBe(false);
    const second = built([], { remainingMs: 120.9, attempt: 2 });
    expect(second.get('x-request-deadline-ms')).toEqual(['120']);
    expect(second.get('x-spillway-attempt')).toEqual(['2']);
    expect(built([], { remainingMs: -1 }).get('x-request-deadline-ms')).toEqual(['0']);
  });
});

describe('a WebSocket handshake', () => {
  it('keeps what makes it one, and Origin, key and subprotocols as they came', () => {
    const raw = [
      'Host',
      'a',
      'Connection',
      'keep-alive, Upgrade, X-A',
      'Upgrade',
      'websocket',
      'X-A',
      '1',
      'Origin',
      'http://o',
      'Sec-WebSocket-Key',
      'dGhlIHNhbXBsZQ==',
      'Sec-WebSocket-Protocol',
      'a, b',
      'Sec-WebSocket-Version',
      '13',
    ];
    const facts = scanRequest(raw, 'GET', 1, 1);
    expect(facts.websocket).toBe(true);
    const fields = fieldsOf(buildTunnelHeaders(raw, facts, additionsOf(), NO_PLAN));
    expect(fields.get('connection')).toEqual(['Upgrade']);
    expect(fields.get('upgrade')).toEqual(['websocket']);
    expect(fields.get('sec-websocket-protocol')).toEqual(['a, b']);
    expect(fields.get('origin')).toEqual(['http://o']);
    expect(fields.has('x-a')).toBe(false);
  });
});
