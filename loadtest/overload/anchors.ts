/**
 * The anchors: the one origin and the one SLA that every overload case is told in, unless it says otherwise. 20 slots of
 * 50 ms (lognormal, σ 0.5) do C = 400 requests a second; the origin's own p99 is 141 ms. Gateway and peers get the same
 * origin, the same arrivals and one process each; the gateway is told the SLA and nothing else.
 */
import type { LoadClass, Phase } from '../../test/harness/open-loop.ts';

export const SLOTS = 20;
export const MEAN_MS = 50;
/** Requests a second: C. */
export const CAPACITY = (SLOTS / MEAN_MS) * 1000;
export const SLA_MS = 250;
/** Callers give up after so long; eight times the SLA, since a peer without a limit must show how late it is. */
export const TIMEOUT_MS = 2000;

export const CRITICAL = 0;

/** Who a class is to the gateway (its key) and to peers that know priorities (the same header). */
export const KEYS = { critical: 'top', default: 'mid', sheddable: 'low' } as const;

/** Three clients, one of each tier, by their shares of the run's phases. */
export function mixed(shares: {
  readonly critical: number;
  readonly default: number;
  readonly sheddable: number;
}): LoadClass[] {
  return [
    { name: 'critical', share: shares.critical, headers: { 'x-api-key': KEYS.critical } },
    { name: 'default', share: shares.default, headers: { 'x-api-key': KEYS.default } },
    { name: 'sheddable', share: shares.sheddable, headers: { 'x-api-key': KEYS.sheddable } },
  ];
}

/** A load in which critical traffic keeps its own rate, whatever the others do. Rates are multiples of C. */
export function load(
  steps: readonly { readonly seconds: number; readonly times: number; readonly critical: number }[],
): { readonly classes: readonly LoadClass[]; readonly phases: readonly Phase[] } {
  const [critical, ...others] = mixed({ critical: 0, default: 0.4, sheddable: 0.6 });
  const rated = (timesOf: (step: (typeof steps)[number]) => number): Phase[] =>
    steps.map((step) => ({ seconds: step.seconds, ratePerSecond: timesOf(step) * CAPACITY }));
  const own = rated((step) => step.critical);
  return {
    classes: critical === undefined ? others : [{ ...critical, phases: own }, ...others],
    phases: rated((step) => step.times - step.critical),
  };
}

/** The gateway's configuration in front of one origin. `more` overrides what stands in the sections named. */
export function gatewayYaml(
  originUrl: string,
  more: {
    readonly workers?: number;
    readonly slaMs?: number;
    readonly mode?: 'enforce' | 'observe' | 'off';
    /** Answers say how long they waited, by which refusals that did not wait are known. */
    readonly serverTiming?: boolean;
  } = {},
): string {
  const { workers = 1, slaMs = SLA_MS, mode = 'enforce', serverTiming = true } = more;
  return `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
admin: { host: 127.0.0.1, port: __ADMIN__ }
shutdown: { delay: 0s, timeout: 5s }
workers: ${workers}
log: { serverTiming: ${serverTiming} }
clients:
  keys:
    - { key: ${KEYS.critical}, client: critical, tier: critical }
    - { key: ${KEYS.default}, client: default, tier: default }
    - { key: ${KEYS.sheddable}, client: sheddable, tier: low }
tiers: { default: { priority: default }, critical: { priority: critical }, low: { priority: sheddable } }
shedding: { mode: ${mode} }
services:
  shop:
    instances: [${originUrl}]
    sla: ${slaMs}ms
    readiness: { path: /ready }
routes: [{ path: /, service: shop }]
`;
}
