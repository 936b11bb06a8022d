/**
 * Finding cookies in a `Cookie` header without taking it apart.
 *
 * The header may be 16 KiB of a stranger's text and is looked at for each request: one search for the name, no list, no
 * map, no regular expression, linear time. Names are compared byte for byte; white space around them is tolerated, since
 * the servers behind us tolerate it too. Source: RFC 6265 §4.2 and §5.4.
 */

const SPACE = 32;
const TAB = 9;
const SEMICOLON = 59;
const EQUALS = 61;

/**
 * Where the value of the next cookie of that name begins.
 * @param from where to go on: 0, or the `cookieEnd` of the one found before
 * @returns the index behind its `=`, −1 when there is none
 */
export function findCookie(header: string, name: string, from: number): number {
  if (name === '') return -1;
  let at = header.indexOf(name, from);
  while (at >= 0) {
    const equals = skipSpaces(header, at + name.length);
    if (header.charCodeAt(equals) === EQUALS && opensPair(header, at)) return equals + 1;
    at = header.indexOf(name, at + name.length);
  }
  return -1;
}

/** The index of the semicolon that ends the pair in which `at` lies, or the header's length. */
export function cookieEnd(header: string, at: number): number {
  const end = header.indexOf(';', at);
  return end < 0 ? header.length : end;
}

/** The value that begins at `start`, without the white space around it. */
export function cookieValue(header: string, start: number): string {
  let from = start;
  let to = cookieEnd(header, start);
  while (from < to && isSpace(header.charCodeAt(from))) from++;
  while (to > from && isSpace(header.charCodeAt(to - 1))) to--;
  return header.slice(from, to);
}

/** Whether nothing but white space lies between `at` and the pair's beginning. */
function opensPair(header: string, at: number): boolean {
  let before = at - 1;
  while (before >= 0 && isSpace(header.charCodeAt(before))) before--;
  return before < 0 || header.charCodeAt(before) === SEMICOLON;
}

function skipSpaces(header: string, from: number): number {
  let at = from;
  while (at < header.length && isSpace(header.charCodeAt(at))) at++;
  return at;
}

function isSpace(code: number): boolean {
  return code === SPACE || code === TAB;
}
