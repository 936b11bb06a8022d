/** What survives a collection of young objects, for tests of what is let go. */
import { setImmediate as turn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** How many of these are left after a scavenge. Whoever made them may hold them no longer. */
export async function leftAfterScavenge(made: readonly WeakRef<object>[]): Promise<number> {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as (options: { type: 'minor' }) => void;
  // A weak reference is strong until the turn of the loop ends in which it was made or read.
  await turn();
  collect({ type: 'minor' });
  return made.filter((each) => each.deref() !== undefined).length;
}
