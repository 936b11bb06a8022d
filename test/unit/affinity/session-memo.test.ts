import { expect, test } from 'vitest';
import { SessionCookies, stripCookie } from '../../../src/affinity/session-cookie.ts';
import { SessionMemo } from '../../../src/affinity/session-memo.ts';

const MINUTE = 60_000;
const NOW = Date.UTC(2026, 10, 21, 12);

function cookies(cookieName: string): SessionCookies {
  return new SessionCookies({
    cookieName,
    keys: [{ id: 'k1', secret: 'secret of the test' }],
    idleMs: 30 * MINUTE,
    absoluteMs: 40 * MINUTE,
    service: cookieName,
  });
}

function issued(from: SessionCookies): string {
  return from.issue(from.tagOf('a:1'), '', NOW, undefined, false).cookie.split(';')[0] ?? '';
}

test('the same header says the same, without being read again', () => {
  const shop = cookies('shop');
  const memo = new SessionMemo();
  const header = `a=b; ${issued(shop)}`;
  const first = memo.read(shop, header, NOW);
  expect(first.result).toBe('hit');
  expect(memo.read(shop, header, NOW + MINUTE)).toBe(first);
  expect(memo.rest(header, 'shop')).toBe('a=b');
  expect(memo.rest(header, 'shop')).toBe('a=b');
});

test('a remembered session ends when its time is over', () => {
  const shop = cookies('shop');
  const memo = new SessionMemo();
  const header = issued(shop);
  expect(memo.read(shop, header, NOW).result).toBe('hit');
  expect(memo.read(shop, header, NOW + 31 * MINUTE).result).toBe('expired');
});

test('another header and another service are read for themselves', () => {
  const shop = cookies('shop');
  const stock = cookies('stock');
  const memo = new SessionMemo();
  const both = `${issued(shop)}; ${issued(stock)}`;
  expect(memo.read(shop, both, NOW)).toEqual(shop.read(both, NOW));
  expect(memo.rest(both, 'shop')).toBe(stripCookie(both, 'shop'));
  expect(memo.read(stock, both, NOW)).toEqual(stock.read(both, NOW));
  expect(memo.rest(both, 'stock')).toBe(stripCookie(both, 'stock'));
  expect(memo.read(shop, 'shop=forged', NOW).result).toBe('invalid');
  expect(memo.rest('shop=forged; a=b', 'shop')).toBe('a=b');
  expect(memo.read(shop, '', NOW).result).toBe('none');
});
