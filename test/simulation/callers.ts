/** What callers do beyond sending once: they try again, they go away, and some call more often than others. */
import type { Random } from '../../src/kernel/random.ts';
import type { Ask } from './flow.ts';
import type { World } from './model.ts';

/** `tries` in all; `fixed` and `jittered` wait `afterMs`, the latter 0.5 to 1.5 times as long and double each time. */
export type Retry =
  | { readonly kind: 'none' }
  | { readonly kind: 'fixed' | 'jittered'; readonly tries: number; readonly afterMs: number }
  /** Does as `Retry-After` says; waits a second where nothing was said. */
  | { readonly kind: 'obedient'; readonly tries: number };

/** A request whose caller tries again when it was refused, failed, or took longer than its patience. */
export function persistent(world: World, ask: Ask, retry: Retry, random: Random): Ask {
  if (retry.kind === 'none') return ask;
  const attempt = (count: number): Ask => ({
    ...ask,
    attempt: count,
    done: (now, outcome, retryAfterS) => {
      if (outcome === 'served' || count + 1 >= retry.tries) ask.done?.(now, outcome, retryAfterS);
      else
        world.clock.at(now + waitMs(retry, count, retryAfterS, random), () => world.send(attempt(count + 1)));
    },
  });
  return attempt(0);
}

function waitMs(
  retry: Exclude<Retry, { kind: 'none' }>,
  count: number,
  retryAfterS: number,
  random: Random,
): number {
  if (retry.kind === 'obedient') return 1000 * Math.max(1, retryAfterS);
  return retry.kind === 'fixed' ? retry.afterMs : retry.afterMs * 2 ** count * (0.5 + random());
}

/** Client ids 1 … `count`, the nth as often as 1/n^`exponent` says. */
export function zipf(count: number, exponent: number, random: Random): () => number {
  const sums: number[] = [];
  let sum = 0;
  for (let id = 1; id <= count; id += 1) {
    sum += id ** -exponent;
    sums.push(sum);
  }
  return () => {
    const point = random() * sum;
    let low = 0;
    let high = count - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((sums[middle] ?? 0) < point) low = middle + 1;
      else high = middle;
    }
    return low + 1;
  };
}
