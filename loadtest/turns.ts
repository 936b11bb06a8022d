/**
 * Turns: everything is measured once in each round, in an order that turns from round to round, so that a machine that
 * gets slower meanwhile favours none. What is told of the rounds is the median, with the least and the most beside it; a
 * ratio is taken within each round and its median told, so that what a round does to both sides cancels out.
 */

/** Calls `measure` for each of `who` in each round. The results, in the order of the rounds, by who. */
export async function inTurns<Who, Result>(
  title: string,
  rounds: number,
  who: readonly Who[],
  nameOf: (who: Who) => string,
  measure: (who: Who, round: number) => Promise<Result>,
): Promise<Map<Who, Result[]>> {
  const results = new Map<Who, Result[]>(who.map((each) => [each, []]));
  for (let round = 1; round <= rounds; round += 1) {
    for (const each of round % 2 === 1 ? who : who.toReversed()) {
      process.stderr.write(`${title}, round ${round} of ${rounds}: ${nameOf(each)}\n`);
      results.get(each)?.push(await measure(each, round));
    }
  }
  return results;
}

/** NaN of nothing. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? upper) + upper) / 2;
}

/** The smallest value that `share` of the values do not exceed; NaN of nothing. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = Float64Array.from(values).toSorted();
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))] ?? Number.NaN;
}

/** Round by round. */
export function ratios(over: readonly number[], under: readonly number[]): number[] {
  return over.map((value, round) => value / (under[round] ?? Number.NaN));
}

/** "48.1–52.3" */
export function spread(values: readonly number[], digits: number): string {
  if (values.length === 0) return '–';
  return `${Math.min(...values).toFixed(digits)}–${Math.max(...values).toFixed(digits)}`;
}
