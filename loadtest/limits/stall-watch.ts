/**
 * How long a process's event loop did not come round: a timer of 5 ms, and how much later than the one before it came. On
 * a machine that others use too a process stands still whenever they run, so the processor time of its own first thread is
 * looked at beside the clock: a gap is our own doing only as far as this thread ran in it.
 *
 * One function without anything around it, so that it can also be sent into a running process over the inspector.
 */
export interface Stalls {
  /** The longest gap by the clock, the 5 ms included. */
  readonly longestMs: number;
  /** The most that one gap held of our own running; the kernel counts in up to 4 ms. */
  readonly longestOwnMs: number;
  /** Gaps of more than 20 ms of our own. */
  readonly over: number;
}

/** Starts watching; the function returned ends it and tells. */
export function watchStalls(): () => Stalls {
  const { readFileSync } = process.getBuiltinModule('node:fs');
  const file = `/proc/${process.pid}/task/${process.pid}/schedstat`;
  const ranMs = (): number => Number(readFileSync(file, 'latin1').split(' ')[0]) / 1e6;
  let longestMs = 0;
  let longestOwnMs = 0;
  let over = 0;
  let lastMs = performance.now();
  let lastRanMs = ranMs();
  const timer = setInterval(() => {
    const nowMs = performance.now();
    const nowRanMs = ranMs();
    const gapMs = nowMs - lastMs;
    const ownMs = Math.min(gapMs, nowRanMs - lastRanMs);
    longestMs = Math.max(longestMs, gapMs);
    longestOwnMs = Math.max(longestOwnMs, ownMs);
    if (ownMs > 20) over += 1;
    lastMs = nowMs;
    lastRanMs = nowRanMs;
  }, 5);
  return () => {
    clearInterval(timer);
    return { longestMs, longestOwnMs, over };
  };
}
