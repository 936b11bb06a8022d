/**
 * IP addresses as numbers: reading, writing, comparing with networks.
 *
 * An address is eight 16-bit groups; IPv4 lives at its mapped place, `::ffff:a.b.c.d`. So the peer `::ffff:10.0.0.1` of a
 * dual-stack socket and `10.0.0.1` in a header are one address without a special case, and nothing that a caller wrote
 * survives: what is printed is always made from the numbers. No regular expression and no library object a call: a
 * trusted proxy's header is read for each request.
 *
 * Strict on purpose: no leading zeros in IPv4 (octal to some readers), no short forms (`10.1`), one `::` that stands for
 * at least one group. Source: RFC 4291 §2.2, RFC 5952 for the written form.
 */

/** Eight groups of 16 bits, the most significant first. */
export type Address = readonly number[];

/** Longest text worth reading: a full address with a dotted tail is 45 characters, a zone id adds an interface's name. */
const MAX_CHARS = 64;

const DOT = 46;
const COLON = 58;
const PERCENT = 37;

/** Whether the address is IPv4 (written so or mapped). */
export function isV4(address: Address): boolean {
  return (
    address[5] === 0xffff &&
    address[4] === 0 &&
    address[3] === 0 &&
    address[2] === 0 &&
    address[1] === 0 &&
    address[0] === 0
  );
}

/** An address from its text, without brackets or port; a zone id (`%eth0`) is dropped. Undefined when it is none. */
export function parseAddress(text: string): Address | undefined {
  if (text.length < 2 || text.length > MAX_CHARS) return undefined;
  if (!text.includes(':')) {
    const v4 = parseV4(text, 0, text.length);
    return v4 < 0 ? undefined : fromV4(v4);
  }
  const zone = text.indexOf('%');
  // A zone has a name: a bare `%` at the end is not one.
  if (zone >= 0 && (zone === text.length - 1 || text.charCodeAt(zone + 1) === PERCENT)) return undefined;
  return parseV6(text, zone < 0 ? text.length : zone);
}

/** The address as text: dotted for IPv4, RFC 5952 for the rest. */
export function formatAddress(address: Address): string {
  return isV4(address) ? formatV4(address[6] ?? 0, address[7] ?? 0) : formatV6(address);
}

function fromV4(value: number): Address {
  return [0, 0, 0, 0, 0, 0xffff, value >>> 16, value & 0xffff];
}

/** The IPv4 address in two groups of another address. */
export function embeddedV4(address: Address, group: number): Address {
  return [0, 0, 0, 0, 0, 0xffff, address[group] ?? 0, address[group + 1] ?? 0];
}

/** The first `bits` bits of an address, the others zero. */
export function cutTo(address: Address, bits: number): Address {
  return address.map((group, index) => group & maskOf(bits, index));
}

/** Whether the first `bits` bits of both are the same. */
export function sharesPrefix(a: Address, b: Address, bits: number): boolean {
  for (let index = 0; index * 16 < bits; index++) {
    if ((((a[index] ?? 0) ^ (b[index] ?? 0)) & maskOf(bits, index)) !== 0) return false;
  }
  return true;
}

function maskOf(bits: number, group: number): number {
  const left = Math.min(16, Math.max(0, bits - group * 16));
  return (0xffff << (16 - left)) & 0xffff;
}

/** @returns 32 bits as a number ≥ 0, or −1. */
function parseV4(text: string, from: number, to: number): number {
  let value = 0;
  let part = 0;
  let digits = 0;
  let parts = 1;
  for (let at = from; at < to; at++) {
    const code = text.charCodeAt(at);
    if (code === DOT) {
      if (digits === 0 || parts === 4) return -1;
      value = value * 256 + part;
      part = 0;
      digits = 0;
      parts++;
      continue;
    }
    const digit = code - 48;
    if (digit < 0 || digit > 9 || (digits > 0 && part === 0)) return -1;
    part = part * 10 + digit;
    if (part > 255) return -1;
    digits++;
  }
  return parts === 4 && digits > 0 ? value * 256 + part : -1;
}

function parseV6(text: string, to: number): Address | undefined {
  const groups: number[] = [];
  let gap = -1;
  let at = 0;
  if (text.charCodeAt(0) === COLON) {
    if (text.charCodeAt(1) !== COLON) return undefined;
    gap = 0;
    at = 2;
  }
  while (at < to) {
    if (groups.length === 8) return undefined;
    const end = groupEnd(text, at, to);
    if (end < to && text.charCodeAt(end) === DOT) {
      const v4 = groups.length > 6 ? -1 : parseV4(text, at, to);
      if (v4 < 0) return undefined;
      groups.push(v4 >>> 16, v4 & 0xffff);
      break;
    }
    if (end === at || end - at > 4) return undefined;
    groups.push(hexValue(text, at, end));
    if (end === to) break;
    if (text.charCodeAt(end) !== COLON || end + 1 === to) return undefined;
    at = end + 1;
    if (text.charCodeAt(at) !== COLON) continue;
    if (gap >= 0) return undefined;
    gap = groups.length;
    at++;
  }
  if (gap < 0) return groups.length === 8 ? groups : undefined;
  if (groups.length > 7) return undefined;
  const zeros = Array.from({ length: 8 - groups.length }, () => 0);
  return [...groups.slice(0, gap), ...zeros, ...groups.slice(gap)];
}

function groupEnd(text: string, from: number, to: number): number {
  let at = from;
  while (at < to && hexDigit(text.charCodeAt(at)) >= 0) at++;
  return at;
}

function hexValue(text: string, from: number, to: number): number {
  let value = 0;
  for (let at = from; at < to; at++) value = value * 16 + hexDigit(text.charCodeAt(at));
  return value;
}

function hexDigit(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  const lower = code | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}

function formatV4(high: number, low: number): string {
  return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
}

function formatV6(address: Address): string {
  // The longest run of at least two zero groups is left out, the first of equals (RFC 5952 §4.2).
  let start = -1;
  let length = 1;
  for (let at = 0; at < 8; at++) {
    let end = at;
    while (end < 8 && address[end] === 0) end++;
    if (end - at > length) {
      start = at;
      length = end - at;
    }
    if (end > at) at = end;
  }
  if (start < 0) return hexGroups(address, 0, 8);
  return `${hexGroups(address, 0, start)}::${hexGroups(address, start + length, 8)}`;
}

function hexGroups(address: Address, from: number, to: number): string {
  let text = '';
  for (let at = from; at < to; at++) text += (at > from ? ':' : '') + (address[at] ?? 0).toString(16);
  return text;
}
