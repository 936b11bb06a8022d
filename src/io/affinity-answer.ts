import { maySetCookie } from '../affinity/policy.ts';
import type { ResponseHead } from '../forwarding/response-headers.ts';
import type { Exchange } from './exchange.ts';

/**
 * The session cookie on an answer: set when the pin is new, changed or due for renewal, and only where a cache could not
 * hand one caller's session to another.
 */
export function addAffinity(exchange: Exchange, head: ResponseHead, status: number): void {
  const sessions = exchange.route?.service.sessions;
  const cookies = sessions?.cookies;
  if (sessions === undefined || cookies === undefined || exchange.slot < 0) return;
  const now = exchange.worker.now();
  const wallMs = exchange.worker.wallMs();
  const tag = sessions.tagOfSlot(exchange.slot);
  const { pin } = exchange;
  if (pin !== undefined && pin.instance === tag) {
    sessions.count(exchange.slot, pin.sid, now);
    if (!cookies.needsRefresh(pin, wallMs)) return;
  } else if (exchange.pickReason === 'spill' || exchange.pickReason === 'retry') {
    // Served elsewhere this once: the session stays where it is.
    if (pin !== undefined) return;
  }
  const { allowed, makePrivate } = maySetCookie(status, head.cacheControl);
  if (!allowed) return;
  const { cookie, sid } = cookies.issue(tag, wallMs, pin, exchange.secure);
  sessions.count(exchange.slot, sid, now);
  head.list.push('set-cookie', cookie);
  if (makePrivate) head.list.push('cache-control', 'private');
}
