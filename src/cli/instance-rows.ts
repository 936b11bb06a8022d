/** Instances as `status` and `top` show them: a row each, with what is left on those that drain. */
import type { InstanceView, ServiceView } from '../io/admin-port.ts';

export function instanceRows(services: Readonly<Record<string, ServiceView>>): (string | number)[][] {
  const rows: (string | number)[][] = [
    ['SERVICE', 'INSTANCE', 'VERSION', 'STATE', 'IN FLIGHT', 'STREAMS', 'SESSIONS', 'LEFT', 'REASON'],
  ];
  for (const [name, { instances }] of Object.entries(services)) {
    for (const { id, version, state, inFlight, streams, sessions, drainLeftMs, reason } of instances)
      rows.push([name, id, version, state, inFlight, streams, sessions, timeLeft(drainLeftMs), reason]);
  }
  return rows;
}

/** What still runs at an instance, in words: `3 in flight (1 of them a stream), 2 sessions, 41s left at most`. */
export function leftWords({ inFlight, streams, sessionsLeft, drainLeftMs }: InstanceView): string {
  const words = [
    `${inFlight} in flight${streams === 0 ? '' : ` (${streams} of them ${streams === 1 ? 'a stream' : 'streams'})`}`,
    `${sessionsLeft} ${sessionsLeft === 1 ? 'session' : 'sessions'}`,
  ];
  const left = timeLeft(drainLeftMs);
  return left === '' ? words.join(', ') : `${words.join(', ')}, ${left} left at most`;
}

/** Whole seconds, up, so that none left is none left: `41s`, `2m 5s`; '' where nothing drains. */
function timeLeft(drainLeftMs: number | null): string {
  if (drainLeftMs === null) return '';
  const seconds = Math.ceil(drainLeftMs / 1000);
  const minutes = Math.floor(seconds / 60);
  return minutes === 0 ? `${seconds}s` : `${minutes}m ${seconds % 60}s`;
}
