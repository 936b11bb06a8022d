/** What `top` shows: the line in words, a row a service, what its admission does and why, a row an instance. */
import type { ServiceView, StatusView } from '../io/admin-port.ts';
import { instanceRows } from './instance-rows.ts';
import { sheddingRows } from './shedding-rows.ts';
import { plain, table } from './table.ts';
import type { Rates } from './top-rates.ts';

export interface TopPicture {
  readonly status: StatusView;
  readonly services: Readonly<Record<string, ServiceView>>;
  /** Undefined at the first look. */
  readonly rates: Rates | undefined;
}

export function drawTop({ status, services, rates }: TopPicture): string[] {
  const ready = status.workers.filter(({ state }) => state === 'ready').length;
  const head = `Spillway ${status.version} on ${status.host}: ${ready} of ${status.workers.length} workers, up ${status.uptimeSeconds} s, redis ${status.redis.state}`;
  return [
    plain(head),
    plain(status.summary),
    '',
    ...table(serviceRows(services, rates)),
    '',
    ...table(sheddingRows(services)),
    '',
    ...table(instanceRows(services)),
  ];
}

type Rows = (string | number)[][];

function serviceRows(services: TopPicture['services'], rates: TopPicture['rates']): Rows {
  const rows: Rows = [
    ['SERVICE', 'STATE', 'REQ/S', 'IN TIME/S', 'SHED/S', 'IN FLIGHT', 'LIMIT', 'QUEUE', 'BREAKER'],
  ];
  for (const [name, { state, shedding, breaker }] of Object.entries(services)) {
    const rate = rates?.get(name);
    rows.push([
      name,
      state,
      perSecond(rates, rate?.requests),
      perSecond(rates, rate?.inTime),
      perSecond(rates, rate?.shed),
      shedding.inFlight,
      shedding.limit,
      shedding.queueDepth,
      breaker.state,
    ]);
  }
  return rows;
}

function perSecond(rates: TopPicture['rates'], value = 0): string | number {
  return rates === undefined ? '-' : Math.round(value);
}
