import { instanceOrigin, type Found } from './source.ts';

/**
 * Instances out of the records of a name.
 *
 * A and AAAA give addresses, the port comes from the configuration; SRV gives hosts with ports and weights, and of several
 * priorities only the best is used (RFC 2782), since the others are for when nobody of these is there. A weight of 0 means "a
 * very small chance": beside others a tenth of the smallest, alone as much as any other.
 */

/** One SRV record with the addresses of its target. */
export interface Service {
  readonly addresses: readonly string[];
  readonly port: number;
  readonly priority: number;
  readonly weight: number;
}

export function instancesOfAddresses(addresses: readonly string[], scheme: string, port: number): Found[] {
  return addresses.flatMap((address) => instanceAt(scheme, address, port, 1));
}

export function instancesOfServices(services: readonly Service[], scheme: string): Found[] {
  const there = services.filter(({ addresses }) => addresses.length > 0);
  const best = Math.min(...there.map(({ priority }) => priority));
  const used = there.filter(({ priority }) => priority === best);
  const weights = used.map(({ weight }) => weight).filter((weight) => weight > 0);
  const least = weights.length === 0 ? 1 : Math.min(...weights) / 10;
  return used.flatMap(({ addresses, port, weight }) =>
    addresses.flatMap((address) => instanceAt(scheme, address, port, weight > 0 ? weight : least)),
  );
}

function instanceAt(scheme: string, address: string, port: number, weight: number): Found[] {
  const url = instanceOrigin(scheme, address, port);
  if (url === undefined) return [];
  return [{ uid: '', url, version: '', weight, leaving: false, readyHint: 'unknown' }];
}
