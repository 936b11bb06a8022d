import { createHmac } from 'node:crypto';
import { expect, test } from 'vitest';
import { type Pin, SessionCookies, type SessionCookieOptions } from '../../../src/affinity/session-cookie.ts';

const MINUTE = 60_000;
const NOW = Date.UTC(2026, 4, 4, 12) + 789;
const OPTIONS: SessionCookieOptions = {
  cookieName: 'spillway',
  keys: [{ id: 'k1', secret: 'first secret of the test' }],
  idleMs: 30 * MINUTE,
  absoluteMs: 8 * 60 * MINUTE,
  service: 'shop',
};

function cookies(change: Partial<SessionCookieOptions> = {}): SessionCookies {
  return new SessionCookies({ ...OPTIONS, ...change });
}

function issued(from: SessionCookies, uid = '127.0.0.1:9001', at = NOW, previous?: Pin): string {
  return from.issue(from.tagOf(uid), '', at, previous, false).cookie.split(';')[0] ?? '';
}

function pinOf(from: SessionCookies, header: string, at = NOW): Pin {
  const { pin } = from.read(header, at);
  if (pin === undefined) throw new Error('no pin');
  return pin;
}

test('what was issued is read back', () => {
  const jar = cookies();
  const { cookie, sid } = jar.issue(jar.tagOf('a:1'), '0badcafe', NOW, undefined, false);
  const reading = jar.read(`x=1; ${cookie.split(';')[0]}; y=2`, NOW + 5000);
  const second = Math.floor(NOW / 1000) * 1000;
  const pin = { sid, instance: jar.tagOf('a:1'), version: '0badcafe', issuedMs: second, seenMs: second };
  expect(reading).toEqual({ result: 'hit', pin });
  // The same jar writes the next one into the same bytes.
  expect(pinOf(jar, issued(jar, 'b:1')).version).toBe('');
});

test('the form is v1, key id, 32 bytes, 16 bytes, and HttpOnly, Lax, for the whole site', () => {
  const jar = cookies();
  const { cookie } = jar.issue(jar.tagOf('a:1'), '', NOW, undefined, false);
  expect(cookie).toMatch(/^spillway=v1\.k1\.[\w-]{43}\.[\w-]{22}; Path=\/; HttpOnly; SameSite=Lax$/);
  expect(jar.issue(jar.tagOf('a:1'), '', NOW, undefined, true).cookie).toMatch(/; Secure$/);
});

test('the mac is over everything before it and the name of the service', () => {
  const value = issued(cookies()).slice('spillway='.length);
  const at = value.lastIndexOf('.');
  const mac = createHmac('sha256', 'first secret of the test')
    .update(`${value.slice(0, at)}\0shop`)
    .digest();
  expect(value.slice(at + 1)).toBe(mac.subarray(0, 16).toString('base64url'));
});

test('no part of an address can be read in a cookie', () => {
  const jar = cookies();
  const payload = Buffer.from(issued(jar, '10.20.30.40:9001').split('.')[2] ?? '', 'base64url');
  expect(payload.includes(Buffer.from([10, 20, 30, 40]))).toBe(false);
  expect(payload.includes(Buffer.from('10.20.30'))).toBe(false);
});

test('the unused bits of the last character are part of the comparison', () => {
  const jar = cookies();
  const header = issued(jar);
  const digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  const last = digits.indexOf(header.at(-1) ?? '');
  const twins = [1, 2, 3].map((bits) => header.slice(0, -1) + (digits[last ^ bits] ?? ''));
  for (const twin of twins) {
    expect(Buffer.from(twin.slice(-22), 'base64url')).toEqual(Buffer.from(header.slice(-22), 'base64url'));
    expect(jar.read(twin, NOW).result).toBe('invalid');
  }
});

test('a cookie of another service or another key is no pin', () => {
  const jar = cookies();
  for (const other of [
    cookies({ service: 'stock' }),
    cookies({ keys: [{ id: 'k1', secret: 'another secret' }] }),
  ]) {
    expect(jar.read(issued(other), NOW)).toEqual({ result: 'invalid' });
  }
  expect(
    jar.read(issued(cookies({ keys: [{ id: 'k9', secret: 'first secret of the test' }] })), NOW).result,
  ).toBe('invalid');
});

test('an unused session ends after the idle time, a used one at the absolute age', () => {
  const jar = cookies();
  const header = issued(jar);
  expect(jar.read(header, NOW + 29 * MINUTE).result).toBe('hit');
  expect(jar.read(header, NOW + 31 * MINUTE)).toEqual({ result: 'expired' });
  let at = NOW;
  let current = header;
  while (at - NOW < 8 * 60 * MINUTE - 20 * MINUTE) {
    at += 20 * MINUTE;
    current = issued(jar, 'a:1', at, pinOf(jar, current, at));
  }
  expect(jar.read(current, at).result).toBe('hit');
  expect(jar.read(current, NOW + 8 * 60 * MINUTE + 1000).result).toBe('expired');
});

