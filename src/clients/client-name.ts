/**
 * The name of a client: how long it may be, how limits count under it, and how it is shown.
 *
 * Limits and Redis never hold a name but its hash. Logs and header fields hold the name itself, so it has a bound and no
 * byte that a field could not have. One that is longer names nobody: cut short, two clients could look alike.
 */
import { createHmac } from 'node:crypto';

/** Half: addresses as names are too long; double: longer header fields for every instance. As in `config/client-schema.ts`. */
export const MOST_NAME_CHARS = 256;
/** Never a client's name, or it could pass for an address's in logs and at the instances. */
const OF_ADDRESS = 'ip:';
/** 22 characters of base64url hold 132 bits: 128 of the hash and a partly used last character. */
const BUCKET_CHARS = 22;

/** Whether a token may name a client so. */
export function isClientName(name: string): boolean {
  return name !== '' && name.length <= MOST_NAME_CHARS && !name.startsWith(OF_ADDRESS);
}

/** The name under which limits count a client: HMAC-SHA-256(secret, kind ‖ 0 ‖ name), 128 bits, base64url. */
export function clientBucket(hashSecret: string, kind: 'client' | 'ip', name: string): string {
  const digest = createHmac('sha256', hashSecret).update(`${kind}\0${name}`).digest();
  return digest.subarray(0, 16).toString('base64url').slice(0, BUCKET_CHARS);
}

/** What logs and header fields can hold of any name: other bytes than printable ASCII, and `%`, as in a URL. */
export function shownName(name: string): string {
  if (/^[\x21-\x24\x26-\x7e](?:[\x20-\x24\x26-\x7e]*[\x21-\x24\x26-\x7e])?$/.test(name)) return name;
  return Array.from(Buffer.from(name, 'utf8'), (byte) =>
    byte > 0x20 && byte < 0x7f && byte !== 0x25
      ? String.fromCharCode(byte)
      : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`,
  ).join('');
}
