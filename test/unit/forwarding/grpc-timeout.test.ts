import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { grpcTimeoutMs } from '../../../src/forwarding/grpc-timeout.ts';

describe('grpc-timeout', () => {
  it.each([
    ['1H', 3_600_000],
    ['2M', 120_000],
    ['3S', 3000],
    ['250m', 250],
    ['1500u', 1.5],
    ['1000000n', 1],
    ['99999999S', 99_999_999_000],
    ['0m', 0],
  ])('%s is %d ms', (value, ms) => {
    expect(grpcTimeoutMs(value)).toBeCloseTo(ms, 9);
  });

  it.each([
    '',
    'S',
    '1',
    '1s',
    '1h',
    '-1S',
    '+1S',
    '1.5S',
    '1 S',
    ' 1S',
    '1S ',
    '123456789S',
    '١S',
    '1SS',
    '0x1S',
  ])('%j is none', (value) => {
    expect(grpcTimeoutMs(value)).toBe(-1);
  });

  it('never throws, and is a span or none, for any text', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.string(), fc.string({ unit: 'binary' }), fc.stringMatching(/^\d{0,9}[HMSmun]?$/)),
        (value) => {
          const ms = grpcTimeoutMs(value);
          expect(ms === -1 || (ms >= 0 && Number.isFinite(ms))).toBe(true);
          expect(ms !== -1).toBe(/^[0-9]{1,8}[HMSmun]$/.test(value));
        },
      ),
      { numRuns: 10_000 },
    );
  });
});
