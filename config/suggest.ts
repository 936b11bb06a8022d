/**
 * "Did you mean": the known word that is nearest to a mistyped one.
 *
 * Distance: insertions, deletions, replacements and swaps of neighbours (optimal string alignment), letter case aside.
 * A third of the word may be wrong, at least one letter: more suggests nonsense, less misses a swapped pair in a short
 * word. Words are cut at 64 letters, so that the quadratic table stays small whatever is in the file.
 */

const LONGEST = 64;

/** The nearest of `known` to `typed`, or '' when none is near. */
export function nearest(typed: string, known: Iterable<string>): string {
  const allowed = Math.max(1, Math.floor(typed.length / 3));
  let best = '';
  let bestDistance = allowed + 1;
  for (const word of known) {
    const distance = editDistance(typed.toLowerCase(), word.toLowerCase());
    if (distance < bestDistance && word !== typed) {
      best = word;
      bestDistance = distance;
    }
  }
  return best;
}

function editDistance(left: string, right: string): number {
  const a = left.slice(0, LONGEST);
  const b = right.slice(0, LONGEST);
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let row = 1; row <= a.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= b.length; column += 1) {
      const same = a[row - 1] === b[column - 1];
      let cost = Math.min(
        at(last, column) + 1,
        at(current, column - 1) + 1,
        at(last, column - 1) + (same ? 0 : 1),
      );
      if (row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1]) {
        cost = Math.min(cost, at(beforeLast, column - 2) + 1);
      }
      current.push(cost);
    }
    beforeLast = last;
    last = current;
  }
  return at(last, b.length);
}

function at(row: readonly number[], index: number): number {
  return row[index] ?? Number.POSITIVE_INFINITY;
}
