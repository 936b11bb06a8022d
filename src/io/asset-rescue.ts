import { LEAST_CALL_MS } from '../forwarding/deadline.ts';
import type { Attempt } from './attempt.ts';
import { leaveInstance, take } from './choose-instance.ts';
import type { Begin } from './retry.ts';

/**
 * A part of a page that the version asked does not have, while several are there: the others are asked, newest first.
 *
 * A page of the version before asks for parts of that version; without cookie or wish nothing tells which one that is, and a
 * 404 would leave the page broken. So a 404 to GET or HEAD of an asset is not passed on until two further versions were
 * asked. Bounded at each service and worker, since a path that is nowhere costs three requests; it is no retry and takes
 * nothing of that budget. The first answer's bytes are not waited for.
 */
export function rescueAsset(attempt: Attempt, now: number, begin: Begin): boolean {
  const { exchange } = attempt;
  const { route, req, facts } = exchange;
  const versions = route?.service.versions;
  if (route === undefined || versions === undefined || facts.hasBody) return false;
  if (req.method !== 'GET' && req.method !== 'HEAD') return false;
  if (exchange.deadlineMs - now < LEAST_CALL_MS) return false;
  const { balancer } = route.service;
  for (;;) {
    const version = versions.nextForAsset(exchange, now);
    if (version < 0) return false;
    const slot = balancer.pick({ pinned: -1, tried: exchange.tried, makesPin: false, version }, now);
    if (slot < 0) continue;
    attempt.abandon();
    leaveInstance(exchange, now);
    if (exchange.versionChoice !== undefined) {
      exchange.versionChoice.wanted = version;
      exchange.versionChoice.rescues++;
    }
    take(exchange, slot, now);
    exchange.pickReason = 'rescue';
    begin(exchange, now);
    return true;
  }
}
