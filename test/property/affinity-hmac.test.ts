import { createHmac } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Hmac } from '../../src/affinity/hmac.ts';

test('it is the HMAC of RFC 2104, whatever key and text', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'binary', maxLength: 200 }),
      fc.string({ unit: 'binary' }),
      (secret, text) => {
        const wanted = createHmac('sha256', secret).update(text).digest('hex');
        expect(Buffer.from(new Hmac(secret).sign(text), 'latin1').toString('hex')).toBe(wanted);
      },
    ),
    { numRuns: 2000, seed: 7 },
  );
});

test('one key signs many texts without remembering any', () => {
  const mac = new Hmac('a key');
  const first = mac.sign('one');
  mac.sign('another, and longer than the first');
  expect(mac.sign('one')).toBe(first);
});
