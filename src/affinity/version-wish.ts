/**
 * The version that a request asks for by itself: `?dpl=NAME`, which front ends write into the addresses of their parts, or
 * `x-deployment-id: NAME`, which their scripts send.
 *
 * A wish is a stranger's word: it is looked up among the names of known versions and does nothing else, so all that is asked
 * of its form is that it could be one. What could not (too long, other characters, encoded ones) is no wish. The first `dpl`
 * of a query counts. No list, no copy of the query, no regular expression: one search for the name, one look at each character
 * of the value. Source: Next.js `deploymentId`, Vercel "Skew Protection".
 */

const PARAMETER = 'dpl=';
export const WISH_FIELD = 'x-deployment-id';
/** As long as a version's name may be. */
const MOST_CHARS = 64;

const QUESTION = 63;
const AMPERSAND = 38;

/**
 * The wish in a query, '' without one.
 * @param query with its `?`, as received; '' when there is none
 */
export function queryWish(query: string): string {
  let at = query.indexOf(PARAMETER);
  while (at > 0) {
    const before = query.charCodeAt(at - 1);
    if (before === QUESTION || before === AMPERSAND) {
      const from = at + PARAMETER.length;
      const end = query.indexOf('&', from);
      return nameIn(query, from, end < 0 ? query.length : end);
    }
    at = query.indexOf(PARAMETER, at + PARAMETER.length);
  }
  return '';
}

/** The wish in a field's value, '' without one. */
export function fieldWish(value: string | undefined): string {
  return value === undefined ? '' : nameIn(value, 0, value.length);
}

function nameIn(text: string, from: number, to: number): string {
  if (to === from || to - from > MOST_CHARS) return '';
  for (let at = from; at < to; at++) if (!mayBeInName(text.charCodeAt(at))) return '';
  return text.slice(from, to);
}

/** Letters, digits, `_`, `-`, and `.`, which names of versions may have. */
function mayBeInName(code: number): boolean {
  return (
    (code >= 97 && code <= 122) ||
    (code >= 65 && code <= 90) ||
    (code >= 48 && code <= 57) ||
    code === 95 ||
    code === 45 ||
    code === 46
  );
}
