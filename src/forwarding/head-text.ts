import { fieldFault, tokenFault } from './field-syntax.ts';

/**
 * The text of an answer's head: status line and fields, one character an octet, judged to the letter (RFC 9112 §4, §5).
 *
 * Lines end in CRLF and in nothing else, a name touches its colon, nothing is folded. What is not whole yet is judged as
 * far as it can be, so that garbage is told at once and not at its deadline.
 */

const COLON = 58;
const ZERO = 48;
const ONE = 49;
/** Half: long heads are looked up anew; double: each connection remembers more than it uses. */
const MOST_NAMES = 32;

/** A section that has not ended yet: whether it can still become one. */
export function partialFault(text: string, before: number): string {
  const start = 'HTTP/1.';
  if (!(text.length < start.length ? start.startsWith(text) : text.startsWith(start))) return 'status line';
  return bareLineFeed(text, before) ? 'line end' : '';
}

/** Whether a line, of those not looked at before, ends in LF without CR. */
export function bareLineFeed(text: string, before: number): boolean {
  for (let feed = text.indexOf('\n', before); feed >= 0; feed = text.indexOf('\n', feed + 1)) {
    if (feed === 0 || text.charCodeAt(feed - 1) !== 13) return true;
  }
  return false;
}

/** The status of `HTTP/1.x SP 3DIGIT [SP reason] CRLF`, or -1. */
export function statusOf(text: string): number {
  const minor = text.charCodeAt(7);
  if (!text.startsWith('HTTP/1.') || (minor !== ZERO && minor !== ONE) || text.charCodeAt(8) !== 32)
    return -1;
  let status = 0;
  for (let at = 9; at < 12; at++) {
    const digit = text.charCodeAt(at) - ZERO;
    if (!(digit >= 0 && digit <= 9)) return -1;
    status = status * 10 + digit;
  }
  const after = text.charCodeAt(12);
  const end = text.indexOf('\r\n');
  if (!(after === 32 || (after === 13 && end === 12))) return -1;
  if (fieldFault(text, 12, end)) return -1;
  return status >= 100 && status <= 599 ? status : -1;
}

/**
 * Appends the names and values of `text[from, to)`, whole lines.
 *
 * A server sends the same names in the same order with nearly every answer: where the name of the last time stands at its
 * place again it is taken, known to be good, instead of a new string that has to be judged and looked up anew.
 *
 * @param names of the last section, replaced by those of this one
 * @returns what is wrong, or ''
 */
export function readFields(text: string, from: number, to: number, raw: string[], names: string[]): string {
  let at = from;
  for (let field = 0; at < to; field++) {
    const end = text.indexOf('\r\n', at);
    let name = names[field] ?? '';
    let colon = at + name.length;
    if (name === '' || text.charCodeAt(colon) !== COLON || !text.startsWith(name, at)) {
      colon = text.indexOf(':', at);
      if (colon <= at || colon > end) return 'field line';
      if (tokenFault(text, at, colon)) return 'field name';
      name = text.slice(at, colon);
      if (field < MOST_NAMES) names[field] = name;
    }
    let first = colon + 1;
    let last = end;
    while (first < last && isOws(text.charCodeAt(first))) first++;
    while (last > first && isOws(text.charCodeAt(last - 1))) last--;
    if (fieldFault(text, first, last)) return 'field value';
    raw.push(name, text.slice(first, last));
    at = end + 2;
  }
  return '';
}

export function isOws(code: number): boolean {
  return code === 32 || code === 9;
}
