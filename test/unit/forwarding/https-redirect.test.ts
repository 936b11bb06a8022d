import { expect, test } from 'vitest';
import { httpsLocation, isAcmePath, securePort } from '../../../src/forwarding/https-redirect.ts';

test.each([
  ['a.test', 443, '/', 'https://a.test/'],
  ['a.test', 8443, '/x?y=1&z=%2F', 'https://a.test:8443/x?y=1&z=%2F'],
  ['[::1]', 443, '//b.test/..%2e', 'https://[::1]//b.test/..%2e'],
  ['a.test', 443, '/a%20b//c/./d', 'https://a.test/a%20b//c/./d'],
  ['a.test', 443, 'http://a.test:8080/p?q=http://b.test/', 'https://a.test/p?q=http://b.test/'],
  ['a.test', 443, 'http://a.test', 'https://a.test/'],
  ['a.test', 443, 'HTTP://a.test?x', 'https://a.test/?x'],
])('%s, %d and %s become %s', (host, port, target, location) => {
  expect(httpsLocation(host, port, target)).toBe(location);
});

test('the port is 443 where some listener has it, else the first secure one that is known', () => {
  const plain = { port: 80, tls: null };
  expect(securePort([plain, { port: 8443, tls: {} }, { port: 443, tls: {} }])).toBe(443);
  expect(securePort([plain, { port: 8443, tls: {} }, { port: 9443, tls: {} }])).toBe(8443);
  expect(securePort([plain])).toBe(443);
  expect(securePort([{ port: 0, tls: {} }])).toBe(443);
});

test('only paths below the one of RFC 8555 prove a name', () => {
  expect(['/.well-known/acme-challenge', '/.well-known/acme-challenge/x'].map(isAcmePath)).toEqual([
    true,
    true,
  ]);
  expect(['/', '/.well-known/', '/.well-known/acme-challenges'].map(isAcmePath)).toEqual([
    false,
    false,
    false,
  ]);
});
