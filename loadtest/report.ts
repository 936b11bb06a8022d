/** The report as text: what was measured on which machine, line by line, then the verdicts. */
import { createRequire } from 'node:module';
import { cpus, release, totalmem, type } from 'node:os';

import { versionOf } from './peers.ts';
import type { Measurement } from './scenarios.ts';
import type { Verdict } from './thresholds.ts';

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly system: string;
  readonly versions: Readonly<Record<string, string>>;
}

const PROGRAMS = ['nginx', 'haproxy', 'caddy', 'wrk'];
const PACKAGES = ['fastify', '@fastify/http-proxy', 'undici', 'autocannon'];

/** This machine, and the versions of what is compared. */
export function describeMachine(): Machine {
  const require = createRequire(import.meta.url);
  const versions: Record<string, string> = { node: process.versions.node };
  for (const name of PACKAGES) {
    // Some packages export no package.json; the folder above their entry has it.
    const entry = require.resolve(name);
    const folder = entry.slice(
      0,
      entry.lastIndexOf(`node_modules/${name}/`) + `node_modules/${name}/`.length,
    );
    versions[name] = (require(`${folder}package.json`) as { version: string }).version;
  }
  for (const program of PROGRAMS) {
    const version = versionOf(program);
    if (version !== undefined) versions[program] = version;
  }
  const all = cpus();
  return {
    cpu: all[0]?.model.trim() ?? 'unknown',
    cores: all.length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${type()} ${release()}`,
    versions,
  };
}

function counts(record: Readonly<Record<string, number>>): string {
  const parts = Object.entries(record)
    .filter(([, count]) => count > 0)
    .toSorted((a, b) => b[1] - a[1])
    .map(([name, count]) => `${name.replace('SPW_', '')} ${Math.round(count)}`);
  return parts.length === 0 ? '–' : parts.join(', ');
}

/** Columns padded to their widest cell; the last one is left as it is. */
export function aligned(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [index, cell] of row.entries()) widths[index] = Math.max(widths[index] ?? 0, cell.length);
  }
  return rows
    .map((row) =>
      row
        .map((cell, index) => {
          if (index === row.length - 1) return cell;
          return index < 2 ? cell.padEnd(widths[index] ?? 0) : cell.padStart(widths[index] ?? 0);
        })
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

const HEAD = [
  'scenario',
  'target',
  'offered/s',
  'goodput/s',
  'p50 ms',
  'p99 ms',
  'failed',
  'CPU µs',
  'MiB',
  'refused',
];

/** One line a measurement. */
export function table(measurements: readonly Measurement[]): string {
  const rows = measurements.map((each) => [
    each.scenario,
    each.target,
    each.offeredPerSecond.toFixed(0),
    each.goodputPerSecond.toFixed(0),
    each.p50Ms.toFixed(1),
    each.p99Ms.toFixed(1),
    each.failed.toFixed(0),
    each.cpuUsPerAnswer.toFixed(0),
    (each.residentBytes / 2 ** 20).toFixed(0),
    counts(each.refusals),
  ]);
  return aligned([HEAD, ...rows]);
}

/** One line a threshold. */
export function verdictLines(verdicts: readonly Verdict[]): string {
  return aligned(
    verdicts.map((each) => [
      each.kept ? 'kept' : 'MISSED',
      each.scenario,
      each.value.toFixed(each.value < 10 ? 4 : 1),
      each.wanted,
      each.what,
    ]),
  );
}

export function machineLines(machine: Machine): string {
  const versions = Object.entries(machine.versions).map(([name, version]) => `${name} ${version}`);
  return `${machine.cores} × ${machine.cpu}, ${machine.memoryGiB} GiB, ${machine.system}\n${versions.join(', ')}`;
}
