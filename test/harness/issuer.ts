/**
 * An issuer of tokens for tests: key pairs, tokens signed with them, and the address where it publishes the public ones,
 * which can be slow, broken, endless or gone.
 */
import { randomUUID } from 'node:crypto';
import type { RequestListener } from 'node:http';
import { exportJWK, generateKeyPair, SignJWT, type JWK } from 'jose';
import { startListener } from './origin.ts';

export const ISSUER = 'https://issuer.test/';
export const AUDIENCE = 'shop-api';

export interface IssuerKey {
  readonly alg: string;
  readonly kid: string;
  /** The public half, as it is published. */
  readonly jwk: JWK;
  /** A token that is good for five minutes, unless its claims say otherwise. */
  readonly sign: (
    claims?: Readonly<Record<string, unknown>>,
    header?: Readonly<Record<string, unknown>>,
  ) => Promise<string>;
}

export async function makeKey(alg: string, kid: string): Promise<IssuerKey> {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
  const jwk = { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' };
  return {
    alg,
    kid,
    jwk,
    sign: async (claims = {}, header = {}) => {
      const now = Math.floor(Date.now() / 1000);
      const all = {
        iss: ISSUER,
        aud: AUDIENCE,
        sub: 'alice',
        iat: now,
        exp: now + 300,
        jti: randomUUID(),
        ...claims,
      };
      return await new SignJWT(all).setProtectedHeader({ alg, kid, ...header }).sign(privateKey);
    },
  };
}

/** A token with any parts, signed by nobody. */
export function forge(header: unknown, claims: unknown, signature = 'c2lnbmF0dXJl'): string {
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part(header)}.${part(claims)}.${signature}`;
}

export interface Publisher extends AsyncDisposable {
  readonly url: string;
  /** How often the set was asked for. */
  readonly fetches: () => number;
  /** What is published from now on. */
  readonly publish: (...keys: readonly IssuerKey[]) => void;
  /** Answers otherwise from now on; undefined: with the set again. */
  readonly answer: (listener: RequestListener | undefined) => void;
}

export async function startPublisher(...first: readonly IssuerKey[]): Promise<Publisher> {
  let keys = first;
  let fetches = 0;
  let otherwise: RequestListener | undefined;
  const server = await startListener((request, response) => {
    fetches++;
    if (otherwise !== undefined) {
      otherwise(request, response);
      return;
    }
    const body = JSON.stringify({ keys: keys.map(({ jwk }) => jwk) });
    response.writeHead(200, { 'content-type': 'application/json' }).end(body);
  });
  return {
    url: `${server.url}/jwks.json`,
    fetches: () => fetches,
    publish: (...next) => {
      keys = next;
    },
    answer: (listener) => {
      otherwise = listener;
    },
    [Symbol.asyncDispose]: async () => {
      await server[Symbol.asyncDispose]();
    },
  };
}
