import { maySetCookie } from '../affinity/policy.ts';
import type { ResponseHead } from '../forwarding/response-headers.ts';
import type { Exchange } from './exchange.ts';

/**
 * The cookies of sessions and versions on an answer: set when what they say is new, changed or due for renewal, and only
 * where a cache could not hand one caller's to another.
 */
export function addAffinity(exchange: Exchange, head: ResponseHead, status: number): void {
  const { service } = exchange.route ?? {};
  if (service === undefined || exchange.slot < 0) return;
  service.versions?.tell(exchange, head);
  // A silent instance was tried, and serves nobody else yet.
  if (exchange.panicTry === 'running') return;
  const hasSession = isSessionDue(exchange);
  const version = service.versions?.cookieFor(exchange) ?? '';
  if (!hasSession && version === '') return;
  const { allowed, makePrivate } = maySetCookie(status, head.cacheControl);
  if (!allowed) return;
  if (hasSession) addSession(exchange, head);
  if (version !== '') head.list.push('set-cookie', version);
  if (makePrivate) head.list.push('cache-control', 'private');
}

/** Notes what becomes of the session. @returns whether its cookie should be sent */
function isSessionDue(exchange: Exchange): boolean {
  const { sessions, versions } = exchange.route?.service ?? {};
  const cookies = sessions?.cookies;
  // Told apart by a key of its own: it has no session and needs none.
  if (sessions === undefined || cookies === undefined || exchange.affinityResult === 'fallback') return false;
  const tag = sessions.tagOfSlot(exchange.slot);
  const { pin, versionChoice } = exchange;
  const isAsset = versions?.isAsset(exchange.path) === true;
  const known = pin?.instance === tag;
  if (pin !== undefined && (known || sessions.slotOfTag(pin.instance) === exchange.slot)) {
    sessions.meet(exchange.slot, pin.sid, exchange.worker.now());
    // A tag under an older key is at home too, and gets a cookie that the newest signs; so does one whose instance is of
    // another version than the page before.
    if (
      known &&
      !cookies.needsRefresh(pin, exchange.worker.wallMs()) &&
      !sawNewVersion(exchange, pin.version)
    )
      return false;
    return !isAsset;
  }
  if (exchange.affinityResult === 'hit' || exchange.affinityResult === 'spill') {
    // Served elsewhere this once: the session stays where it is.
    exchange.affinityResult = 'spill';
    return false;
  }
  return !isAsset && versionChoice?.isWish !== true && versionChoice?.elsewhere !== true;
}

/** A page of another version than the session's last one, at the same instance. */
function sawNewVersion({ route, facts, version }: Exchange, before: string): boolean {
  const versions = route?.service.versions;
  return versions !== undefined && facts.navigation && versions.tagOf(version) !== before;
}

function addSession(exchange: Exchange, head: ResponseHead): void {
  const { sessions, versions } = exchange.route?.service ?? {};
  const { pin, slot, secure, worker, version, versionChoice } = exchange;
  if (sessions?.cookies === undefined) return;
  const { cookie, sid } = sessions.cookies.issue(
    sessions.tagOfSlot(slot),
    versions?.tagOf(version) ?? '',
    worker.wallMs(),
    pin,
    secure,
    versionChoice?.id,
  );
  if (exchange.affinityResult === 'none') exchange.affinityResult = 'new';
  sessions.count(slot, sid, worker.now());
  head.list.push('set-cookie', cookie);
}
