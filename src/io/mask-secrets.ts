/**
 * The configuration as it may be shown: every value of a secret key is replaced, at whatever depth it stands, and of the page
 * that was read with it stands the path, as of every other file.
 */

const SECRET_KEYS: ReadonlySet<string> = new Set([
  'token',
  'secret',
  'keySecret',
  'key',
  'password',
  'sentinelPassword',
]);
const ADDRESS_KEYS: ReadonlySet<string> = new Set(['url', 'jwksUrl']);
const MASK = '***';

/** A copy for `GET /v1/config`. Of an address user, password and query are hidden. */
export function maskSecrets(value: unknown, key = ''): unknown {
  if (typeof value === 'string') {
    if (SECRET_KEYS.has(key) || value.startsWith('-----BEGIN')) return value === '' ? '' : MASK;
    return ADDRESS_KEYS.has(key) ? maskAddress(value) : value;
  }
  if (Array.isArray(value)) return value.map((entry) => maskSecrets(entry, key));
  if (typeof value === 'object' && value !== null) {
    // A header that is set for instances may be a credential of the gateway; nobody can tell by its name.
    if (key === 'set') return Object.fromEntries(Object.keys(value).map((name) => [name, MASK]));
    if (key === 'errorPage' && 'path' in value) return value.path;
    return Object.fromEntries(Object.entries(value).map(([name, entry]) => [name, maskSecrets(entry, name)]));
  }
  return value;
}

/** Without what may stand between scheme and host and behind `?`, however it is written. */
export function maskAddress(text: string): string {
  return text.replace(/^([a-z][a-z0-9+.-]*:\/\/)[^/?#]*@/i, `$1${MASK}@`).replace(/\?.*$/s, `?${MASK}`);
}
