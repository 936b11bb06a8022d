/** A rate as a configuration would say it, in the first unit that makes it a whole number. */
export function rateText(ratePerSecond: number): string {
  for (const [unit, seconds] of [
    ['s', 1],
    ['m', 60],
    ['h', 3600],
    ['d', 86_400],
  ] as const) {
    const count = ratePerSecond * seconds;
    const whole = Math.round(count);
    if (whole > 0 && Math.abs(count - whole) < whole * 1e-9) return `${whole}/${unit}`;
  }
  return `${Number(ratePerSecond.toPrecision(6))}/s`;
}
