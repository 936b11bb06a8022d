import { Breaker, type BreakerPolicy, type BreakerResult } from '../../../src/upstreams/breaker.ts';

/** Breakers and what they are sent, in few words. */

export const POLICY: BreakerPolicy = { consecutive: 5, errorRatio: 0.5, minRequests: 20, openMs: 2000 };
const MIDDLE = (): number => 0.5; // no jitter: pauses are exactly 2 s · 2^k

export function breaker(policy: Partial<BreakerPolicy> = {}, random = MIDDLE): Breaker {
  return new Breaker({ ...POLICY, ...policy }, random);
}

/** Sends requests that end at once. @returns how many were let through */
export function send(target: Breaker, result: BreakerResult, count: number, now: number): number {
  let admitted = 0;
  for (let request = 0; request < count; request++) {
    const pass = target.allow(now);
    if (pass === 0) continue;
    admitted++;
    target.record(result, now, pass);
  }
  return admitted;
}

export function opened(now = 0): Breaker {
  const target = breaker();
  send(target, 'hard', 5, now);
  return target;
}

export function stateOf(target: Breaker, now: number): string {
  return target.view(now).state;
}
