import { expect, test } from 'vitest';

import { callerKey } from '../../../src/affinity/caller-key.ts';
import { markOf } from '../../../src/affinity/rendezvous.ts';

function facts(fields: Readonly<Record<string, string>>): { lookup(name: string): string | undefined } {
  return { lookup: (name) => fields[name] };
}

function bearer(payload: string): { lookup(name: string): string | undefined } {
  return facts({ authorization: `Bearer e30.${Buffer.from(payload).toString('base64url')}.sig` });
}

test('a field is the key as it stands; an empty or missing one is none', () => {
  expect(callerKey({ header: 'x-user' }, facts({ 'x-user': 'ann' }))).toBe(markOf('ann'));
  expect(callerKey({ header: 'x-user' }, facts({ 'x-user': '' }))).toBe(-1);
  expect(callerKey({ header: 'x-user' }, facts({}))).toBe(-1);
});

test('a claim that is a text or a number is the key', () => {
  expect(callerKey({ jwt: 'sub' }, bearer('{"sub":"ann"}'))).toBe(markOf('ann'));
  expect(callerKey({ jwt: 'tenant' }, bearer('{"tenant":7}'))).toBe(markOf('7'));
});

test.each([
  ['no token', facts({})],
  ['another scheme', facts({ authorization: 'Basic YTpi' })],
  ['no such claim', bearer('{"iss":"x"}')],
  ['a claim that every object has', bearer('{}')],
  ['a claim that is a list', bearer('{"sub":["a"]}')],
  ['no JSON', bearer('sub=ann')],
  ['no object', bearer('null')],
  ['an opaque token', facts({ authorization: 'Bearer abcdef' })],
  ['a token of nine thousand characters', bearer(`{"sub":"${'a'.repeat(9000)}"}`)],
])('%s names nobody', (_, given) => {
  expect(callerKey({ jwt: _.includes('every object') ? 'toString' : 'sub' }, given)).toBe(-1);
});
