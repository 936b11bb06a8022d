/**
 * Whether a recorded run kept its limit, in every window.
 *
 * Nobody outside sees the moment of an admission, but it lies between the moment its request was meant to leave and the
 * moment its answer was there. So an admission lies in a window for certain when both do, and a limit is broken for certain
 * when the admissions that certainly lie in some window are more than rate · W + burst. Every pair of such moments is
 * tried, so no window hides anything; what the check cannot see is what happens within one round trip, a fraction of a unit
 * at these rates.
 */

export interface Admission {
  /** Ms on one clock. */
  readonly fromMs: number;
  readonly untilMs: number;
}

export interface Worst {
  /** The most that any window held beyond rate · W + burst, in units; less than 0 when every window held less. */
  readonly excess: number;
  readonly windowMs: number;
  readonly admitted: number;
}

/** The window that did worst. Quadratic: for some thousands of admissions. */
export function worstWindow(
  admissions: readonly Admission[],
  ratePerSecond: number,
  burst: number,
  leastWindowMs = 0,
): Worst {
  const byEnd = admissions.toSorted((a, b) => a.untilMs - b.untilMs);
  const froms = Float64Array.from(byEnd, ({ fromMs }) => fromMs);
  const untils = Float64Array.from(byEnd, ({ untilMs }) => untilMs);
  let worst: Worst = { excess: -Infinity, windowMs: 0, admitted: 0 };
  for (const start of froms) {
    let admitted = 0;
    for (let index = 0; index < untils.length; index += 1) {
      if ((froms[index] ?? 0) < start) continue;
      admitted += 1;
      const windowMs = (untils[index] ?? 0) - start;
      if (windowMs < leastWindowMs) continue;
      const excess = admitted - (ratePerSecond * windowMs) / 1000 - burst;
      if (excess > worst.excess) worst = { excess, windowMs, admitted };
    }
  }
  return worst;
}

/** Admitted ÷ what the rate gives, of the answers from one moment until another. */
export function usedShare(
  admissions: readonly Admission[],
  ratePerSecond: number,
  fromMs: number,
  untilMs: number,
): number {
  const admitted = admissions.filter((each) => each.untilMs >= fromMs && each.untilMs < untilMs).length;
  return (admitted * 1000) / (untilMs - fromMs) / ratePerSecond;
}
