import { describe, expect, it } from 'vitest';
import {
  answerTrailers,
  buildInterimHeaders,
  buildResponseHeaders,
  buildSwitchingHead,
  responsePlan,
  type ResponseHead,
} from '../../../src/forwarding/response-headers.ts';
import { fieldsOf } from './additions.ts';

const ADDRESS = { prefix: '/api', rewrite: null, instances: ['http://127.0.0.1:9001'] };
const PLAN = responsePlan({ set: {}, remove: [] }, ADDRESS);

function head(fields: readonly string[], status = 200, method = 'GET'): ResponseHead {
  return buildResponseHeaders(fields, status, method, PLAN);
}

describe('what goes back to the caller', () => {
  it('is what came, octets and both cookies kept', () => {
    const sent = ['X-B', 'ÿþ', 'Set-Cookie', 'a=1', 'set-cookie', 'b=2', 'Via', '1.1 x', 'Date', 'd'];
    expect(head(sent)).toMatchObject({ code: '', list: sent, contentLength: -1 });
  });

  it("holds nothing of the instance's connection: its close is not the caller's", () => {
    const { list } = head([
      'Connection',
      'close, X-A',
      'X-A',
      '1',
      'x-a',
      '2',
      'Keep-Alive',
      'timeout=5',
      'Proxy-Authenticate',
      'x',
      'Trailer',
      'x',
      'Transfer-Encoding',
      'chunked',
      'Upgrade',
      'h2c',
      'TE',
      'x',
      'X-Request-Id',
      'theirs',
      'X-Spillway-Attempt',
      '1',
      'X-B',
      '1',
    ]);
    expect(list).toEqual(['X-B', '1']);
  });

  it('knows an event stream and what caches are told', () => {
    expect(head(['Content-Type', 'Text/Event-Stream; charset=utf-8']).eventStream).toBe(true);
    expect(head(['Cache-Control', 'public', 'cache-control', 'max-age=5']).cacheControl).toBe(
      'public, max-age=5',
    );
  });

  it('makes the changes of the route', () => {
    const plan = responsePlan({ set: { 'x-a': '2' }, remove: ['server'] }, ADDRESS);
    const fields = fieldsOf(
      buildResponseHeaders(['X-A', '1', 'Server', 's', 'X', '1'], 200, 'GET', plan).list,
    );
    expect([...fields]).toEqual([
      ['x', ['1']],
      ['x-a', ['2']],
    ]);
  });
});

describe('an answer that could be cut in two ways is none', () => {
  it.each([
    ['two lengths', ['Content-Length', '1', 'Content-Length', '1'], 200],
    ['a length beside a coding', ['Content-Length', '1', 'Transfer-Encoding', 'chunked'], 200],
    ['another coding', ['Transfer-Encoding', 'gzip, chunked'], 200],
    ['a coding twice', ['Transfer-Encoding', 'chunked', 'Transfer-Encoding', 'chunked'], 200],
    ['a length that is none', ['Content-Length', '+1'], 200],
    ['a list of lengths', ['Content-Length', '1,1'], 200],
    ['status 407', [], 407],
    ['status 999', [], 999],
    ['status 101 that nobody asked for', [], 101],
    ['status 600', [], 600],
  ])('%s', (_, fields, status) => {
    expect(head(fields, status)).toMatchObject({ code: 'SPW_UPSTREAM_PROTOCOL' });
  });
});

describe('answers without a body', () => {
  it('HEAD and 304 keep their length, 204 never has one', () => {
    expect(head(['Content-Length', '5'], 200, 'HEAD')).toMatchObject({
      list: ['content-length', '5'],
      bodyless: true,
      contentLength: 0,
    });
    expect(head(['Content-Length', '5'], 304)).toMatchObject({
      list: ['content-length', '5'],
      bodyless: true,
    });
    expect(head(['Content-Length', '5'], 204)).toMatchObject({ list: [], bodyless: true, contentLength: 0 });
    expect(head(['Content-Length', '005'])).toMatchObject({
      list: ['content-length', '5'],
      contentLength: 5,
    });
  });
});

function located(value: string, prefix = '/api', rewrite: string | null = null): string | undefined {
  const plan = responsePlan(
    { set: {}, remove: [] },
    {
      prefix,
      rewrite,
      instances: ['http://10.0.0.1:9001', 'https://in.example'],
      isInstance: (place) => place === '10.9.9.9:80' || place === '[fd00::9]:8080',
    },
  );
  return buildResponseHeaders(['Location', value], 302, 'GET', plan).list[1];
}

