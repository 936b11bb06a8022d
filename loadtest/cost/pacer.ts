/**
 * The clock of the paced sender, as a thread of its own: it sleeps until each moment and says so. A timer of the event loop
 * is good to a millisecond; this one to some tenth of that, and it takes no processor while it waits.
 */
import { parentPort, workerData } from 'node:worker_threads';

export interface PacerData {
  /** Of the machine's monotonic clock, in ms. */
  readonly startMs: number;
  /** After the start, in order. */
  readonly momentsMs: Float64Array;
}

const { startMs, momentsMs } = workerData as PacerData;
const port = parentPort!;
const never = new Int32Array(new SharedArrayBuffer(4));
const nowMs = (): number => Number(process.hrtime.bigint()) / 1e6;

for (let next = 0; next < momentsMs.length;) {
  const waitMs = startMs + (momentsMs[next] ?? 0) - nowMs();
  if (waitMs > 0) Atomics.wait(never, 0, 0, waitMs);
  const dueMs = nowMs() - startMs;
  let until = next;
  while (until < momentsMs.length && (momentsMs[until] ?? 0) <= dueMs) until += 1;
  if (until > next) port.postMessage([next, until]);
  next = until;
}
