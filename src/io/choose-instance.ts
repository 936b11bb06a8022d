import type { ErrorCode } from '../kernel/errors.ts';
import { ALL_AT_CAP, type PickReason } from '../upstreams/balancer.ts';
import type { Exchange } from './exchange.ts';
import { asksForStream } from './leaving-streams.ts';

/**
 * Picks the instance of the next attempt and counts the request there.
 *
 * The first attempt follows the session's pin where the instance may still serve it; later ones avoid every instance
 * that was tried. Whoever has no session gets one with the answer, if the service keeps sessions at all. Where shedding
 * only observes, or is off, the instances' caps refuse nobody either.
 *
 * What became of the session is noted, as the one result by which the request is counted: `hit`, its instance was asked;
 * `spill`, another one answers this once, since its own is full or failed, and the pin stays; `repin_drained`, it moves from
 * an instance that was taken away (drained, disabled, off the list); `repin_down`, from one that serves nobody (down, unready,
 * ejected); `new`, `invalid` and `expired`, a session begins, without a cookie or with one that is none (any more); `none`,
 * nobody asked for one and the answer may not carry one; `fallback`, the caller is told apart by a key of its own and needs
 * none. A session moves by a `repin` alone. With `affinity.mode: hard` it moves only from an instance that was taken away:
 * elsewhere stands `refused`, and a 503, for both a `spill` and a `repin_down`.
 */

/** @returns the code to refuse with, or '' when `exchange.slot` is set. */
export function chooseInstance(exchange: Exchange): ErrorCode | '' {
  const { route, worker } = exchange;
  if (route === undefined) return 'SPW_INTERNAL';
  const { service } = route;
  const now = worker.now();
  const first = exchange.attempts === 0;
  const { tried } = exchange;
  const pinned = first ? homeSlot(exchange) : heldSlot(exchange);
  if (isHeld(exchange) && (pinned < 0 || tried.includes(pinned))) return refuseSession(exchange, first);
  const makesPin = first && service.sessions.cookies !== undefined && pinned < 0;
  let slot = service.balancer.pick({ pinned, tried, makesPin }, now);
  if (slot === ALL_AT_CAP && service.mode !== 'enforce') {
    if (first && service.mode === 'observe') exchange.wouldShed('SPW_SHED_CONCURRENCY');
    slot = service.balancer.pick({ pinned, tried, makesPin, uncapped: true }, now);
  }
  if (slot !== pinned && isHeld(exchange)) {
    if (service.mode === 'enforce') return refuseSession(exchange, first, 'SPW_SHED_CONCURRENCY');
    slot = pinned;
  }
  if (slot < 0) return slot === ALL_AT_CAP ? 'SPW_SHED_CONCURRENCY' : 'SPW_NO_READY_INSTANCE';
  exchange.pickReason = first ? pickReasonOf(exchange, service.balancer.lastReason) : 'retry';
  take(exchange, slot, now);
  return '';
}

/** It has a session that may not be served elsewhere, unless its instance was taken away. */
function isHeld({ route, pin, affinityResult }: Exchange): boolean {
  return route?.service.sessions.hard === true && pin !== undefined && affinityResult !== 'repin_drained';
}

function heldSlot(exchange: Exchange): number {
  const { route, pin } = exchange;
  return pin === undefined || !isHeld(exchange)
    ? -1
    : (route?.service.sessions.slotOfTag(pin.instance) ?? -1);
}

/** A retry that may not go elsewhere leaves the first answer as it was. */
function refuseSession(
  exchange: Exchange,
  first: boolean,
  code: ErrorCode = 'SPW_NO_READY_INSTANCE',
): ErrorCode {
  if (first) exchange.affinityResult = 'refused';
  return code;
}

function pickReasonOf(exchange: Exchange, reason: PickReason): PickReason {
  if (reason === 'spill') exchange.affinityResult = 'spill';
  return reason === 'p2c' && moves(exchange.affinityResult) ? 'repin' : reason;
}

function moves(result: string): boolean {
  return result === 'repin_drained' || result === 'repin_down';
}

function take(exchange: Exchange, slot: number, now: number): void {
  const service = exchange.route?.service;
  if (service === undefined) return;
  exchange.slot = slot;
  exchange.instance = service.balancer.idOf(slot);
  exchange.version = service.balancer.versionOf(slot);
  service.balancer.started(slot, now);
  exchange.heard = false;
}

/** Gives an attempt's place at its instance back. */
export function leaveInstance(exchange: Exchange, now: number): void {
  if (exchange.slot < 0) return;
  exchange.route?.service.balancer.finished(exchange.slot, now, exchange.heard);
  exchange.slot = -1;
}

/** The instance that the caller belongs to and that serves it now; -1 when there is none. */
function homeSlot(exchange: Exchange): number {
  const service = exchange.route?.service;
  const cookies = service?.sessions.cookies;
  if (service === undefined || cookies === undefined) return -1;
  const { result, pin } = exchange.connection.session.read(
    cookies,
    exchange.facts.cookie,
    exchange.worker.wallMs(),
  );
  exchange.affinityResult = result;
  const { sessions } = service;
  if (pin === undefined) {
    const own = result === 'none' ? sessions.slotOfCaller(exchange.facts) : -1;
    if (own >= 0) exchange.affinityResult = 'fallback';
    return own;
  }
  exchange.pin = pin;
  const slot = sessions.slotOfTag(pin.instance);
  const now = exchange.worker.now();
  if (slot >= 0 && sessions.keepsPinned(slot, pin, now)) {
    if (!sessions.endsStreams(slot, pin, now) || !asksForStream(exchange)) return slot;
  }
  // One that is not known any more was off the list for minutes.
  const state = slot < 0 ? 'gone' : service.balancer.stateOf(slot);
  const wasTaken = state === 'draining' || state === 'disabled' || state === 'gone';
  exchange.affinityResult = wasTaken ? 'repin_drained' : 'repin_down';
  return -1;
}
