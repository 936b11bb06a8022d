import type { BreakerReason, BreakerView } from '../upstreams/breaker.ts';
import type { InstanceView } from '../upstreams/fleet.ts';

/** Why a service takes nothing, in words, for `explain`; a caller is told no more than the code's own sentence. */

/** `no instance takes new requests: 2 down, 1 draining`; empty when one does. */
export function whyNoneIsOpen(instances: readonly Pick<InstanceView, 'state' | 'opensNew'>[]): string {
  if (instances.some(({ opensNew }) => opensNew)) return '';
  const listed = instances.filter(({ state }) => state !== 'gone');
  if (listed.length === 0) return 'the service has no instances';
  const counts = new Map<string, number>();
  for (const { state } of listed) counts.set(state, (counts.get(state) ?? 0) + 1);
  const states = [...counts].map(([state, count]) => `${count} ${state}`).join(', ');
  return `no instance takes new requests: ${states}`;
}

const CAUSES: Readonly<Record<BreakerReason, string>> = {
  consecutive: 'failures in a row',
  ratio: 'too large a share of failures',
  slow: 'too large a share of slow answers',
  trial: 'a trial that failed',
};

/** What a breaker that refuses is waiting for. */
export function breakerWords(view: BreakerView): string {
  switch (view.state) {
    case 'open':
      return `the breaker is open for ${seconds(view.leftMs)} more, after ${CAUSES[view.reason]}, opened ${view.trips} times`;
    case 'half-open':
      return 'the breaker is half-open: one trial decides';
    case 'ramping':
      return `the breaker lets more through by the second, ${seconds(view.ageMs)} after it closed`;
    case 'forced-open':
    case 'forced-closed':
      return `the breaker is ${view.state} by ${view.by}`;
    case 'closed':
      return 'the breaker is closed';
    default:
      return view satisfies never;
  }
}

function seconds(ms: number): string {
  return `${(Math.max(0, ms) / 1000).toFixed(1)} s`;
}
