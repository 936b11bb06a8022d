/** What admission to each service does and why, as `status` and `top` show it. */
import type { ServiceView } from '../io/admin-port.ts';

const HEADINGS = [
  'SERVICE',
  'MODE',
  'BASELINE',
  'P50',
  'P95',
  'SLOWDOWN',
  'WAITING C/D/S/B',
  'WAIT',
  'REFUSED',
  'LOOP',
  'MEMORY',
  'LIMIT BECAUSE',
];

/** WAITING: by priority, the most important first. Times in ms; REFUSED, LOOP and MEMORY are shares of arrivals. */
export function sheddingRows(services: Readonly<Record<string, ServiceView>>): (string | number)[][] {
  const rows: (string | number)[][] = [HEADINGS];
  for (const [name, { shedding }] of Object.entries(services)) {
    const { modeBy, mode, slow, pressureBy, limitBecause } = shedding;
    rows.push([
      name,
      modeBy === 'operator' ? `${mode} (operator)` : mode,
      known(shedding.baselineMs),
      known(shedding.p50Ms),
      known(shedding.p95Ms),
      known(shedding.slowdown) + (slow ? ' (slow)' : ''),
      Object.values(shedding.queueByPriority).join('/'),
      tenths(shedding.queueWaitMs),
      percent(pressureBy.service),
      percent(pressureBy.loop),
      percent(pressureBy.memory),
      limitBecause,
    ]);
  }
  return rows;
}

function known(value: number): string {
  return value === 0 ? '-' : tenths(value);
}

function tenths(value: number): string {
  return String(Math.round(value * 10) / 10);
}

function percent(share: number): string {
  return `${Math.round(share * 100)}%`;
}
