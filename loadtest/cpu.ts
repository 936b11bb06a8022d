/**
 * CPU (user and system) of processes, to the nanosecond where the kernel tells it.
 *
 * `/proc/PID/stat` counts ticks of 10 ms; `task/TID/schedstat` the time on a processor of each thread in nanoseconds. What a
 * thread has used that ended meanwhile is lost there: none of what is measured here ends threads under load. The kernel's
 * own work outside of any process (interrupts of the network, here the loopback's) is in neither, and is the same for all.
 */
import { readdirSync, readFileSync } from 'node:fs';

import { cpuMs, descendants } from '../test/harness/process.ts';

/** Of one process since it started, in µs; 0 when it is gone. */
export function cpuUs(pid: number): number {
  let sumNs = 0;
  try {
    for (const task of readdirSync(`/proc/${pid}/task`)) {
      const [ran = '0'] = readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'latin1').split(' ');
      sumNs += Number(ran);
    }
  } catch {
    // A kernel without schedstat, or a thread that ended between two lines.
    return cpuMs(pid) * 1000;
  }
  return sumNs / 1000;
}

/** Of its first thread alone, which in Node runs all JavaScript. */
function firstThreadUs(pid: number): number {
  try {
    return Number(readFileSync(`/proc/${pid}/schedstat`, 'latin1').split(' ')[0]) / 1000;
  } catch {
    return Number.NaN;
  }
}

/** Where the CPU of a gateway goes: its workers' JavaScript, their other threads, the supervisor. */
export interface GatewayCpu {
  readonly workersUs: number;
  readonly threadsUs: number;
  readonly supervisorUs: number;
}

export function gatewayCpu(supervisor: number, workers: readonly number[]): GatewayCpu {
  const workersUs = workers.reduce((sum, pid) => sum + firstThreadUs(pid), 0);
  const allUs = workers.reduce((sum, pid) => sum + cpuUs(pid), 0);
  return { workersUs, threadsUs: allUs - workersUs, supervisorUs: cpuUs(supervisor) };
}

/** Of a process and everything it started. */
export function familyCpuUs(pid: number): number {
  return [pid, ...descendants(pid)].reduce((sum, each) => sum + cpuUs(each), 0);
}

/** What the kernel counts in, µs. */
const TICK_US = 10_000;

export interface ThreadCpu {
  readonly userUs: number;
  readonly systemUs: number;
}

/** Of the first thread of a process, told apart by where it ran; to 10 ms. */
export function mainThreadCpu(pid: number): ThreadCpu {
  const text = readFileSync(`/proc/${pid}/task/${pid}/stat`, 'latin1');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return { userUs: Number(fields[11]) * TICK_US, systemUs: Number(fields[12]) * TICK_US };
}
