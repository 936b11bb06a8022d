/** The signed cookie that names a version: ours is read back, nobody else's chooses anything. */
import { expect, test } from 'vitest';

import { SessionCookies } from '../../../src/affinity/session-cookie.ts';
import { VersionCookie } from '../../../src/affinity/version-cookie.ts';

const KEYS = [{ id: 'k.1', secret: 'a secret of some length' }];
const PIN = { id: '0123456789abcdef', version: '2.0-rc_1' };

function valueOf(setCookie: string): string {
  return setCookie.slice(0, setCookie.indexOf(';'));
}

test('says what it was given, and for whom', () => {
  const cookie = new VersionCookie('release', KEYS, 'shop');
  const set = cookie.issue(PIN, false);
  expect(set).toMatch(/^release=d1\.k\.1\.[\w-]+\.[\w-]{22}; Path=\/; HttpOnly; SameSite=Lax$/);
  expect(cookie.issue(PIN, true)).toMatch(/; Secure$/);
  for (const header of [valueOf(set), `a=b; ${valueOf(set)}`, `${valueOf(set)}; c=d`])
    expect(cookie.read(header)).toEqual(PIN);
  expect(cookie.read('')).toBeUndefined();
  expect(cookie.read('other=d1.x')).toBeUndefined();
});

test('a name of any length that a version may have fits', () => {
  const cookie = new VersionCookie('release', KEYS, 'shop');
  const pin = { id: PIN.id, version: 'v'.repeat(64) };
  expect(cookie.read(valueOf(cookie.issue(pin, false)))).toEqual(pin);
});

test('the newest key signs, older ones still verify, and one that is removed does not', () => {
  const before = new VersionCookie('release', KEYS, 'shop');
  const header = valueOf(before.issue(PIN, false));
  const fresh = { id: 'k2', secret: 'another secret of some length' };
  const rotated = new VersionCookie('release', [fresh, ...KEYS], 'shop');
  expect(rotated.read(header)).toEqual(PIN);
  expect(rotated.issue(PIN, false)).toContain('d1.k2.');
  expect(new VersionCookie('release', [fresh], 'shop').read(header)).toBeUndefined();
});

test("another service's cookie, a changed one, and a session's are none", () => {
  const cookie = new VersionCookie('release', KEYS, 'shop');
  const header = valueOf(cookie.issue(PIN, false));
  expect(new VersionCookie('release', KEYS, 'stock').read(header)).toBeUndefined();
  for (let at = 'release='.length; at < header.length; at++) {
    const changed = header.slice(0, at) + (header[at] === 'A' ? 'B' : 'A') + header.slice(at + 1);
    expect(cookie.read(changed), changed).toBeUndefined();
    expect(cookie.read(header.slice(0, at))).toBeUndefined();
  }
  const policy = { cookieName: 'release', keys: KEYS, idleMs: 1000, absoluteMs: 1000, service: 'shop' };
  const sessions = new SessionCookies(policy);
  const session = sessions.issue(sessions.tagOf('a:1'), '', 0, undefined, false).cookie;
  expect(cookie.read(valueOf(session))).toBeUndefined();
  expect(sessions.read(header, 0).result).toBe('invalid');
});
