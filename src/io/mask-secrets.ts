/**
 * The configuration as it may be shown: every value of a secret key is replaced, at whatever depth it stands.
 */

const SECRET_KEYS: ReadonlySet<string> = new Set(['token', 'secret', 'keySecret', 'key', 'password']);
const MASK = '***';

/** A copy for `GET /v1/config`. Of an address only user and password are hidden. */
export function maskSecrets(value: unknown, key = ''): unknown {
  if (typeof value === 'string') {
    if (SECRET_KEYS.has(key) || value.startsWith('-----BEGIN')) return value === '' ? '' : MASK;
    return key === 'url' ? maskAddress(value) : value;
  }
  if (Array.isArray(value)) return value.map((entry) => maskSecrets(entry, key));
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([name, entry]) => [name, maskSecrets(entry, name)]));
  }
  return value;
}

function maskAddress(text: string): string {
  if (!URL.canParse(text)) return text;
  const url = new URL(text);
  if (url.password === '') return text;
  return text.replace(`${url.username}:${url.password}@`, `${MASK}@`);
}
