/** A certificate's subject on one line, as the name of a client. */
import { expect, test } from 'vitest';
import { oneLineName } from '../../../src/clients/subject.ts';

test('the narrowest part stands first, and none is nobody', () => {
  expect(oneLineName('C=DE\nO=Acme\nCN=shop')).toBe('CN=shop,O=Acme,C=DE');
  expect(oneLineName('CN=shop\n')).toBe('CN=shop');
  expect(oneLineName('')).toBe('');
});

test('a subject of 256 characters is a name, a longer one names nobody and is not cut short', () => {
  const name = `CN=${'x'.repeat(253)}`;
  expect(oneLineName(name)).toBe(name);
  expect(oneLineName(`${name}y`)).toBe('');
  expect(oneLineName(`O=Acme\n${name}`)).toBe('');
});
