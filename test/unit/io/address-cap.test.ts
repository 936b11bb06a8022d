import { expect, test } from 'vitest';
import { AddressCap } from '../../../src/io/address-cap.ts';

test('an address gets as many places as it may have, and one back when it gives one back', () => {
  const cap = new AddressCap(2);
  expect([cap.take('10.0.0.1'), cap.take('10.0.0.1'), cap.take('10.0.0.1')]).toEqual([
    '10.0.0.1',
    '10.0.0.1',
    undefined,
  ]);
  expect(cap.take('10.0.0.2')).toBe('10.0.0.2');
  cap.release('10.0.0.1');
  expect(cap.take('10.0.0.1')).toBe('10.0.0.1');
});

test('an IPv4 address is the same one on a listener of both families', () => {
  const cap = new AddressCap(1);
  cap.take('::ffff:10.0.0.1');
  expect(cap.take('10.0.0.1')).toBeUndefined();
});

test('IPv6 is counted by /64', () => {
  const cap = new AddressCap(1);
  cap.take('2001:db8::1');
  expect(cap.take('2001:db8::ffff:2')).toBeUndefined();
  expect(cap.take('2001:db8:0:1::1')).toBeDefined();
});

test('nothing is kept of addresses without connections', () => {
  const cap = new AddressCap(5);
  for (let index = 0; index < 1000; index++) {
    const place = cap.take(`10.0.${index >> 8}.${index & 255}`);
    cap.release(place ?? '');
  }
  expect(cap.size).toBe(0);
});
