import type { Balancer } from '../upstreams/balancer.ts';
import type { InstanceView } from '../upstreams/fleet.ts';
import type { InstanceState } from '../upstreams/instance-state.ts';

/**
 * Slots whose instances are not expected to answer what they have, by a new picture that the balancer has not taken yet.
 *
 * Down: it is silent. Ejected: what it was asked failed or came to nothing. One that says no (unready), is drained or
 * disabled is alive and answers what it has; asking again elsewhere would be work done twice. With nobody
 * open there is no elsewhere.
 */
export function lostSlots(balancer: Balancer, views: readonly InstanceView[]): number[] {
  const lost: number[] = [];
  if (!views.some(({ opensNew }) => opensNew)) return lost;
  for (const { id, state } of views) {
    if (!isLost(state)) continue;
    const slot = balancer.slotOf(id);
    if (slot < 0 || balancer.inFlight(slot) === 0 || isLost(balancer.stateOf(slot))) continue;
    lost.push(slot);
  }
  return lost;
}

function isLost(state: InstanceState): boolean {
  return state === 'down' || state === 'ejected';
}
