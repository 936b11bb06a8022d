/** What a service's configuration asks of admission, and what that means for one worker among others. */

export type ShedMode = 'enforce' | 'observe' | 'off';

export interface AdmissionPolicy {
  readonly slaMs: number;
  readonly mode: ShedMode;
  /** Places over all workers, or found from latency; 0: nobody waits. */
  readonly queue: 'auto' | number;
  /** Requests in flight over all workers, or found from latency. */
  readonly limit: 'auto' | number;
  /** Workers that share the service, 1 or more. */
  readonly workers: number;
  /** The most this worker may have in flight: the sum of its shares of the instances' caps; 0: no instance is ready. */
  readonly maxInFlight: number;
  /** What that is with equal shares; the rest is borrowed from the other workers, or lent to them. */
  readonly evenInFlight: number;
}

export interface GovernorSettings {
  readonly slaMs: number;
  /** Workers that share the service. */
  readonly workers: number;
  /** This worker's fixed limit, or 0: found from latency. */
  readonly fixedLimit: number;
  /** The most that equal shares of the instances' caps let it have in flight; 0: no instance is ready, nothing to go by. */
  readonly ceiling: number;
  /** So much more, for the time being; it comes and goes without a new beginning. */
  readonly borrowed: number;
  /** Nobody is refused (observe, off): cuts have no effect, so whatever asks "did it help?" rests. */
  readonly observing: boolean;
}

/** This worker's share of the policy. */
export function governorSettings(policy: AdmissionPolicy): GovernorSettings {
  const { slaMs, workers, limit, maxInFlight, evenInFlight, mode } = policy;
  return {
    slaMs,
    workers,
    fixedLimit: limit === 'auto' ? 0 : Math.max(1, Math.floor(limit / workers)),
    ceiling: evenInFlight,
    borrowed: Math.max(0, maxInFlight - evenInFlight),
    observing: mode !== 'enforce',
  };
}

/** This worker's places; −1: auto. Whoever asks for a queue has at least one place in each worker. */
export function queueShare(policy: AdmissionPolicy): number {
  if (policy.queue === 'auto') return -1;
  return policy.queue === 0 ? 0 : Math.max(1, Math.floor(policy.queue / policy.workers));
}
