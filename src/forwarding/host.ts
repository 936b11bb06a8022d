/**
 * The authority a request names: one reading or none.
 *
 * `Host` chooses the route, the virtual server behind us and the links it writes, so a value that two parsers could split
 * differently (`a@b`, `a,b`, `a b`, `a:99999`) is refused, not repaired. Accepted are a DNS name (underscores too, container
 * networks use them), an IPv4 address, a bracketed IPv6 address, each with an optional port. RFC 9112 §3.2, RFC 3986 §3.2.
 */

export interface HostCheck {
  readonly ok: boolean;
  /** Lower case, without port and without the final dot of a full name; `[…]` keeps its brackets. Empty when not ok. */
  readonly host: string;
  /** -1 when the value names none. */
  readonly port: number;
}

const REFUSED: HostCheck = Object.freeze({ ok: false, host: '', port: -1 });

/** RFC 1035 names have at most 253 characters; double that would only be room for mischief. */
const LONGEST_NAME = 253;

const COLON = 58;
const DOT = 46;
const OPEN = 91;

/** The last host of a connection: it hardly ever names another. */
export class HostMemo {
  #value = '';
  #check: HostCheck = REFUSED;

  check(value: string): HostCheck {
    if (value !== this.#value) {
      this.#check = checkHost(value);
      this.#value = value;
    }
    return this.#check;
  }
}

export function checkHost(value: string): HostCheck {
  return value.charCodeAt(0) === OPEN ? checkBracketed(value) : checkName(value);
}

/** Whether two authorities are the same place under a scheme: an absent port is the scheme's own. */
export function sameAuthority(left: string, right: string, scheme: 'http' | 'https' | ''): boolean {
  if (left === right) return true;
  const one = checkHost(left);
  const other = checkHost(right);
  if (!one.ok || !other.ok || one.host !== other.host) return false;
  const usual = scheme === 'https' ? 443 : 80;
  return (one.port < 0 ? usual : one.port) === (other.port < 0 ? usual : other.port);
}

function checkName(value: string): HostCheck {
  const { length } = value;
  let end = length;
  let capitals = false;
  let label = 0;
  let before = DOT;
  for (let index = 0; index < length; index++) {
    const code = value.charCodeAt(index);
    if ((code >= 97 && code <= 122) || (code >= 48 && code <= 57) || code === 45 || code === 95) {
      // Letters, digits, hyphens and underscores fit anywhere.
    } else if (code === DOT) {
      if (before === DOT) return REFUSED;
      if (index + 1 < length && value.charCodeAt(index + 1) !== COLON) label = index + 1;
    } else if (code >= 65 && code <= 90) capitals = true;
    else if (code === COLON) {
      end = index;
      break;
    } else return REFUSED;
    before = code;
  }
  const port = end === length ? -1 : portOf(value, end + 1);
  if (port === BAD_PORT) return REFUSED;
  // One final dot marks a full name; it is the same place.
  const last = before === DOT ? end - 1 : end;
  if (last <= 0 || last > LONGEST_NAME) return REFUSED;
  const host = last === length ? value : value.slice(0, last);
  if (isNumber(host, label) && !isIpv4(host)) return REFUSED;
  return { ok: true, host: capitals ? host.toLowerCase() : host, port };
}

function checkBracketed(value: string): HostCheck {
  const close = value.indexOf(']');
  if (close < 0 || !isIpv6(value.slice(1, close))) return REFUSED;
  let port = -1;
  if (close + 1 < value.length) {
    if (value.charCodeAt(close + 1) !== COLON) return REFUSED;
    port = portOf(value, close + 2);
    if (port === BAD_PORT) return REFUSED;
  }
  return { ok: true, host: value.slice(0, close + 1).toLowerCase(), port };
}

const BAD_PORT = -2;

/** One to five digits, at most 65535; a colon without a port says nothing that everybody reads alike. */
function portOf(value: string, from: number): number {
  const digits = value.length - from;
  if (digits < 1 || digits > 5) return BAD_PORT;
  let port = 0;
  for (let index = from; index < value.length; index++) {
    const digit = value.charCodeAt(index) - 48;
    if (digit < 0 || digit > 9) return BAD_PORT;
    port = port * 10 + digit;
  }
  return port > 65_535 ? BAD_PORT : port;
}

/**
 * Whether the last label, from `start`, is a number: `0x7f.1` and `2130706433` are 127.0.0.1 to some readers and names to
 * others, so a host that ends in one has to be an address in its usual form.
 */
function isNumber(host: string, start: number): boolean {
  if (host.charCodeAt(start) > 57) return false;
  const hex = host.charCodeAt(start) === 48 && (host.charCodeAt(start + 1) | 32) === 120;
  for (let index = hex ? start + 2 : start; index < host.length; index++) {
    const code = host.charCodeAt(index) | 32;
    const digit = host.charCodeAt(index) >= 48 && host.charCodeAt(index) <= 57;
    if (!digit && !(hex && code >= 97 && code <= 102)) return false;
  }
  return true;
}

/** Four numbers without leading zeros: `010` is ten to some readers and eight to others. */
function isIpv4(text: string): boolean {
  const parts = text.split('.');
  if (parts.length !== 4) return false;
  for (const part of parts) {
    if (part === '' || part.length > 3 || (part.length > 1 && part.startsWith('0'))) return false;
    for (let index = 0; index < part.length; index++) {
      const code = part.charCodeAt(index);
      if (code < 48 || code > 57) return false;
    }
    if (Number(part) > 255) return false;
  }
  return true;
}

/** Eight groups of hex, one `::` for the missing ones, perhaps an IPv4 address at the end; no zone. */
function isIpv6(text: string): boolean {
  // The longest is 45 characters; more can only be junk.
  if (text.length < 2 || text.length > 45) return false;
  const gap = text.indexOf('::');
  if (gap < 0) return groupsOf(text, true) === 8;
  if (text.includes('::', gap + 1)) return false;
  const left = groupsOf(text.slice(0, gap), false);
  const right = groupsOf(text.slice(gap + 2), true);
  return left >= 0 && right >= 0 && left + right <= 7;
}

/** How many 16-bit groups a colon list has, -1 when it is none. */
function groupsOf(text: string, mayEndInIpv4: boolean): number {
  if (text === '') return 0;
  const parts = text.split(':');
  let groups = 0;
  for (const [index, part] of parts.entries()) {
    if (mayEndInIpv4 && index === parts.length - 1 && part.includes('.')) {
      if (!isIpv4(part)) return -1;
      groups += 2;
    } else {
      if (!isHexGroup(part)) return -1;
      groups += 1;
    }
  }
  return groups;
}

function isHexGroup(part: string): boolean {
  if (part.length < 1 || part.length > 4) return false;
  for (let index = 0; index < part.length; index++) {
    const code = part.charCodeAt(index) | 32;
    if (!((code >= 48 && code <= 57) || (code >= 97 && code <= 102))) return false;
  }
  return true;
}
