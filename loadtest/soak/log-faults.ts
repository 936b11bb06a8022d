/**
 * Faults that the gateway's processes wrote to their log, with those left out that the soak itself has caused. Lines of the
 * access log are no faults: what callers were answered they tell themselves.
 */

export interface LoggedFault {
  readonly message: string;
  readonly count: number;
}

/** pino's number for `error`. */
const ERROR = 50;
/** A stack of some lines. */
const MESSAGE_MOST = 1000;
/** The killed worker. */
const INJECTED = /^worker died; starting another$/;

export function loggedFaults(log: string): readonly LoggedFault[] {
  const counts = new Map<string, number>();
  for (const line of log.split('\n')) {
    if (!/"level":[56]0/.test(line)) continue;
    let entry: { level?: number; msg?: string; requestId?: string };
    try {
      entry = JSON.parse(line) as typeof entry;
    } catch {
      continue;
    }
    if ((entry.level ?? 0) < ERROR || entry.requestId !== undefined || INJECTED.test(entry.msg ?? ''))
      continue;
    // Without what differs from line to line.
    const message = JSON.stringify({ ...entry, time: undefined, pid: undefined }).slice(0, MESSAGE_MOST);
    counts.set(message, (counts.get(message) ?? 0) + 1);
  }
  return [...counts].map(([message, count]) => ({ message, count })).toSorted((a, b) => b.count - a.count);
}
