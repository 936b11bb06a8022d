import type { ServiceConfiguration } from '../../config/schema.ts';
import type { FleetPolicy } from '../upstreams/fleet.ts';
import type { ProbeTarget } from './prober.ts';

/** What of a service's configuration its fleet and its probes go by. */

/**
 * How much longer than its sessions an instance of a version serves the parts of the pages that they were given last. Half:
 * a page on a slow line lacks some; double: an instance that could have ended serves for nobody.
 */
const PARTS_MS = 10_000;

/** How a service's instances are judged. */
export function fleetPolicy(service: string, configuration: ServiceConfiguration): FleetPolicy {
  const { readiness, outlier, drain, versions } = configuration;
  const servesPages = versions?.affinity === true;
  return {
    service,
    instances: configuration.discovery === null ? configuration.instances : undefined,
    slowStartMs: configuration.balancing.slowStart,
    sessionTimeoutMs: drain.sessionTimeout + (servesPages ? PARTS_MS : 0),
    servesPages,
    readiness: {
      intervalMs: readiness.interval,
      timeoutMs: readiness.timeout,
      rise: readiness.rise,
      fall: readiness.fall,
    },
    servesBlamed: configuration.onDependencyDown === 'serve',
    outlier: {
      consecutiveFailures: outlier.consecutiveFailures,
      errorRatio: outlier.ratio,
      minRequests: outlier.minRequests,
      windowMs: outlier.window,
      baseEjectionMs: outlier.baseEjection,
      maxEjectedRatio: outlier.maxEjected,
    },
  };
}

/** How these instances of a service are asked. */
export function probeTargets(
  service: string,
  configuration: ServiceConfiguration,
  instances: readonly { readonly id: string; readonly url: string }[],
): ProbeTarget[] {
  const { path, interval, timeout, identity } = configuration.readiness;
  const checks = configuration.dependsOn.filter((dependency) => 'check' in dependency);
  const expectation = {
    requiredChecks: checks.filter(({ mode }) => mode === 'required').map(({ check }) => check),
    optionalChecks: checks.filter(({ mode }) => mode === 'optional').map(({ check }) => check),
    identity: identity ?? undefined,
  };
  return instances.map(({ id, url }) => ({
    service,
    id,
    url,
    path,
    intervalMs: interval,
    timeoutMs: timeout,
    tls: configuration.tls ?? undefined,
    protocol: configuration.protocol,
    expectation,
  }));
}
