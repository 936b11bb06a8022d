/**
 * Whose address a request comes from, and which bucket that address belongs to.
 *
 * Signal: the socket's peer, and one header if the peer is a proxy of ours. Decision: from the right, trusted addresses
 * are skipped and the first other one is the caller; an entry that cannot be read stops the walk at the last good one,
 * which is then a proxy of ours, never an address that the caller chose. Only one header is read: with two, a caller
 * plants the one that its proxy leaves alone.
 *
 * The bucket is taken afterwards and in this order: IPv4 inside IPv6 (mapped, NAT64, 6to4) becomes IPv4, then IPv6 is cut
 * to its prefix. The other way round all of IPv4 would be one bucket (CVE-2026-30827).
 *
 * Limits: trust looks at the address itself, never at an IPv4 address inside NAT64 or 6to4: anybody may write
 * `2002:7f00:1::` and would be localhost. Source: RFC 7239, RFC 6052 (NAT64), RFC 3056 (6to4).
 */
import { entryAddress, lastEntryStart, type ForwardingHeader } from './forwarded.ts';
import { cutTo, embeddedV4, formatAddress, isV4, parseAddress, sharesPrefix, type Address } from './ip.ts';

/** Half: a long chain of proxies ends too early at one of ours; double: 64 forged entries are parsed for nothing. */
const MAX_ENTRIES = 32;

/** What stands for a peer without an address (a closed socket, a Unix socket); RFC 7239 has the same word. */
const UNKNOWN = 'unknown';

interface Network {
  readonly base: Address;
  readonly bits: number;
  readonly v4: boolean;
}

/** A set of networks (CIDR). IPv4 networks hold IPv4 addresses only, `::/0` holds no IPv4. */
export class TrustedNetworks {
  readonly #networks: readonly Network[];

  constructor(networks: readonly Network[]) {
    this.#networks = networks;
  }

  get isEmpty(): boolean {
    return this.#networks.length === 0;
  }

  has(address: Address): boolean {
    const v4 = isV4(address);
    for (const network of this.#networks) {
      if (network.v4 === v4 && sharesPrefix(address, network.base, network.bits)) return true;
    }
    return false;
  }

  /** Whether the text is an address of one of the networks. */
  includes(text: string): boolean {
    if (this.isEmpty) return false;
    const address = parseAddress(text);
    return address !== undefined && this.has(address);
  }
}

/**
 * Networks from `10.0.0.0/8`, `2001:db8::/32` or a single address.
 * @throws RangeError naming the entry that is none.
 */
export function parseNetworks(list: readonly string[]): TrustedNetworks {
  return new TrustedNetworks(list.map(parseNetwork));
}

/**
 * The caller's address as text: dotted or RFC 5952, without zone or port, or `unknown` for a peer without address.
 * @param peer the socket's remote address
 * @param headerValue of the one header that is read, all its lines joined by commas; '' when absent
 */
export function clientAddress(
  peer: string,
  headerName: ForwardingHeader,
  headerValue: string,
  trusted: TrustedNetworks,
): string {
  let known = parseAddress(peer);
  if (known === undefined) return UNKNOWN;
  let end = headerValue.length;
  for (let entry = 0; entry < MAX_ENTRIES && end > 0 && trusted.has(known); entry++) {
    const start = lastEntryStart(headerValue, end, headerName);
    if (start < 0) break;
    const before = entryAddress(headerValue.slice(start, end), headerName);
    if (before === undefined) break;
    known = before;
    end = start - 1;
  }
  return formatAddress(known);
}

/**
 * The name of the bucket that an address is counted in: an IPv4 address, or an IPv6 prefix as `2001:db8::/64`.
 * @param ipv6Prefix bits of an IPv6 address that name one caller, 1..128
 */
export function addressBucket(address: string, ipv6Prefix: number): string {
  const parsed = parseAddress(address);
  if (parsed === undefined) return UNKNOWN;
  const plain = withoutTransition(parsed);
  if (isV4(plain)) return formatAddress(plain);
  return `${formatAddress(cutTo(plain, ipv6Prefix))}/${ipv6Prefix}`;
}

/** An IPv4 address for NAT64 (`64:ff9b::/96`) and 6to4 (`2002::/16`); anything else as it is. */
export function withoutTransition(address: Address): Address {
  if (address[0] === 0x2002) return embeddedV4(address, 1);
  if (address[0] === 0x64 && address[1] === 0xff9b && sharesPrefix(address, NAT64, 96)) {
    return embeddedV4(address, 6);
  }
  return address;
}

const NAT64: Address = [0x64, 0xff9b, 0, 0, 0, 0, 0, 0];

function parseNetwork(text: string): Network {
  const slash = text.indexOf('/');
  const base = parseAddress(slash < 0 ? text : text.slice(0, slash));
  if (base === undefined) throw new RangeError(`${text} is no network`);
  const dotted = !text.includes(':');
  const most = dotted ? 32 : 128;
  const written = slash < 0 ? most : wholeNumber(text.slice(slash + 1));
  if (!(written <= most)) throw new RangeError(`${text} has no prefix length of 0 to ${most}`);
  const bits = dotted ? written + 96 : written;
  const cut = cutTo(base, bits);
  return { base: cut, bits, v4: bits >= 96 && isV4(cut) };
}

/** Digits as a number, NaN for anything else. */
function wholeNumber(text: string): number {
  return text.length > 0 && text.length <= 3 && /^\d+$/.test(text) ? Number(text) : Number.NaN;
}
