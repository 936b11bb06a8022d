/**
 * Reading short lists out of header values by index, without regular expressions and in linear time.
 */

const COMMA = 44;

function isBlank(code: number): boolean {
  return code === 32 || code === 9;
}

/** Without spaces and tabs at both ends (RFC 9110 OWS); other whitespace is no business of a header. */
export function trimOws(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && isBlank(text.charCodeAt(start))) start++;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--;
  return start === 0 && end === text.length ? text : text.slice(start, end);
}

/** The members of a comma list, trimmed and in lower case, empty ones left out; at most `most`. */
export function listMembers(value: string, most: number): string[] {
  const members: string[] = [];
  let start = 0;
  while (start <= value.length && members.length < most) {
    let end = start;
    while (end < value.length && value.charCodeAt(end) !== COMMA) end++;
    const member = trimOws(value.slice(start, end));
    if (member !== '') members.push(member.toLowerCase());
    start = end + 1;
  }
  return members;
}

/**
 * A whole number of digits only, up to `max`; -1 for anything else. Leading zeros are read as what they are: decimal.
 */
export function wholeNumber(text: string, max: number): number {
  const { length } = text;
  if (length === 0) return -1;
  let value = 0;
  for (let index = 0; index < length; index++) {
    const digit = text.charCodeAt(index) - 48;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
    if (value > max) return -1;
  }
  return value;
}
