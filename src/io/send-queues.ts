import { readFile } from 'node:fs/promises';
import { isIPv4 } from 'node:net';

/**
 * How much of what we sent a connection's other side has not acknowledged yet.
 *
 * A process sees its writes taken in lumps: the kernel makes room when a third of a send buffer of up to 4 MiB is empty,
 * which takes an honest reader of 20 KiB/s a minute. Only the kernel knows that bytes leave meanwhile, and Linux tells it in
 * `/proc/net/tcp` (`tx_queue`). Reading that costs some 20 µs a connection of the machine, so it is asked only about
 * transfers that stand still, once a second at most, and off the loop. Elsewhere nobody knows, and standing still is all
 * that counts.
 */

/** The two ends of a connection, as a socket tells them. */
export interface ConnectionEnds {
  readonly localAddress?: string | undefined;
  readonly localPort?: number | undefined;
  readonly remoteAddress?: string | undefined;
  readonly remotePort?: number | undefined;
}

/** As the kernel writes it in those files: `LOCAL:PORT REMOTE:PORT` in hexadecimal; empty when the socket has no ends. */
export function connectionKey(ends: ConnectionEnds): string {
  const { localAddress, localPort, remoteAddress, remotePort } = ends;
  if (localAddress === undefined || localPort === undefined) return '';
  if (remoteAddress === undefined || remotePort === undefined) return '';
  const local = hexAddress(localAddress);
  const remote = hexAddress(remoteAddress);
  return local === '' || remote === ''
    ? ''
    : `${local}:${hexPort(localPort)} ${remote}:${hexPort(remotePort)}`;
}

function hexPort(port: number): string {
  return port.toString(16).toUpperCase().padStart(4, '0');
}

/** Words of four octets in the order of the machine, which is little-endian wherever Node runs but on s390x. */
function hexAddress(address: string): string {
  const octets = isIPv4(address) ? fourOctets(address) : sixteenOctets(address);
  if (octets === undefined) return '';
  let text = '';
  for (let word = 0; word < octets.length; word += 4)
    for (let at = word + 3; at >= word; at--) text += (octets[at] ?? 0).toString(16).padStart(2, '0');
  return text.toUpperCase();
}

function fourOctets(address: string): number[] {
  return address.split('.').map(Number);
}

function sixteenOctets(address: string): number[] | undefined {
  const bare = address.split('%', 1)[0] ?? '';
  const mapped = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(bare);
  const tail = mapped === null ? [] : fourOctets(mapped[2] ?? '');
  const text = mapped === null ? bare : (mapped[1] ?? '').replace(/([^:]):$/, '$1');
  const [before = '', after] = text.split('::', 2);
  const head = octetsOf(before);
  const end = [...octetsOf(after ?? ''), ...tail];
  const missing = 16 - head.length - end.length;
  if (missing < 0 || (after === undefined && missing !== 0)) return undefined;
  return [...head, ...Array.from({ length: missing }, () => 0), ...end];
}

function octetsOf(groups: string): number[] {
  if (groups === '') return [];
  return groups.split(':').flatMap((group) => {
    const value = Number.parseInt(group === '' ? '0' : group, 16);
    return [value >> 8, value & 255];
  });
}

/** Bytes not acknowledged yet, for each wanted key that the text of such a file has. */
export function readQueues(text: string, wanted: ReadonlySet<string>): Map<string, number> {
  const found = new Map<string, number>();
  for (let start = text.indexOf('\n') + 1; start > 0;) {
    const end = text.indexOf('\n', start);
    const from = text.indexOf(': ', start) + 2;
    const gap = text.indexOf(' ', from);
    const to = text.indexOf(' ', gap + 1);
    const key = text.slice(from, to);
    // After the ends come the state (two digits) and `tx_queue:rx_queue`.
    if (wanted.has(key)) found.set(key, Number.parseInt(text.slice(to + 4, to + 12), 16));
    start = end + 1;
  }
  return found;
}

/** Asks the kernel about some connections; undefined where it does not say. */
export async function sendQueues(wanted: ReadonlySet<string>): Promise<Map<string, number> | undefined> {
  const [four, six] = await Promise.all([fileOf('/proc/net/tcp'), fileOf('/proc/net/tcp6')]);
  if (four === '' && six === '') return undefined;
  return new Map([...readQueues(four, wanted), ...readQueues(six, wanted)]);
}

async function fileOf(path: string): Promise<string> {
  try {
    return await readFile(path, 'latin1');
  } catch {
    return '';
  }
}
