import { SLOW } from '../../limits/fitness.ts';

/**
 * The answer to an operator's call, or a rejection when the deadline has passed. Such calls are few and have a promise of
 * their own; requests go by `turn-batches.ts`. As there, the socket is read once more before a deadline counts.
 */
export async function beforeDeadline<T>(answer: Promise<T>, timeoutMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      setImmediate(reject, new Error(SLOW));
    }, timeoutMs);
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}
