import type { ServiceConfiguration } from '../../config/schema.ts';
import type { AdmissionPolicy, ShedMode } from '../shedding/policy.ts';
import type { Balancer } from '../upstreams/balancer.ts';
import type { Breaker } from '../upstreams/breaker.ts';

/** What of a service's configuration each of its parts goes by. */

/**
 * @param maxInFlight of all open instances: with one instance's cap each reload would halve the limit of several
 * @param evenInFlight what an equal part of their limits comes to
 */
export function admissionPolicy(
  { sla, shedding }: ServiceConfiguration,
  mode: ShedMode,
  workers: number,
  maxInFlight: number,
  evenInFlight: number,
): AdmissionPolicy {
  const { queue, limit } = shedding;
  return {
    slaMs: sla,
    mode,
    queue,
    limit,
    workers,
    maxInFlight,
    evenInFlight,
  };
}

export function balancingPolicy(
  { sla, balancing }: ServiceConfiguration,
  workers: number,
): ConstructorParameters<typeof Balancer>[0] {
  return {
    slaMs: sla,
    slowStartMs: balancing.slowStart,
    maxConcurrencyPerInstance: balancing.maxConcurrencyPerInstance,
    workers,
  };
}

export function breakerPolicy({ breaker }: ServiceConfiguration): ConstructorParameters<typeof Breaker>[0] {
  return {
    consecutive: breaker.consecutive,
    errorRatio: breaker.ratio,
    minRequests: breaker.minRequests,
    openMs: breaker.open,
    slowRatio: breaker.slow ?? undefined,
  };
}
