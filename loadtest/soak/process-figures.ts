/**
 * What the kernel knows of a process: its open descriptors by kind, its TCP sockets by state, its memory. Reads /proc, so it works on
 * Linux only, and from outside: the process is not asked.
 */
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';

import { residentBytes } from '../../test/harness/process.ts';

export interface ProcessFigures {
  readonly residentBytes: number;
  readonly descriptors: number;
  /** Descriptors by kind: `file`, `pipe`, `eventpoll`, `tcp established`, `unix`, … */
  readonly byKind: Readonly<Record<string, number>>;
}

/** include/net/tcp_states.h */
const TCP_STATES = [
  '',
  'established',
  'syn-sent',
  'syn-recv',
  'fin-wait-1',
  'fin-wait-2',
  'time-wait',
  'close',
  'close-wait',
  'last-ack',
  'listen',
  'closing',
];

/** The state of every TCP socket of this network namespace, by its inode. */
export function tcpStates(): ReadonlyMap<string, string> {
  const states = new Map<string, string>();
  for (const table of ['tcp', 'tcp6']) {
    let text = '';
    try {
      text = readFileSync(`/proc/net/${table}`, 'latin1');
    } catch {
      // A kernel without it.
    }
    for (const line of text.split('\n').slice(1)) {
      const fields = line.trim().split(/\s+/);
      const inode = fields[9];
      if (inode !== undefined && inode !== '0')
        states.set(inode, TCP_STATES[Number.parseInt(fields[3] ?? '0', 16)] ?? 'unknown');
    }
  }
  return states;
}

/** What a descriptor's link says: `socket:[123]`, `pipe:[9]`, `anon_inode:[eventpoll]`, `/dev/null`. */
export function kindOf(link: string, states: ReadonlyMap<string, string>): string {
  const socket = /^socket:\[(\d+)\]$/.exec(link)?.[1];
  if (socket !== undefined) {
    const state = states.get(socket);
    return state === undefined ? 'other socket' : `tcp ${state}`;
  }
  const anonymous = /^anon_inode:\[?([a-z_]+)\]?$/.exec(link)?.[1];
  if (anonymous !== undefined) return anonymous;
  return link.startsWith('pipe:') ? 'pipe' : 'file';
}

/** All figures of a process now; no descriptors when it is gone. */
export function processFigures(pid: number, states: ReadonlyMap<string, string>): ProcessFigures {
  const byKind: Record<string, number> = {};
  let descriptors = 0;
  let names: readonly string[] = [];
  try {
    names = readdirSync(`/proc/${pid}/fd`);
  } catch {
    // Gone.
  }
  for (const name of names) {
    try {
      const kind = kindOf(readlinkSync(`/proc/${pid}/fd/${name}`), states);
      byKind[kind] = (byKind[kind] ?? 0) + 1;
      descriptors += 1;
    } catch {
      // Closed meanwhile.
    }
  }
  return { residentBytes: residentBytes(pid), descriptors, byKind };
}

/** Of several looks the fewest of each kind: what is always there, not what came and went (a probe's connection). */
export function fewest(looks: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const kinds = new Set(looks.flatMap((look) => Object.keys(look)));
  const least: Record<string, number> = {};
  for (const kind of kinds) {
    const count = Math.min(...looks.map((look) => look[kind] ?? 0));
    if (count > 0) least[kind] = count;
  }
  return least;
}
