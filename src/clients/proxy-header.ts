/**
 * The PROXY header: what a balancer in front says of a connection, before its first byte (HAProxy, "The PROXY protocol",
 * versions 1 and 2).
 *
 * Signal: the first bytes of a connection of which the header is required. Decision: `more` until it can be judged, then
 * the address it names, or that it is bad. Nothing is guessed: who could be read differently by two readers is bad, since
 * what it names decides limits and access. A version 1 line is one line of at most 107 octets with single spaces,
 * addresses of the family it names and ports without leading zeros; a version 2 block has at most 536 octets, known
 * command, family and transport, fields that fill it exactly, and a checksum that is right where there is one.
 *
 * LOCAL, UNKNOWN, and families that name no IP peer of a stream keep the address of the socket, as HAProxy itself does.
 * Cold start, idle gap: it has no state; the same bytes give the same answer however they were cut. A bad beginning is
 * told at the first octet that shows it, so that nobody waits for a header that cannot come any more.
 */
import { formatAddress, isV4, parseAddress, type Address } from './ip.ts';

export type ProxyHeader =
  | { readonly kind: 'more' }
  | { readonly kind: 'bad'; readonly reason: string }
  /** `length` octets are the header; an empty address keeps the socket's. */
  | { readonly kind: 'header'; readonly length: number; readonly address: string; readonly port: number };

/** The longest line of version 1, its CRLF included; the protocol's own figure. */
const LONGEST_V1 = 107;
/** The longest block of version 2 that a receiver must take (§2.2: what fits the smallest datagram). */
export const LONGEST_HEADER = 536;
const V2_HEAD = 16;
const V2_SIGNATURE = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
const V1_SIGNATURE = [0x50, 0x52, 0x4f, 0x58, 0x59, 0x20]; // `PROXY `
const TLV_CRC32C = 0x03;

const MORE: ProxyHeader = Object.freeze({ kind: 'more' });

/** Judges all bytes that have come so far; never throws. */
export function readProxyHeader(bytes: Readonly<Uint8Array>): ProxyHeader {
  if (bytes.length === 0) return MORE;
  if (bytes[0] === V1_SIGNATURE[0]) {
    if (!begins(bytes, V1_SIGNATURE)) return bad('no PROXY header');
    return bytes.length <= V1_SIGNATURE.length ? MORE : readV1(bytes);
  }
  if (!begins(bytes, V2_SIGNATURE)) return bad('no PROXY header');
  return bytes.length < V2_HEAD ? readV2Start(bytes) : readV2(bytes);
}

function bad(reason: string): ProxyHeader {
  return { kind: 'bad', reason };
}

/** The socket's own address stays. */
function kept(length: number): ProxyHeader {
  return { kind: 'header', length, address: '', port: 0 };
}

/** As far as both reach. */
function begins(bytes: Readonly<Uint8Array>, signature: readonly number[]): boolean {
  const { length } = signature;
  for (let index = 0; index < length && index < bytes.length; index++)
    if (bytes[index] !== signature[index]) return false;
  return true;
}

// Version 1 -----------------------------------------------------------------------------------------------------------

const CR = 13;
const LF = 10;

function readV1(bytes: Readonly<Uint8Array>): ProxyHeader {
  const most = Math.min(bytes.length, LONGEST_V1);
  let line = '';
  for (let index = 0; index < most; index++) {
    const octet = bytes[index] ?? 0;
    if (octet === CR) {
      if (index + 1 === bytes.length) return index + 2 > LONGEST_V1 ? bad('line too long') : MORE;
      if (bytes[index + 1] !== LF || index + 2 > LONGEST_V1) return bad('line does not end in CRLF');
      return readLine(line, index + 2);
    }
    if (octet < 0x20 || octet > 0x7e) return bad('octet not allowed in the line');
    line += String.fromCharCode(octet);
  }
  return bytes.length < LONGEST_V1 ? MORE : bad('line too long');
}

function readLine(line: string, length: number): ProxyHeader {
  const [, family = '', source = '', target = '', sourcePort = '', targetPort = '', ...more] =
    line.split(' ');
  // Whatever follows UNKNOWN is to be ignored (§2.1).
  if (family === 'UNKNOWN') return kept(length);
  if (family !== 'TCP4' && family !== 'TCP6') return bad('unknown family');
  const from = addressOf(source, family);
  if (from === undefined || addressOf(target, family) === undefined) return bad('address');
  const port = portOf(sourcePort);
  if (port < 0 || portOf(targetPort) < 0 || more.length > 0) return bad('port');
  return { kind: 'header', length, address: formatAddress(from), port };
}

function addressOf(text: string, family: 'TCP4' | 'TCP6'): Address | undefined {
  if (text.includes(':') !== (family === 'TCP6') || text.includes('%')) return undefined;
  return parseAddress(text);
}

