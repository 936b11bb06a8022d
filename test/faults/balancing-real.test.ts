/**
 * One of ten real instances answers at once, and badly: that makes it the fastest and the idlest. Under round robin a tenth
 * of the callers would get its answers, under least connections nearly half of them; here hardly anybody.
 */
import { describe, expect, test } from 'vitest';

import { Ten } from '../../loadtest/balancing/ten.ts';

/** A fifth of what they can do: the figure is about who is chosen, and the machine has other work. */
const LOAD = 0.2;

describe('one of ten instances fails in under a millisecond', () => {
  test.each([
    ['answers 500', { status: 500, meanMs: 0 }],
    ['ends every connection', { hangsUp: true }],
  ])('and at most one caller of a hundred sees it after the first second: it %s', async (_, fault) => {
    await using ten = await Ten.start(2);
    const calm = await ten.load(LOAD, 10, 2, 1);
    expect(calm.failed + calm.refused).toBe(0);
    await ten.instances[0]?.set(fault);
    const [before = 0] = await ten.arrivals();
    const { offered, failed, refused, served } = await ten.load(LOAD, 10, 8, 2, 1000);
    const [after = 0] = await ten.arrivals();
    expect(offered).toBeGreaterThan(2000);
    expect(served).toBeGreaterThan(0.9 * offered);
    const errors = (failed + refused) / offered;
    process.stderr.write(
      `${(100 * errors).toFixed(2)} % errors of ${offered}, ${after - before} asked of it\n`,
    );
    expect(after).toBeGreaterThan(before);
    expect(errors).toBeLessThanOrEqual(0.01);
  });
});
