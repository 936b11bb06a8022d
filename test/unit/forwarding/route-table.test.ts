import { describe, expect, it } from 'vitest';
import { localAnswer } from '../../../src/forwarding/local-methods.ts';
import { RouteTable, type RouteRule } from '../../../src/forwarding/route-table.ts';

interface Request {
  readonly host?: string;
  readonly method?: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
}

function taken(rules: readonly RouteRule[], request: Request): number | string {
  const { host = 'a.example', method = 'GET', path, headers = {} } = request;
  const match = new RouteTable(rules).match(host, method, path, { lookup: (name) => headers[name] });
  switch (match.kind) {
    case 'route':
      return match.index;
    case 'no-route':
      return 'none';
    case 'method-not-allowed':
      return match.allow;
    default:
      return match satisfies never;
  }
}

describe('the longest prefix', () => {
  const rules = [{ path: '/' }, { path: '/api' }, { path: '/api/v2' }, { path: '/files/' }];

  it.each([
    ['/', 0],
    ['/x', 0],
    ['/api', 1],
    ['/api/', 1],
    ['/api/v1', 1],
    ['/apix', 0],
    ['/api/v2', 2],
    ['/api/v2/x/y', 2],
    ['/api/v20', 1],
    ['/files', 0],
    ['/files/', 3],
    ['/files/a', 3],
  ])('%s is taken by rule %d', (path, wanted) => {
    expect(taken(rules, { path })).toBe(wanted);
  });

  it('may be nobody', () => {
    expect(taken([{ path: '/api' }], { path: '/' })).toBe('none');
    expect(taken([], { path: '/' })).toBe('none');
  });

  it('does not get slower by segments that a caller invents', () => {
    const table = new RouteTable(rules);
    const path = '/a'.repeat(4000);
    const started = process.hrtime.bigint();
    for (let n = 0; n < 1000; n++) table.match('a', 'GET', path, { lookup: () => undefined });
    expect(Number(process.hrtime.bigint() - started) / 1e6).toBeLessThan(100);
  });
});

describe('of equal prefixes the more specific', () => {
  const rules: RouteRule[] = [
    { path: '/', methods: ['GET'] },
    { path: '/' },
    { path: '/', headers: { 'x-beta': '1' } },
    { path: '/', host: '*.example' },
    { path: '/', host: 'a.example' },
    { path: '/', host: '*.b.example' },
  ];

  it('host wins over wildcard over conditions over methods', () => {
    expect(taken(rules, { path: '/x' })).toBe(4);
    expect(taken(rules, { path: '/x', host: 'c.example' })).toBe(3);
    expect(taken(rules, { path: '/x', host: 'c.b.example' })).toBe(5);
    expect(taken(rules, { path: '/x', host: 'other', headers: { 'x-beta': '1' } })).toBe(2);
    expect(taken(rules, { path: '/x', host: 'other', headers: { 'x-beta': '2' } })).toBe(0);
    expect(taken(rules, { path: '/x', host: 'other', method: 'PUT' })).toBe(1);
  });

  it('a wildcard takes exactly one label', () => {
    expect(taken([{ path: '/', host: '*.example' }], { path: '/', host: 'a.b.example' })).toBe('none');
    expect(taken([{ path: '/', host: '*.example' }], { path: '/', host: 'example' })).toBe('none');
    expect(taken([{ path: '/', host: '*.example' }], { path: '/', host: '.example' })).toBe('none');
  });

  it('falls back to a shorter prefix when host or headers exclude the longer', () => {
    const narrowed = [
      { path: '/' },
      { path: '/api', host: 'b.example' },
      { path: '/api', headers: { v: '2' } },
    ];
    expect(taken(narrowed, { path: '/api' })).toBe(0);
    expect(taken(narrowed, { path: '/api', headers: { v: '2' } })).toBe(2);
  });
});

describe('methods', () => {
  const rules = [
    { path: '/' },
    { path: '/api', methods: ['GET'] },
    { path: '/api', methods: ['POST', 'PUT'], headers: { v: '2' } },
  ];

  it('are answered 405 with all that would do, not handed to a shorter route', () => {
    expect(taken(rules, { path: '/api', method: 'DELETE' })).toBe('GET, HEAD');
    expect(taken(rules, { path: '/api', method: 'DELETE', headers: { v: '2' } })).toBe(
      'POST, PUT, GET, HEAD',
    );
    expect(taken(rules, { path: '/x', method: 'DELETE' })).toBe(0);
  });

  it('take HEAD where GET is taken', () => {
    expect(taken(rules, { path: '/api', method: 'HEAD' })).toBe(1);
  });
});

describe('requests that end at the gateway', () => {
  it('are OPTIONS for the server itself, TRACE and CONNECT', () => {
    expect(localAnswer('OPTIONS', true, -1)).toMatchObject({ kind: 'options', status: 204 });
    expect(localAnswer('OPTIONS', false, 0)).toMatchObject({ kind: 'options', status: 204 });
    expect(localAnswer('OPTIONS', false, 1).kind).toBe('forward');
    expect(localAnswer('GET', false, 0).kind).toBe('forward');
    expect(localAnswer('TRACE', false, -1)).toMatchObject({ code: 'SPW_METHOD_NOT_ALLOWED', closes: false });
    expect(localAnswer('CONNECT', false, -1)).toMatchObject({ code: 'SPW_METHOD_NOT_ALLOWED', closes: true });
  });
});