/** 0 to 65535 without leading zeros; -1 when it is none. */
function portOf(text: string): number {
  const { length } = text;
  if (length === 0 || length > 5 || (length > 1 && text.charCodeAt(0) === 48)) return -1;
  let value = 0;
  for (let index = 0; index < length; index++) {
    const digit = text.charCodeAt(index) - 48;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value <= 65_535 ? value : -1;
}

// Version 2 -----------------------------------------------------------------------------------------------------------

/** Addresses and ports of each family: unspecified, IPv4, IPv6, Unix. */
const ADDRESS_BYTES = [0, 12, 36, 216];
const STREAM = 1;

/** What can be said before the fixed part is whole. */
function readV2Start(bytes: Readonly<Uint8Array>): ProxyHeader {
  const { length } = bytes;
  if (length > 12 && !isCommand(bytes[12] ?? 0)) return bad('version or command');
  if (length > 13 && !isFamily(bytes[13] ?? 0)) return bad('family or transport');
  if (length > 14 && (bytes[14] ?? 0) * 256 + V2_HEAD > LONGEST_HEADER) return bad('block too long');
  return MORE;
}

function readV2(bytes: Readonly<Uint8Array>): ProxyHeader {
  const command = bytes[12] ?? 0;
  const kind = bytes[13] ?? 0;
  if (!isCommand(command)) return bad('version or command');
  if (!isFamily(kind)) return bad('family or transport');
  const length = V2_HEAD + numberAt(bytes, 14);
  if (length > LONGEST_HEADER) return bad('block too long');
  // A LOCAL block is the proxy's own connection: what else it holds is to be ignored (§2.2).
  const isLocal = (command & 15) === 0;
  const family = kind >> 4;
  const fieldsAt = V2_HEAD + (ADDRESS_BYTES[family] ?? 0);
  if (!isLocal && length < fieldsAt) return bad('block too short for its family');
  if (bytes.length < length) return MORE;
  if (isLocal) return kept(length);
  const fault = faultOfFields(bytes, fieldsAt, length);
  if (fault !== '') return bad(fault);
  if ((kind & 15) !== STREAM || (family !== 1 && family !== 2)) return kept(length);
  const address = family === 1 ? v4At(bytes) : v6At(bytes);
  const port = numberAt(bytes, V2_HEAD + (family === 1 ? 8 : 32));
  return { kind: 'header', length, address: formatAddress(address), port };
}

function isCommand(octet: number): boolean {
  return octet === 0x20 || octet === 0x21;
}

function isFamily(octet: number): boolean {
  return octet >> 4 <= 3 && (octet & 15) <= 2;
}

function numberAt(bytes: Readonly<Uint8Array>, index: number): number {
  return (bytes[index] ?? 0) * 256 + (bytes[index + 1] ?? 0);
}

function v4At(bytes: Readonly<Uint8Array>): Address {
  return [0, 0, 0, 0, 0, 0xffff, numberAt(bytes, V2_HEAD), numberAt(bytes, V2_HEAD + 2)];
}

function v6At(bytes: Readonly<Uint8Array>): Address {
  return Array.from({ length: 8 }, (_, group) => numberAt(bytes, V2_HEAD + group * 2));
}

/** The fields behind the addresses fill the block exactly, and a checksum among them is right; '' when all is well. */
function faultOfFields(bytes: Readonly<Uint8Array>, from: number, to: number): string {
  let at = from;
  while (at < to) {
    if (at + 3 > to) return 'field cut off';
    const length = numberAt(bytes, at + 1);
    const end = at + 3 + length;
    if (end > to) return 'field cut off';
    if (bytes[at] === TLV_CRC32C) {
      if (length !== 4) return 'checksum';
      const told = numberAt(bytes, at + 3) * 65_536 + numberAt(bytes, at + 5);
      if (told !== crc32c(bytes, to, at + 3)) return 'checksum';
    }
    at = end;
  }
  return '';
}

/** CRC-32C (RFC 9260, appendix A) of the first `to` octets, the four at `holeAt` taken as zero. */
export function crc32c(bytes: Readonly<Uint8Array>, to: number, holeAt: number): number {
  let crc = 0xffff_ffff;
  for (let index = 0; index < to; index++) {
    crc ^= index >= holeAt && index < holeAt + 4 ? 0 : (bytes[index] ?? 0);
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (0x82f6_3b78 & -(crc & 1));
  }
  return (crc ^ 0xffff_ffff) >>> 0;
}

/** Whether an address that a header named is IPv4; for the family that a socket tells. */
export function familyOf(address: string): 'IPv4' | 'IPv6' {
  const parsed = parseAddress(address);
  return parsed !== undefined && isV4(parsed) ? 'IPv4' : 'IPv6';
}
