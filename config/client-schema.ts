/**
 * Who is calling: `clients` (limits.md §2). The chain of identities is tried in order; the keys come from the
 * configuration and from a file of their own, so that they can be renewed apart from it.
 */
import { z } from 'zod';
import { count, headerName, name, network, path, secret, text, token, word } from './units-schema.ts';

export const jwt = z.strictObject({
  header: headerName().prefault('authorization').describe('where the token stands, with or without `Bearer`'),
  jwksUrl: z.url().nullable().prefault(null).describe('where the public keys are fetched, in the background'),
  keys: z
    .array(z.record(z.string(), z.json()).meta({ 'x-type': 'JWK' }))
    .nullable()
    .prefault(null)
    .describe('public keys (JWK), instead of `jwksUrl`'),
  issuer: text().describe('required value of `iss`'),
  audience: text().describe('required value of `aud`'),
  algorithms: z
    .array(word(['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA']))
    .min(1)
    .describe('accepted signatures; `none` and shared secrets never are'),
  claim: text().prefault('sub').describe('the claim that names the client'),
  tierClaim: text()
    .nullable()
    .prefault(null)
    .describe(
      "the claim that names one of `tiers`; without it or with any other name the tier of the client's keys, else the default",
    ),
});

const identity = z
  .union([
    z.strictObject({ header: headerName().describe('the key stands in this header') }),
    z.strictObject({ cookie: token('a cookie name').describe('the key stands in this cookie') }),
    z.strictObject({
      ip: z
        .strictObject({
          ipv6Prefix: count(1, 128).prefault(64).describe('IPv6 addresses of one prefix are one client'),
        })
        .describe('the address names the client; always the last step of the chain'),
    }),
    z.strictObject({
      mtls: word(['subject']).describe('the subject of the client certificate names the client'),
    }),
    z.strictObject({ jwt: jwt.describe('a signed token names the client') }),
  ])
  .meta({ 'x-type': '`{ header }` `{ cookie }` `{ ip }` `{ mtls }` `{ jwt }`' });

/** A digest has one form; a plain key is what may stand in a header that is looked at (limits.md §2: 512 bytes). */
function checkKey(key: string, context: z.core.$RefinementCtx): void {
  const report = (message: string): void => context.addIssue({ code: 'custom', message });
  if (key === '') report('an empty key would let everybody in');
  else if (Buffer.byteLength(key) > 512) report('a key has at most 512 bytes');
  else if (key.startsWith('sha256:') && !/^sha256:[0-9a-fA-F]{64}$/.test(key)) {
    report('a digest is `sha256:` and 64 hex digits (printf %s KEY | sha256sum)');
  }
}

/** Whatever tokens and certificates may name, so that these have a tier, too: `CN=shop,O=Acme`, `auth0|17`. */
function clientName() {
  return z
    .string()
    .regex(/^(?!ip:)[!-~](?:[ -~]{0,254}[!-~])?$/, {
      error: 'not a client name: at most 256 printable ASCII characters, and never `ip:` and more',
    })
    .meta({ 'x-type': 'client name' });
}

/** One row of `clients.keys` or of the keys file. */
export const clientKey = z.strictObject({
  key: secret()
    .superRefine(checkKey)
    .optional()
    .describe(
      'the key as it is sent, or `sha256:` and 64 hex digits of its digest; left out, only tokens and certificates name the client',
    ),
  client: clientName().describe('who it belongs to; keys of one client share one quota'),
  tier: name().prefault('default').describe("the client's tier"),
});

export const clients = z.strictObject({
  identify: z
    .array(identity)
    .min(1)
    .prefault([{ header: 'x-api-key' }, { ip: { ipv6Prefix: 64 } }])
    .describe(
      'how a caller is recognised: the first entry that names a client wins; `ip` always ends the chain',
    ),
  allow: z.array(network()).prefault([]).describe('networks that are never limited'),
  deny: z.array(network()).prefault([]).describe('networks that are answered 403'),
  keys: z.array(clientKey).prefault([]).describe('known keys, their clients and tiers'),
  keysFile: path().nullable().prefault(null).describe('a YAML file with more rows like those of `keys`'),
  unknownKeys: word(['reject', 'defaultTier'])
    .prefault('reject')
    .describe('a key nobody has: 401, or the chain goes on'),
  defaultTier: name().prefault('default').describe('the tier of callers without a key'),
});
