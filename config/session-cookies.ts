/**
 * Session cookies of two services that a browser cannot keep apart: one name, and routes that meet on a host.
 *
 * A cookie belongs to a host (its path is always `/`), so the second one replaces the first. Each service would then find
 * the other's cookie, which it cannot verify, and begin a new session with every change between the two: nothing fails,
 * and nobody stays where he is. A warning and no other default: the name is a contract with whoever reads or clears it. The same
 * goes for the prefix by which a browser knows that the cookie is of this host.
 */
import type { Path } from './findings.ts';

interface Sticky {
  readonly affinity: { readonly cookie: string } | null;
}

interface Lead {
  readonly service: string;
  readonly path: string;
  /** Lower case; null takes every host. */
  readonly host: string | null;
  readonly methods: readonly string[] | null;
  readonly match: { readonly headers: Readonly<Record<string, string>> };
}

/** Reports each service whose cookie is that of an earlier one, at its `affinity`. */
export function checkSessionCookies(
  services: ReadonlyMap<string | number, Sticky>,
  routes: readonly Lead[],
  warn: (path: Path, message: string) => void,
): void {
  const sticky = [...services].flatMap(([service, { affinity }]) =>
    affinity === null ? [] : [{ service: String(service), cookie: affinity.cookie }],
  );
  const leads = (service: string): Lead[] => routes.filter((route) => route.service === service);
  for (const [index, { service, cookie }] of sticky.entries()) {
    const own = leads(service);
    const twin = sticky
      .slice(0, index)
      .find(
        (other) =>
          other.cookie === cookie && leads(other.service).some((one) => own.some((two) => meet(one, two))),
      );
    if (twin === undefined) continue;
    warn(
      ['services', service, 'affinity'],
      `\`${twin.service}\` has a session cookie \`${cookie}\` on the same host: each would end the other's sessions; give one another \`cookie\``,
    );
  }
}

/** How callers come in: `redirect` sends them all to TLS. */
export type Entrance = 'tls' | 'plain' | 'redirect';

const PREFIX = '__Host-';

/**
 * A browser takes a cookie named `__Host-…` over TLS alone, and from nobody but the host itself: no other one of the domain
 * can plant it. So it is advised where callers come by TLS, and a fault of the configuration where they do not: each answer
 * would begin a session. Source: RFC 6265bis §4.1.3.2.
 */
export function checkCookiePrefixes(
  services: ReadonlyMap<string | number, Sticky>,
  entrances: readonly Entrance[],
  warn: (path: Path, message: string) => void,
): void {
  const plain = entrances.length === 0 || entrances.includes('plain');
  for (const [service, { affinity }] of services) {
    if (affinity === null) continue;
    const { cookie } = affinity;
    const path = ['services', service, 'affinity'];
    if (plain && (cookie.startsWith(PREFIX) || cookie.startsWith('__Secure-')))
      warn(path, `a browser drops \`${cookie}\` unless it comes over TLS, and a listener has none`);
    if (!plain && !cookie.startsWith(PREFIX))
      warn(
        path,
        `call its cookie \`${PREFIX}${cookie.replace('__Secure-', '')}\`: then no other host of the domain can plant one`,
      );
  }
}

/** Some host has requests for both. */
function meet(one: Lead, two: Lead): boolean {
  if (one.host === two.host) return true;
  if (covers(one.host, two.host)) return !takesAll(two, one);
  return covers(two.host, one.host) && !takesAll(one, two);
}

/** Every host of `narrow` is one of `wide`. */
function covers(wide: string | null, narrow: string | null): boolean {
  if (wide === null) return true;
  if (narrow === null || !wide.startsWith('*.')) return false;
  return narrow.slice(narrow.indexOf('.')) === wide.slice(1);
}

/** On its own hosts the narrower route leaves nothing to the wider one. */
function takesAll(narrow: Lead, wide: Lead): boolean {
  return (
    narrow.path === wide.path && narrow.methods === null && Object.keys(narrow.match.headers).length === 0
  );
}
