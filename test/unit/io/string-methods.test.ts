import { createRequire } from 'node:module';
import { setFlagsFromString } from 'node:v8';
import { runInThisContext } from 'node:vm';
import { expect, it } from 'vitest';
import { restoreStringMethods } from '../../../src/io/string-methods.ts';

setFlagsFromString('--allow-natives-syntax');
const isFast = runInThisContext('() => %HasFastProperties(String.prototype)') as () => boolean;

it('strings have fast methods again after a module has derived a class from them', () => {
  createRequire(import.meta.url)('ioredis');
  restoreStringMethods();
  expect(isFast()).toBe(true);
});
