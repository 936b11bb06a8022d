import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FrameFollower } from '../../src/forwarding/ws-frames.ts';

/** A fixed seed, so that a red run can be run again. */
const RUNS = { numRuns: 3000, seed: 20_261_122 };

interface Frame {
  readonly first: number;
  readonly masked: boolean;
  readonly payload: Uint8Array;
  /** A longer form of the length than needed: forbidden, and still what it says. */
  readonly form: 'short' | 'two' | 'eight';
}

function bytesOf({ first, masked, payload, form }: Frame): Uint8Array {
  const { length } = payload;
  const mask = masked ? 0x80 : 0;
  const size = form === 'short' && length > 125 ? 'two' : form;
  const head =
    size === 'short'
      ? [first, mask | length]
      : size === 'two'
        ? [first, mask | 126, length >> 8, length & 255]
        : [first, mask | 127, 0, 0, 0, 0, 0, 0, length >> 8, length & 255];
  return Uint8Array.from([...head, ...(masked ? [1, 2, 3, 4] : []), ...payload]);
}

const frame: fc.Arbitrary<Frame> = fc.record({
  first: fc.nat(255),
  masked: fc.boolean(),
  payload: fc.oneof(
    fc.uint8Array({ maxLength: 8 }),
    fc.uint8Array({ minLength: 120, maxLength: 130 }),
    fc.nat(65_535).map((length) => new Uint8Array(length)),
  ),
  form: fc.constantFrom('short' as const, 'two' as const, 'eight' as const),
});

/** Ends of frames, as they were built. */
function endsOf(frames: readonly Uint8Array[]): number[] {
  let at = 0;
  return frames.map((each) => (at += each.length));
}

/** Ends of frames, as a follower finds them in slices of these lengths, over and over. */
function found(stream: Uint8Array, lengths: readonly number[]): number[] {
  const follower = new FrameFollower();
  const ends: number[] = [];
  for (let from = 0, turn = 0; from < stream.length; turn++) {
    const slice = stream.subarray(from, from + (lengths[turn % lengths.length] ?? 1));
    for (let at = 0; at < slice.length;) {
      at = follower.toBoundary(slice, at);
      if (follower.atBoundary) ends.push(from + at);
    }
    from += slice.length;
  }
  return ends;
}

describe('the follower of frames', () => {
  it('finds every end of a frame and no other place, however the bytes are sliced', () => {
    fc.assert(
      fc.property(
        fc.array(frame, { minLength: 1, maxLength: 8 }),
        fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1, maxLength: 10 }),
        (frames, lengths) => {
          const parts = frames.map(bytesOf);
          const stream = Buffer.concat(parts);
          expect(found(stream, lengths)).toEqual(endsOf(parts));
        },
      ),
      { ...RUNS, numRuns: 500 },
    );
  });

  it('finds them one byte at a time', () => {
    fc.assert(
      fc.property(fc.array(frame, { minLength: 1, maxLength: 3 }), (frames) => {
        const parts = frames.filter(({ payload }) => payload.length < 200).map(bytesOf);
        expect(found(Buffer.concat(parts), [1])).toEqual(endsOf(parts));
      }),
      RUNS,
    );
  });

  it('never throws, never stalls and says the same of any bytes in any slices', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 400 }),
        fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 10 }),
        (bytes, lengths) => {
          const whole = new FrameFollower();
          whole.follow(bytes);
          const sliced = new FrameFollower();
          for (let from = 0, turn = 0; from < bytes.length; turn++) {
            const length = lengths[turn % lengths.length] ?? 1;
            sliced.follow(bytes.subarray(from, from + length));
            from += length;
          }
          expect(sliced.atBoundary).toBe(whole.atBoundary);
        },
      ),
      RUNS,
    );
  });

  it('begins at a boundary, and is lost for good by a length that nothing can have', () => {
    const follower = new FrameFollower();
    expect(follower.atBoundary).toBe(true);
    follower.follow(Uint8Array.of(0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 1, 0));
    expect(follower.atBoundary).toBe(false);
    follower.follow(new Uint8Array(100_000));
    expect(follower.atBoundary).toBe(false);
    const huge = new FrameFollower();
    huge.follow(Uint8Array.of(0x82, 127, 0x7f, 255, 255, 255, 255, 255, 255, 255));
    huge.follow(new Uint8Array(1000));
    expect(huge.atBoundary).toBe(false);
  });
});
