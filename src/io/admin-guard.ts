/**
 * Who may use the admin address.
 *
 * Threats and answers: a stranger on the network: a bearer token, required where the address is not loopback, compared by
 * hash in constant time · a web page in an operator's browser that posts to 127.0.0.1: a change is refused when
 * `Sec-Fetch-Site` or `Origin` names another site, and no answer carries a CORS header · the same page after DNS
 * rebinding, when both agree on the attacker's name: without a token only loopback names and IP literals are served.
 * Limits: a program on the same machine may read an address without a token; set one.
 * Source: Fetch Metadata (W3C), RFC 6750, OWASP on DNS rebinding.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { isIP } from 'node:net';

export type Verdict =
  | { readonly allowed: true }
  | { readonly allowed: false; readonly status: 401 | 403; readonly detail: string };

export interface AdminCaller {
  /** Standing for the registered pattern: these need no token. */
  readonly open: boolean;
  /** The method changes something. */
  readonly change: boolean;
  readonly host: string | undefined;
  readonly origin: string | undefined;
  readonly fetchSite: string | undefined;
  readonly authorization: string | undefined;
}

const ALLOWED: Verdict = { allowed: true };
const BEARER = /^bearer +([^\s]+) *$/i;

export class AdminGuard {
  #digest: Buffer | undefined;
  readonly #hostname: string;

  /** @param token empty = none; @param hostname the address the listener is bound to. */
  constructor(token: string, hostname: string) {
    this.#digest = token === '' ? undefined : digest(token);
    this.#hostname = hostname.toLowerCase();
  }

  /** Another token from now on; the old one is good for nothing. */
  configure(token: string): void {
    this.#digest = token === '' ? undefined : digest(token);
  }

  judge(caller: AdminCaller): Verdict {
    if (caller.change && isCrossSite(caller)) return refused(403, 'A change cannot come from another site.');
    if (caller.open) return ALLOWED;
    if (this.#digest === undefined)
      return this.#knowsHost(caller.host)
        ? ALLOWED
        : refused(403, 'This address is asked under a name that is not its own.');
    const token = BEARER.exec(caller.authorization ?? '')?.[1];
    if (token === undefined) return refused(401, 'This needs Authorization: Bearer TOKEN.');
    return timingSafeEqual(digest(token), this.#digest) ? ALLOWED : refused(401, 'The token is wrong.');
  }

  #knowsHost(host: string | undefined): boolean {
    const name = hostnameOf(host ?? '');
    if (name === '' || name === this.#hostname) return true;
    return name === 'localhost' || name.endsWith('.localhost') || isIP(name) !== 0;
  }
}

function digest(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

function refused(status: 401 | 403, detail: string): Verdict {
  return { allowed: false, status, detail };
}

/** A browser says so itself; programs send neither header. */
function isCrossSite(caller: AdminCaller): boolean {
  const { fetchSite, origin } = caller;
  if (fetchSite !== undefined && fetchSite !== 'same-origin' && fetchSite !== 'none') return true;
  if (origin === undefined) return false;
  if (!URL.canParse(origin)) return true;
  return new URL(origin).host !== (caller.host ?? '').toLowerCase();
}

/** `[::1]:9090` → `::1`, `LocalHost:9090` → `localhost`. */
function hostnameOf(host: string): string {
  const lower = host.toLowerCase();
  if (lower.startsWith('[')) return lower.slice(1, Math.max(1, lower.indexOf(']')));
  return isIP(lower) === 6 ? lower : (lower.split(':', 1)[0] ?? '');
}
