import type { ErrorCode } from '../kernel/errors.ts';
import { ALL_AT_CAP, NONE_READY, type PickReason, type PickRequest } from '../upstreams/pick.ts';
import { ANY_VERSION } from '../upstreams/candidates.ts';
import { tryLimitMs } from '../upstreams/panic-tries.ts';
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
 * nobody asked for one and the answer may not carry one; `version`, the request asks for another version than its session
 * has, and is answered there this once; `fallback`, the caller is told apart by a key of its own and needs
 * none. A session moves by a `repin` alone. With `affinity.mode: hard` it moves only from an instance that was taken away:
 * elsewhere stands `refused`, and a 503, for both a `spill` and a `repin_down`.
 */

/**
 * @param mayWiden to other versions, where the request wants one of which nobody is left
 * @returns the code to refuse with, or '' when `exchange.slot` is set.
 */
export function chooseInstance(exchange: Exchange, mayWiden = true): ErrorCode | '' {
  const { route, worker } = exchange;
  if (route === undefined) return 'SPW_INTERNAL';
  const { service } = route;
  const now = worker.now();
  const first = exchange.attempts === 0;
  const { tried } = exchange;
  const pinned = first ? firstSlot(exchange) : heldSlot(exchange);
  if (isHeld(exchange) && (pinned < 0 || tried.includes(pinned))) return refuseSession(exchange, first);
  if (service.tries.active && first && pinned < 0 && triesSilent(exchange, now)) return '';
  const makesPin = first && pinned < 0 && mayPin(exchange);
  // A caller whose place was given up for a try at a silent instance is not refused for it.
  const uncapped = exchange.panicTry === 'failed';
  const streams = asksForStream(exchange);
  const request = { pinned, tried, makesPin, uncapped, streams, version: ANY_VERSION };
  let slot = pick(exchange, request, mayWiden, now);
  if (slot === ALL_AT_CAP && service.mode !== 'enforce') {
    if (first && service.mode === 'observe') exchange.wouldShed('SPW_SHED_CONCURRENCY');
    request.uncapped = true;
    slot = pick(exchange, request, mayWiden, now);
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

/** Among the instances of the version that was chosen; where none of those is left, of others. */
function pick(
  exchange: Exchange,
  request: PickRequest & { version: number },
  mayWiden: boolean,
  now: number,
): number {
  const { route, versionChoice } = exchange;
  if (route === undefined) return NONE_READY;
  const { balancer, versions } = route.service;
  for (;;) {
    request.version = versionChoice?.wanted ?? ANY_VERSION;
    const slot = balancer.pick(request, now);
    if (slot !== NONE_READY && !overflows(exchange, slot)) return slot;
    if (versions === undefined || (!mayWiden && versions.isBound(exchange))) return slot;
    if (!versions.widen(exchange)) return slot;
  }
}

/**
 * Few instances are open, and this is one of the requests that find out whether a silent one answers after all. Only what
 * may be repeated elsewhere with time left, and what no session is to come of: its instance would serve no other request.
 * @returns whether it was sent there
 */
function triesSilent(exchange: Exchange, now: number): boolean {
  const { route, req, facts, pin } = exchange;
  if (route === undefined || pin !== undefined || facts.hasBody || asksForStream(exchange)) return false;
  if (req.method !== 'GET' && req.method !== 'HEAD' && req.method !== 'OPTIONS') return false;
  const { service } = route;
  // The parts of a page go to the version that it is of, which may have nobody else.
  if (service.versions !== undefined && facts.navigation) return false;
  const { sla, retry } = service.configuration;
  const slaLeftMs = exchange.startedMs + sla - now;
  const leftMs = exchange.deadlineMs - now;
  if (retry.max === 0 || Math.min(slaLeftMs, leftMs) < sla / 2) return false;
  const slot = service.tries.ask(exchange.versionChoice?.wanted ?? ANY_VERSION, now);
  if (slot < 0) return false;
  take(exchange, slot, now);
  exchange.panicTry = 'running';
  exchange.pickReason = 'panic';
  const { p50Ms } = service.admission.view(now);
  service.tries.begun(tryLimitMs(slaLeftMs, p50Ms, retry.perTry ?? Infinity, leftMs), now);
  return true;
}

/** A canary that is full is for nobody new; the others take them, and never the other way round. */
function overflows({ versionChoice }: Exchange, slot: number): boolean {
  return slot === ALL_AT_CAP && versionChoice?.kind === 'canary' && versionChoice.wanted >= 0;
}

/** Whether its answer may carry a session: never to whom another version answers as asked, nor on an asset. */
function mayPin({ route, versionChoice, path }: Exchange): boolean {
  const { sessions, versions } = route?.service ?? {};
  if (sessions?.cookies === undefined) return false;
  return versionChoice === undefined || !(versionChoice.isWish || versions?.isAsset(path) === true);
}

/** It has a session that may not be served elsewhere, unless its instance was taken away, or it asks for another version. */
function isHeld({ route, pin, affinityResult }: Exchange): boolean {
  if (route?.service.sessions.hard !== true || pin === undefined) return false;
  return affinityResult !== 'repin_drained' && affinityResult !== 'version';
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
  if (reason !== 'p2c' && reason !== 'load') return reason;
  if (moves(exchange.affinityResult)) return 'repin';
  const { versionChoice } = exchange;
  return versionChoice === undefined || versionChoice.wanted < 0 || versionChoice.kind === 'canary'
    ? reason
    : 'version';
}

function moves(result: string): boolean {
  return result === 'repin_drained' || result === 'repin_down';
}

export function take(exchange: Exchange, slot: number, now: number): void {
  const service = exchange.route?.service;
  if (service === undefined) return;
  exchange.slot = slot;
  exchange.instance = service.balancer.idOf(slot);
  exchange.version = service.balancer.versionOf(slot);
  enterInstance(exchange, slot, now);
  if (exchange.panicTry === 'running') exchange.panicTry = '';
}

/** An attempt begins there. */
export function enterInstance(exchange: Exchange, slot: number, now: number): void {
  const balancer = exchange.route?.service.balancer;
  balancer?.started(slot, now);
  if (asksForStream(exchange)) balancer?.cap.countStream(slot, 1);
  exchange.heard = false;
}

/** Gives an attempt's place at its instance back. */
export function leaveInstance(exchange: Exchange, now: number): void {
  if (exchange.slot < 0) return;
  const balancer = exchange.route?.service.balancer;
  balancer?.finished(exchange.slot, now, exchange.heard);
  if (asksForStream(exchange)) balancer?.cap.countStream(exchange.slot, -1);
  exchange.slot = -1;
}

/** Where the first attempt goes if it may: its session's instance, unless the request asks for another version. */
function firstSlot(exchange: Exchange): number {
  const home = homeSlot(exchange);
  const { versions } = exchange.route?.service ?? {};
  if (versions === undefined) return home;
  const slot = versions.choose(exchange, home);
  if (exchange.versionChoice?.elsewhere === true) exchange.affinityResult = 'version';
  return slot;
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
    const key = result === 'none' ? sessions.keyOfCaller(exchange.facts) : -1;
    const own = key < 0 ? -1 : sessions.slotOfKey(key, service.versions?.rangeOf(key) ?? ANY_VERSION);
    if (own >= 0) exchange.affinityResult = 'fallback';
    return own;
  }
  exchange.pin = pin;
  const slot = sessions.slotOfTag(pin.instance);
  const now = exchange.worker.now();
  const sentAway = slot >= 0 && service.versions?.keepsPinned(slot) === false;
  if (slot >= 0 && !sentAway && sessions.keepsPinned(slot, pin, now)) {
    if (!sessions.endsStreams(slot, pin, now) || !asksForStream(exchange)) return slot;
  }
  // One that is not known any more was off the list for minutes.
  const state = slot < 0 ? 'gone' : service.balancer.stateOf(slot);
  const wasTaken = sentAway || state === 'draining' || state === 'disabled' || state === 'gone';
  exchange.affinityResult = wasTaken ? 'repin_drained' : 'repin_down';
  return -1;
}
