/**
 * The state of an instance: one pure, total function of four axes, each with one owner.
 *
 * Signal: what an operator ordered (admin), whether it belongs to the service (presence), what its probes say (active) and
 * how its traffic goes (passive). Decision: the first row that matches, ordered by one rule: *whoever takes more away wins*.
 * So a drained instance that dies is `down` and its sessions move; they do not wait for the end of the drain.
 * Why a function: a stored state is a fifth copy of the truth, and can disagree with the other four. Nothing here is
 * remembered; the axes are (`instance-record.ts`).
 */

export type Admin = 'enabled' | 'draining' | 'disabled';
export type Presence = 'present' | 'leaving' | 'gone';
export type Active = 'unknown' | 'pass' | 'warn' | 'failExplicit' | 'failSilent';
export type Passive = 'ok' | 'ejected' | 'trial';

/** From the one that gives least to the one that gives most. */
export const INSTANCE_STATES = [
  'disabled',
  'gone',
  'unready',
  'down',
  'ejected',
  'joining',
  'draining',
  'degraded',
  'warming',
  'ready',
] as const;

export type InstanceState = (typeof INSTANCE_STATES)[number];

/** @param young ready for less than the slow start, and not born grown */
export function deriveState(
  admin: Admin,
  presence: Presence,
  active: Active,
  passive: Passive,
  young: boolean,
): InstanceState {
  if (admin === 'disabled') return 'disabled';
  if (presence === 'gone') return 'gone';
  if (active === 'failExplicit') return 'unready';
  if (active === 'failSilent') return 'down';
  if (passive === 'ejected') return 'ejected';
  if (active === 'unknown') return 'joining';
  if (admin === 'draining' || presence === 'leaving') return 'draining';
  if (active === 'warn') return 'degraded';
  return passive === 'trial' || young ? 'warming' : 'ready';
}

/** True when new sessions may go there. */
export function opensNew(state: InstanceState): boolean {
  return state === 'ready' || state === 'warming' || state === 'degraded';
}

/** True when it stopped serving by a fault, not by an order or a deploy. */
export function isFault(state: InstanceState): boolean {
  return state === 'unready' || state === 'down' || state === 'ejected';
}
