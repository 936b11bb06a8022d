import { describe, expect, test } from 'vitest';
import { warnings } from './load-text.ts';

const KEYS = 'keys: [{ id: k1, secret: 0123456789abcdef }]';

/** Two services with affinity; what is said of their cookies. */
function said(routes: string, shop = '', blog = ''): string[] {
  return warnings(`listeners: [{ port: 8080 }]
services:
  shop: { instances: [http://127.0.0.1:9001], affinity: { ${KEYS}${shop} } }
  blog: { instances: [http://127.0.0.1:9002], affinity: { ${KEYS}${blog} } }
  plain: { instances: [http://127.0.0.1:9003] }
routes: [${routes}, { path: /plain, service: plain }]
`);
}

const WARNING =
  "4:57 `shop` has a session cookie `spillway` on the same host: each would end the other's sessions; " +
  'give one another `cookie`, at services.blog.affinity';

describe('two services with session cookies of one name', () => {
  test.each([
    ['on any host', '{ path: /, service: shop }, { path: /blog, service: blog }'],
    [
      'on one named host',
      '{ path: /, host: A.test, service: shop }, { path: /blog, host: a.test, service: blog }',
    ],
    ['where a host is also any', '{ path: /, service: shop }, { path: /blog, host: a.test, service: blog }'],
    [
      'where a host has the form',
      '{ path: /x, host: "*.test", service: shop }, { path: /, host: a.test, service: blog }',
    ],
    [
      'where a host is taken in part',
      '{ path: /, service: shop }, { path: /, host: a.test, methods: [POST], service: blog }',
    ],
    [
      'at one of several routes',
      '{ path: /, host: b.test, service: shop }, { path: /, host: a.test, service: blog }, { path: /b, host: b.test, service: blog }',
    ],
  ])('are a warning %s', (_, routes) => {
    expect(said(routes)).toEqual([WARNING]);
  });

  test.each([
    [
      'on different hosts',
      '{ path: /, host: b.test, service: shop }, { path: /, host: a.test, service: blog }',
    ],
    [
      'on hosts of different depth',
      '{ path: /, host: "*.test", service: shop }, { path: /b, host: a.b.test, service: blog }',
    ],
    [
      'where one takes a whole host from the other',
      '{ path: /, service: shop }, { path: /, host: a.test, service: blog }',
    ],
  ])('are none %s', (_, routes) => {
    expect(said(routes)).toEqual([]);
  });

  test('are none when the names differ, and one when they are written alike', () => {
    const routes = '{ path: /, service: shop }, { path: /blog, service: blog }';
    expect(said(routes, '', ', cookie: blog')).toEqual([]);
    expect(said(routes, ', cookie: sid', ', cookie: sid')).toEqual([WARNING.replace('`spillway`', '`sid`')]);
  });
});

describe('the prefix by which a browser knows that a cookie is of its host alone', () => {
  const TLS = 'tls: { certificates: [{ cert: a.crt, key: a.key }] }';
  const advice = (listeners: string, cookie: string): string[] =>
    warnings(`listeners: [${listeners}]
services:
  shop: { instances: [http://127.0.0.1:9001], affinity: { cookie: ${cookie}, ${KEYS} } }
routes: [{ path: /, service: shop }]
`).filter((warning) => warning.includes('affinity'));

  test('is advised where callers come by TLS', () => {
    const [said = ''] = advice(`{ port: 8443, ${TLS} }, { port: 8080, redirectToHttps: true }`, 'seat');
    expect(said).toContain('call its cookie `__Host-seat`');
    expect(advice(`{ port: 8443, ${TLS} }`, '__Secure-seat')[0]).toContain('call its cookie `__Host-seat`');
    expect(advice(`{ port: 8443, ${TLS} }`, '__Host-seat')).toEqual([]);
  });

  test.each(['__Host-seat', '__Secure-seat'])('is a mistake where they do not: %s', (cookie) => {
    expect(advice('{ port: 8080 }', cookie)[0]).toContain(`a browser drops \`${cookie}\``);
    expect(advice(`{ port: 8443, ${TLS} }, { port: 8080 }`, cookie)).toHaveLength(1);
    expect(advice('{ port: 8080 }', 'seat')).toEqual([]);
  });
});
