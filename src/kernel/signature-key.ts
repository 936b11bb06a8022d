/**
 * Which signatures a public key (JWK) can verify, by what it says of itself.
 *
 * Type and curve decide which algorithms there are for it, `alg` that it is for one of them only, `use` and `key_ops`
 * whether it is for signatures at all. A key set is full of others, above all for encryption (`use: enc`): no fault, but
 * no token is ever verified with them. Whether the key's numbers are good is for the library to say.
 *
 * Source: RFC 7517 §4, RFC 7518 §3.1 and §6, RFC 8037, RFC 9864; `jose` passes over the same keys.
 */

const RSA: readonly string[] = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'];
const OF_CURVE: ReadonlyMap<unknown, readonly string[]> = new Map([
  ['P-256', ['ES256']],
  ['P-384', ['ES384']],
  ['P-521', ['ES512']],
]);
const NONE: readonly never[] = Object.freeze([]);

/** The configured algorithms by all their names: RFC 9864 gives EdDSA on Ed25519 one of its own. */
export function allNames(algorithms: readonly string[]): readonly string[] {
  return algorithms.flatMap((each) => (each === 'EdDSA' ? [each, 'Ed25519'] : [each]));
}

/** The algorithms (`alg`) of signatures that the key can verify; empty: none, whatever it is for. */
export function algorithmsOf(key: Readonly<Record<string, unknown>>): readonly string[] {
  const { use = 'sig', key_ops: operations = ['verify'], alg } = key;
  if (use !== 'sig' || !Array.isArray(operations) || !operations.includes('verify')) return NONE;
  const all = ofType(key);
  return alg === undefined ? all : all.filter((each) => each === alg);
}

function ofType({ kty, crv }: Readonly<Record<string, unknown>>): readonly string[] {
  if (kty === 'RSA') return RSA;
  if (kty === 'EC') return OF_CURVE.get(crv) ?? NONE;
  return kty === 'OKP' && crv === 'Ed25519' ? allNames(['EdDSA']) : NONE;
}
