import type { ErrorCode } from '../kernel/errors.ts';
import { ALL_AT_CAP } from '../upstreams/balancer.ts';
import type { Exchange } from './exchange.ts';

/**
 * Picks the instance of the next attempt and counts the request there.
 *
 * The first attempt follows the session's pin where the instance may still serve it; later ones avoid every instance
 * that was tried. Whoever has no session gets one with the answer, if the service keeps sessions at all. Where shedding
 * only observes, or is off, the instances' caps refuse nobody either.
 */

/** @returns the code to refuse with, or '' when `exchange.slot` is set. */
export function chooseInstance(exchange: Exchange): ErrorCode | '' {
  const { route, worker } = exchange;
  if (route === undefined) return 'SPW_INTERNAL';
  const { service } = route;
  const now = worker.now();
  const first = exchange.attempts === 0;
  const pinned = first ? pinnedSlot(exchange) : -1;
  const makesPin = first && service.sessions.cookies !== undefined && pinned < 0;
  const { tried } = exchange;
  let slot = service.balancer.pick({ pinned, tried, makesPin }, now);
  if (slot === ALL_AT_CAP && service.mode !== 'enforce') {
    if (first && service.mode === 'observe') exchange.wouldShed('SPW_SHED_CONCURRENCY');
    slot = service.balancer.pick({ pinned, tried, makesPin, uncapped: true }, now);
  }
  if (slot < 0) return slot === ALL_AT_CAP ? 'SPW_SHED_CONCURRENCY' : 'SPW_NO_READY_INSTANCE';
  exchange.pickReason = first ? service.balancer.lastReason : 'retry';
  take(exchange, slot, now);
  return '';
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

function pinnedSlot(exchange: Exchange): number {
  const service = exchange.route?.service;
  const cookies = service?.sessions.cookies;
  if (service === undefined || cookies === undefined) return -1;
  const { result, pin } = exchange.connection.session.read(
    cookies,
    exchange.facts.cookie,
    exchange.worker.wallMs(),
  );
  exchange.affinityResult = result;
  if (pin === undefined) return -1;
  exchange.pin = pin;
  const slot = service.sessions.slotOfTag(pin.instance);
  if (slot < 0) {
    exchange.affinityResult = 'repin_down';
    return -1;
  }
  if (!service.sessions.keepsPinned(slot, pin, exchange.worker.now())) {
    exchange.affinityResult = service.balancer.stateOf(slot) === 'draining' ? 'repin_drained' : 'repin_down';
    return -1;
  }
  return slot;
}