describe('`x-drain`', () => {
  it.each([
    ['1', true],
    [' 1 ', true],
    ['0', false],
    ['', false],
    ['true', false],
    ['1, 1', false],
  ])('of "%s" is a word for us: %s, and not passed on', (value, drains) => {
    for (const name of ['x-drain', 'X-Drain', 'X-DRAIN']) {
      expect(head([name, value, 'ETag', '"a"'])).toMatchObject({ drains, list: ['ETag', '"a"'] });
    }
  });

  it('is not there in an answer without it', () => {
    expect(head(['ETag', '"a"']).drains).toBe(false);
  });
});

describe('Location', () => {
  it.each([
    ['http://10.0.0.1:9001/x?y#z', '/x?y#z'],
    ['HTTP://10.0.0.1:9001', '/'],
    ['http://10.0.0.1:9001?y', '/?y'],
    ['//10.0.0.1:9001/x', '/x'],
    ['https://IN.example/x', '/x'],
    ['https://in.example:443/x', '/x'],
    ['http://10.0.0.1:9001//evil.example/', '/evil.example/'],
    ['http://10.0.0.1:9001/\\evil.example/', '/evil.example/'],
    ['http://10.9.9.9/found', '/found'],
    ['//10.9.9.9:80/found', '/found'],
    ['http://[FD00::9]:8080/found', '/found'],
  ])('%s names an instance and becomes %s', (value, wanted) => {
    expect(located(value)).toBe(wanted);
  });

  it.each([
    '/x',
    'x',
    'https://a.example/x',
    'http://10.0.0.1:9002/x',
    'http://u@10.0.0.1:9001/',
    'mailto:a@b',
    '',
  ])('%j stays as it is', (value) => {
    expect(located(value)).toBe(value);
  });

  it('gets the public prefix back on a rewriting route', () => {
    expect(located('http://10.0.0.1:9001/new/x', '/api', '/new')).toBe('/api/x');
    expect(located('http://10.0.0.1:9001/new', '/api', '/new')).toBe('/api');
    expect(located('http://10.0.0.1:9001/newer', '/api', '/new')).toBe('/newer');
    expect(located('http://10.0.0.1:9001/x', '/api', '/')).toBe('/api/x');
    expect(located('http://10.0.0.1:9001/new/x', '/', '/new')).toBe('/x');
    expect(located('http://10.0.0.1:9001/new?y', '/', '/new')).toBe('/?y');
  });
});

describe('other heads', () => {
  it('pass interim answers without connection fields', () => {
    expect(
      buildInterimHeaders(['Link', '</a>; rel=preload', 'Connection', 'x', 'Content-Length', '0']),
    ).toEqual(['Link', '</a>; rel=preload']);
  });

  it('drop trailers that frame or authenticate', () => {
    expect(
      answerTrailers(['X-T', '1', 'Content-Length', '5', 'Set-Cookie', 'a', 'Grpc-Status', '0', 'Te', 'x']),
    ).toEqual([
      ['X-T', '1'],
      ['Grpc-Status', '0'],
    ]);
  });

  it('write a 101 with what the handshake agreed on', () => {
    const text = buildSwitchingHead(
      [
        'Upgrade',
        'websocket',
        'Connection',
        'Upgrade',
        'Sec-WebSocket-Accept',
        'k',
        'Content-Length',
        '0',
        'Keep-Alive',
        'x',
      ],
      'req-00000001',
      PLAN.changes,
    );
    expect(text).toBe(
      'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
        'Sec-WebSocket-Accept: k\r\nx-request-id: req-00000001\r\n\r\n',
    );
  });

  it("write a 101 with the route's changes, but for what the handshake agreed on", () => {
    const set = {
      'x-set': 'ours',
      'cache-control': 'no-store',
      'Sec-WebSocket-Protocol': 'ours',
      'sec-websocket-version': '8',
    };
    const remove = ['server', 'sec-websocket-accept', 'Sec-WebSocket-Extensions'];
    const { changes } = responsePlan({ set, remove }, ADDRESS);
    const agreed = [
      'Sec-WebSocket-Accept',
      'k',
      'sec-websocket-protocol',
      'chat',
      'Sec-WebSocket-Extensions',
      'e',
    ];
    const raw = [
      'Server',
      's',
      'X-Set',
      'theirs',
      ...agreed,
      'X-Hop',
      '1',
      'Cache-Control',
      'public',
      'Date',
      'd',
    ];
    const lines = buildSwitchingHead(['Connection', 'Upgrade, x-hop', ...raw], 'req-00000001', changes)
      .trimEnd()
      .split('\r\n');
    expect(lines.slice(1).sort()).toEqual(
      [
        'Connection: Upgrade',
        'Upgrade: websocket',
        'Sec-WebSocket-Accept: k',
        'sec-websocket-protocol: chat',
        'Sec-WebSocket-Extensions: e',
        'Date: d',
        'x-set: ours',
        'cache-control: no-store',
        'x-request-id: req-00000001',
      ].sort(),
    );
  });
});
