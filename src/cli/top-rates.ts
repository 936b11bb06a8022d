/** Rates per second for `top`, from two looks at `/metrics`. */

/** Counters of one service. */
interface ServiceTotals {
  requests: number;
  inTime: number;
  shed: number;
}

export interface Totals {
  readonly atMs: number;
  readonly services: ReadonlyMap<string, ServiceTotals>;
}

/** Per second. */
export type Rates = ReadonlyMap<string, Readonly<ServiceTotals>>;

const FAMILIES = {
  spillway_requests_total: 'requests',
  spillway_goodput_total: 'inTime',
  spillway_shed_total: 'shed',
} as const satisfies Record<string, keyof ServiceTotals>;
const SERVICE = /[{,]service="((?:[^"\\]|\\.)*)"/;

/** @param page Prometheus text of our own gateway. */
export function readTotals(page: string, atMs: number): Totals {
  const services = new Map<string, ServiceTotals>();
  for (const line of page.split('\n')) {
    const family = line.slice(0, line.indexOf('{'));
    if (!Object.hasOwn(FAMILIES, family)) continue;
    const service = SERVICE.exec(line)?.[1];
    const value = Number(line.slice(line.lastIndexOf(' ') + 1));
    if (service === undefined || !Number.isFinite(value)) continue;
    const totals = services.get(service) ?? { requests: 0, inTime: 0, shed: 0 };
    totals[FAMILIES[family as keyof typeof FAMILIES]] += value;
    services.set(service, totals);
  }
  return { atMs, services };
}

/** A counter that fell has started again: what it shows is what has happened since. */
export function ratesBetween(before: Totals, after: Totals): Rates {
  const seconds = Math.max(0.001, (after.atMs - before.atMs) / 1000);
  const rates = new Map<string, ServiceTotals>();
  for (const [service, now] of after.services) {
    const then = before.services.get(service) ?? { requests: 0, inTime: 0, shed: 0 };
    const rate = (key: keyof ServiceTotals): number =>
      (now[key] - (now[key] < then[key] ? 0 : then[key])) / seconds;
    rates.set(service, { requests: rate('requests'), inTime: rate('inTime'), shed: rate('shed') });
  }
  return rates;
}
