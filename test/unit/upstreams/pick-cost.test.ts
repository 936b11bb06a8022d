/** What a pick leaves behind; how long it takes is told by `npm run loadtest -- pick`, on a machine that does nothing else. */
import { expect, test } from 'vitest';

import { picksOf } from '../../../loadtest/balancing/pick.ts';

test('a pick of a thousand instances, and the news of a request’s end, leave no object behind', async () => {
  const { stretches, refused } = await picksOf(5, 200_000);
  const names = [...new Set(stretches.map(({ what }) => what))];
  expect(names).toEqual(['10', '1000', '1000, a tenth slow or failing', 'breaker']);
  for (const name of names) {
    // What the runtime does in the background falls into some stretch; what a pick does, into every one.
    const least = Math.min(
      ...stretches.filter(({ what }) => what === name).map(({ bytesEach }) => bytesEach),
    );
    expect(least).toBeLessThan(0.2);
  }
  expect(refused).toBe(0);
});
