import { describe, expect, it } from 'vitest';
import { normalizeTarget } from '../../../src/forwarding/target.ts';

function pathOf(raw: string): string {
  const target = normalizeTarget('GET', raw);
  return target.code === '' ? target.path : target.code;
}

describe('a path has one form', () => {
  it('is its own normal form when nothing has to change', () => {
    for (const raw of ['/', '/a', '/a/b/', '/a.b/c~d', "/a;b=c/!$&'()*+,:@|{}", '/a..b/c.']) {
      expect(pathOf(raw)).toBe(raw);
    }
  });

  it.each([
    ['/./ok', '/ok'],
    ['/a//b', '/a/b'],
    ['//evil.example/x', '/evil.example/x'],
    ['/a/.', '/a/'],
    ['/.', '/'],
    ['///', '/'],
    ['/a/%2e/b', '/a/b'],
    ['/%41%7e%2D', '/A~-'],
    ['/%e2%82%ac', '/%E2%82%AC'],
    ['/a%3ab', '/a%3Ab'],
    ['/.well-known/x', '/.well-known/x'],
    ['/a/...', '/a/...'],
  ])('%s is %s', (raw, wanted) => {
    expect(pathOf(raw)).toBe(wanted);
  });

  it('does not decode %252e twice', () => {
    expect(pathOf('/a/%252e%252e/admin')).toBe('/a/%252e%252e/admin');
  });

  it.each([
    '/a/../b',
    '/..',
    '/a/%2e%2E/b',
    '/a/.%2e',
    '/a/..;/b',
    '/a/..;x=1/b',
    '/a/.;x/b',
    '/a/..%3b/b',
    '/a\\b',
    '/a%5cb',
    '/a%2fb',
    '/a%00',
    '/a%zz',
    '/a%4',
    '/a%',
    '/a b',
    '/a\u0000',
    '/a\u007f',
    '/ä',
    '/€',
    '/a#b',
    '/%c0%ae%c0%ae/x',
    '/%e2%82',
    '/%e2%82x',
    '/%ff',
    '/%ed%a0%80',
    '/%f4%90%80%80',
  ])('%j is refused, since readers differ on it', (raw) => {
    expect(pathOf(raw)).toBe('SPW_BAD_REQUEST');
  });

  it('passes an encoded slash only when asked to, and says so', () => {
    const kept = normalizeTarget('GET', '/a%2fb/c', true);
    expect(kept).toMatchObject({ code: '', path: '/a%2Fb/c', encodedSlash: true });
    expect(normalizeTarget('GET', '/a', true).encodedSlash).toBe(false);
  });

  it.each(['/a/..%2fb', '/a%2f..', '/a%2f.%2fb', '/a%2f%2e%2e%2fb'])(
    'refuses dots behind an encoded slash: %s',
    (raw) => {
      expect(normalizeTarget('GET', raw, true).code).toBe('SPW_BAD_REQUEST');
    },
  );
});

describe('a query is never touched', () => {
  it('keeps every byte of it', () => {
    const raw = '/x?a=%0d%0aX:1&b=..//%zz\\?/./%2f';
    expect(normalizeTarget('GET', raw)).toMatchObject({ code: '', path: '/x', query: raw.slice(2) });
  });

  it('keeps it beside a path that changes', () => {
    expect(normalizeTarget('GET', '/a//b?c//d')).toMatchObject({ path: '/a/b', query: '?c//d' });
  });

  it.each(['/x?a b', '/x?a#b', '/x?\u0001', '/x?\u00ff'])('refuses bytes no URI may hold: %j', (raw) => {
    expect(normalizeTarget('GET', raw).code).toBe('SPW_BAD_REQUEST');
  });
});

describe('the other forms of a target', () => {
  it('takes an absolute http or https URI apart', () => {
    expect(normalizeTarget('GET', 'http://A.example:81/x?y')).toMatchObject({
      code: '',
      path: '/x',
      query: '?y',
      authority: 'A.example:81',
      scheme: 'http',
    });
    expect(normalizeTarget('GET', 'HTTPS://a')).toMatchObject({ path: '/', authority: 'a', scheme: 'https' });
    expect(normalizeTarget('GET', 'http://a?x')).toMatchObject({ path: '/', query: '?x' });
    expect(normalizeTarget('GET', 'http://[::1]:80/x')).toMatchObject({ path: '/x', authority: '[::1]:80' });
  });

  it('normalises the path of an absolute URI too', () => {
    expect(normalizeTarget('GET', 'http://a/b/%2e%2e/c').code).toBe('SPW_BAD_REQUEST');
    expect(normalizeTarget('GET', 'http://a//b').path).toBe('/b');
  });

  it.each([
    'ftp://a/x',
    'http:///x',
    'http://u@a/x',
    'http://a b/',
    'admin',
    '',
    '?x',
    'http:/a',
    'http://a:99999/',
  ])('refuses %j', (raw) => {
    expect(normalizeTarget('GET', raw).code).toBe('SPW_BAD_REQUEST');
  });

  it('takes the asterisk with OPTIONS only', () => {
    expect(normalizeTarget('OPTIONS', '*')).toMatchObject({ code: '', asterisk: true, path: '*' });
    expect(normalizeTarget('OPTIONS', 'http://a')).toMatchObject({ code: '', asterisk: true });
    expect(normalizeTarget('GET', '*').code).toBe('SPW_BAD_REQUEST');
  });

  it('answers 414 for more than 8 KiB, whatever the bytes', () => {
    expect(normalizeTarget('GET', `/${'a'.repeat(8191)}`).code).toBe('');
    expect(normalizeTarget('GET', `/${'a'.repeat(8192)}`).code).toBe('SPW_URI_TOO_LONG');
  });

  it('takes linear time for the worst of 8 KiB', () => {
    const started = process.hrtime.bigint();
    for (const unit of ['/.', '//', '%41', '%e2%82%ac', '/.%2e.']) {
      normalizeTarget('GET', `/${unit.repeat(8000 / unit.length)}`);
    }
    expect(Number(process.hrtime.bigint() - started) / 1e6).toBeLessThan(250);
  });
});
