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
  // Told apart by a key of its own: it has no session and needs none.
  if (exchange.affinityResult === 'fallback') return;
  const now = exchange.worker.now();
  const wallMs = exchange.worker.wallMs();
  const tag = sessions.tagOfSlot(exchange.slot);
  const { pin } = exchange;
  const known = pin?.instance === tag;
  if (pin !== undefined && (known || sessions.slotOfTag(pin.instance) === exchange.slot)) {
    sessions.count(exchange.slot, pin.sid, now);
    // A tag under an older key is at home too, and gets a cookie that the newest signs.
    if (known && !cookies.needsRefresh(pin, wallMs)) return;
  } else if (exchange.affinityResult === 'hit' || exchange.affinityResult === 'spill') {
    // Served elsewhere this once: the session stays where it is.
    exchange.affinityResult = 'spill';
    return;
  }
  const { allowed, makePrivate } = maySetCookie(status, head.cacheControl);
  if (!allowed) return;
  const { cookie, sid } = cookies.issue(tag, '', wallMs, pin, exchange.secure);
  if (exchange.affinityResult === 'none') exchange.affinityResult = 'new';
  sessions.count(exchange.slot, sid, now);
  head.list.push('set-cookie', cookie);
  if (makePrivate) head.list.push('cache-control', 'private');
}