test('expiry is asked of remembered cookies too', () => {
  const jar = cookies();
  const header = issued(jar);
  expect(jar.read(header, NOW).result).toBe('hit');
  expect(jar.read(header, NOW + 31 * MINUTE).result).toBe('expired');
  expect(jar.read(header, NOW).result).toBe('hit');
});

test('a clock that went back neither ends a session nor refreshes it', () => {
  const jar = cookies();
  const header = issued(jar);
  expect(jar.read(header, NOW - 60 * MINUTE).result).toBe('hit');
  expect(jar.needsRefresh(pinOf(jar, header), NOW - 60 * MINUTE)).toBe(false);
});

test('a session keeps its id and age when it moves or is renewed', () => {
  const jar = cookies();
  const first = pinOf(jar, issued(jar, 'a:1'));
  const second = pinOf(jar, issued(jar, 'b:1', NOW + 10 * MINUTE, first), NOW + 10 * MINUTE);
  expect(second).toMatchObject({ sid: first.sid, issuedMs: first.issuedMs, instance: jar.tagOf('b:1') });
  expect(second.seenMs - first.seenMs).toBe(10 * MINUTE);
});

test('it is renewed when a tenth of the idle time has passed', () => {
  const jar = cookies();
  const pin = pinOf(jar, issued(jar));
  expect(jar.needsRefresh(pin, pin.seenMs + 3 * MINUTE)).toBe(false);
  expect(jar.needsRefresh(pin, pin.seenMs + 3 * MINUTE + 1)).toBe(true);
});

test('rotating keys moves nobody: an old cookie names its instance under the old key', () => {
  const before = cookies();
  const header = issued(before, 'a:1');
  const after = cookies({ keys: [{ id: 'k2', secret: 'second secret' }, ...OPTIONS.keys] });
  const pin = pinOf(after, header);
  expect(after.tagsOf('a:1')).toContain(pin.instance);
  expect(after.tagsOf('b:1')).not.toContain(pin.instance);
  expect(after.tagOf('a:1')).toBe(after.tagsOf('a:1')[0]);
  expect(issued(after)).toMatch(/^spillway=v1\.k2\./);
  expect(cookies({ keys: [{ id: 'k2', secret: 'second secret' }] }).read(header, NOW).result).toBe('invalid');
});

test('the first valid of at most four cookies of the name counts', () => {
  const jar = cookies();
  const good = issued(jar);
  const junk = 'spillway=junk';
  expect(jar.read([junk, junk, junk, good].join('; '), NOW).result).toBe('hit');
  expect(jar.read([junk, junk, junk, junk, good].join('; '), NOW)).toEqual({ result: 'invalid' });
  const other = issued(jar, 'b:1');
  expect(jar.read(`${junk}; ${other}; ${good}`, NOW).pin?.instance).toBe(jar.tagOf('b:1'));
});

test('an expired cookie among broken ones is told as expired', () => {
  const jar = cookies();
  const late = NOW + 31 * MINUTE;
  for (const header of [`${issued(jar)}; spillway=junk`, `spillway=junk; ${issued(jar)}`]) {
    expect(jar.read(header, late).result).toBe('expired');
  }
});

test.each(['', 'a=1; b=2', 'spillway2=v1.k1.x.y', 'xspillway=1'])('%j has no cookie of ours', (header) => {
  expect(cookies().read(header, NOW)).toEqual({ result: 'none' });
});

test.each([
  'spillway=',
  'spillway=v1',
  'spillway=v1...',
  `spillway=v1..${'A'.repeat(43)}.${'A'.repeat(22)}`,
  `spillway=v2.k1.${'A'.repeat(43)}.${'A'.repeat(22)}`,
  `spillway=v1.k1.${'!'.repeat(43)}.${'A'.repeat(22)}`,
  `spillway=v1.k1.${'A'.repeat(43)}.${'é'.repeat(22)}`,
  `spillway="${'x'.repeat(4096)}"`,
  `spillway=v1.${'k'.repeat(200)}.${'A'.repeat(43)}.${'A'.repeat(22)}`,
])('%j is invalid and nothing worse', (header) => {
  expect(cookies().read(header, NOW)).toEqual({ result: 'invalid' });
});

test('a key id may look like any name of the configuration, also with dots', () => {
  const jar = cookies({ keys: [{ id: '2026.05_a-b', secret: 'x'.repeat(16) }] });
  expect(jar.read(issued(jar), NOW).result).toBe('hit');
});

test('keys that cannot work are refused at once', () => {
  expect(() => cookies({ keys: [] })).toThrow(RangeError);
  for (const id of ['', 'a;b', 'a b', 'k'.repeat(65)]) {
    expect(() => cookies({ keys: [{ id, secret: 'x' }] })).toThrow(RangeError);
  }
});
