/**
 * When an answer may carry the session cookie.
 *
 * A cookie on an answer that a shared cache keeps would be handed to everybody that the cache serves: a hundred callers
 * in one session, all at one instance. So never on `public`, `s-maxage` and `immutable` answers; where the instance says
 * nothing about caching, `private` is added, since without it a cache may decide by itself. Never on 1xx (not an answer
 * yet) and 304 (its fields belong to the kept answer). Our own errors do not pass here.
 *
 * Limits: `max-age` alone lets a shared cache keep an answer too, but is how pages say "always ask" (`max-age=0`).
 * Source: RFC 9111 §3, §5.2.2, §7.3; RFC 8246.
 */

export interface CookieVerdict {
  readonly allowed: boolean;
  /** The answer must also get `cache-control: private`. */
  readonly makePrivate: boolean;
}

const NEVER: CookieVerdict = Object.freeze({ allowed: false, makePrivate: false });
const PLAIN: CookieVerdict = Object.freeze({ allowed: true, makePrivate: false });
const PRIVATE: CookieVerdict = Object.freeze({ allowed: true, makePrivate: true });

/**
 * @param status of the instance's answer
 * @param cacheControl all lines of the field joined by commas; undefined or '' when absent
 */
export function maySetCookie(status: number, cacheControl: string | undefined): CookieVerdict {
  if (status < 200 || status === 304) return NEVER;
  if (cacheControl === undefined || cacheControl === '') return PRIVATE;
  let from = 0;
  while (from <= cacheControl.length) {
    const comma = cacheControl.indexOf(',', from);
    const to = comma < 0 ? cacheControl.length : comma;
    if (isShared(cacheControl, from, to)) return NEVER;
    from = to + 1;
  }
  return PLAIN;
}

/** Whether one directive invites shared caches. A comma inside quotes only makes us see more directives: never fewer. */
function isShared(text: string, from: number, to: number): boolean {
  const equals = text.indexOf('=', from);
  const name = text
    .slice(from, equals < 0 || equals > to ? to : equals)
    .trim()
    .toLowerCase();
  return name === 'public' || name === 's-maxage' || name === 'immutable';
}
