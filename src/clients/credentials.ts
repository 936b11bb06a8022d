/**
 * What a request shows of who is calling: the key in a header or a cookie, the token in a header.
 *
 * Nothing is judged here but whether it can be read in one way only: what is there twice or too long is nobody's, and not
 * absent, since the chain would go on to something weaker.
 */
import { cookieEnd, cookieValue, findCookie } from '../kernel/cookie.ts';
import { NO_TOKEN, tokenIn } from './token.ts';

/** Half: long signed keys stop working; double: twice the bytes hashed for each forged key. */
const MAX_KEY_BYTES = 512;

/** Stands where a key is expected and cannot be anybody's. Never in the map of keys. */
export const UNUSABLE = '';

export interface CredentialFacts {
  /** The value of a header (lower-case name), undefined when absent. */
  lookup(name: string): string | undefined;
  /** Whether several lines of it came. */
  isRepeated(name: string): boolean;
  /** All its lines, joined by `; `. */
  readonly cookie: string;
}

/** The key in a header; undefined when there is none. */
export function headerKey(facts: CredentialFacts, name: string): string | undefined {
  const value = fieldOf(facts, name);
  if (value === undefined) return undefined;
  return value.length > MAX_KEY_BYTES || facts.isRepeated(name) ? UNUSABLE : value;
}

/** The key in a cookie; undefined when there is none. */
export function cookieKey({ cookie }: CredentialFacts, name: string): string | undefined {
  const start = findCookie(cookie, name, 0);
  if (start < 0) return undefined;
  const twice = findCookie(cookie, name, cookieEnd(cookie, start)) >= 0;
  const value = twice ? UNUSABLE : cookieValue(cookie, start);
  return value.length > MAX_KEY_BYTES ? UNUSABLE : value;
}

/** The token in a header; undefined when there is none, `NO_TOKEN` for what cannot be one. */
export function tokenOf(facts: CredentialFacts, name: string): string | undefined {
  const value = fieldOf(facts, name);
  if (value === undefined) return undefined;
  return facts.isRepeated(name) ? NO_TOKEN : tokenIn(value);
}

function fieldOf(facts: CredentialFacts, name: string): string | undefined {
  if (name === 'cookie') return facts.cookie === '' ? undefined : facts.cookie;
  return facts.lookup(name);
}
