/** What a route may do to header fields, and what `check` says of changes that contradict each other or us. */
import { describe, expect, test } from 'vitest';
import { faults, load, loaded, REQUIRED, warnings } from './load-text.ts';

/** A route with these changes; they stand in line 4. */
const route = (more: string): string => REQUIRED.replace('service: shop }', `service: shop,\n  ${more} }`);
const changes = (request: string, response = ''): string =>
  route(`headers: { request: { ${request} }, response: { ${response} } }`);

/** Of what stands in line 4, from 1. */
const columnOf = (text: string, what: string): number => (text.split('\n')[3] ?? '').indexOf(what) + 1;

describe('a field that is set and removed', () => {
  test.each([
    ['request', changes('set: { X-A: b }, remove: [x-c, x-A]')],
    ['response', changes('', 'set: { X-A: b }, remove: [x-c, x-A]')],
  ])('in one %s is a warning at the name that changes nothing', (way, text) => {
    const [warning, ...others] = warnings(text);
    expect(others).toEqual([]);
    const words = `\`x-A\` is set as well, which replaces it: removing it changes nothing, at routes[0].headers.${way}.remove[1]`;
    expect(warning?.replace(/^\d+:\d+ /, '')).toBe(words);
    expect(warning).toMatch(new RegExp(`^4:${columnOf(text, 'x-A]')} `));
    expect(load(text).ok).toBe(true);
  });

  test('in different directions, or on different routes, is no contradiction', () => {
    expect(warnings(changes('set: { x-a: b }', 'remove: [x-a]'))).toEqual([]);
    const two = `${REQUIRED.trimEnd().slice(0, -1)}, { path: /b, service: shop, headers: { request: { remove: [x-a] } } }]\n`;
    expect(warnings(two.replace('path: /,', 'path: /, headers: { request: { set: { x-a: b } } },'))).toEqual(
      [],
    );
  });
});

test.each([
  ['headers.request.set', changes('set: { x-a: b, X-A: c }')],
  ['headers.response.set', changes('', 'set: { x-a: b, X-A: c }')],
  ['match.headers', route('match: { headers: { x-a: b, X-A: c } }')],
])('one field in two spellings under %s is a fault: only one would count', (place, text) => {
  const column = columnOf(text, 'X-A');
  expect(faults(text)).toEqual([
    `4:${column} the same field as \`x-a\`: names of fields have no case, at routes[0].${place}.X-A`,
  ]);
});

describe('what the gateway saw of a request', () => {
  const names = [
    'X-Forwarded-For',
    'x-forwarded-proto',
    'X-Forwarded-Host',
    'forwarded',
    'X-Real-IP',
    'traceparent',
  ];

  test.each(names)('%s cannot be set for an instance', (name) => {
    const text = changes(`set: { ${name}: x }`);
    const column = columnOf(text, name);
    expect(faults(text)).toEqual([
      expect.stringMatching(
        `^4:${column} \`${name.toLowerCase()}\` tells what the gateway saw and cannot be set`,
      ),
    ]);
  });

  test.each(names)('%s may be kept from it, and means nothing in an answer', (name) => {
    const text = changes(`remove: [${name}]`, `set: { ${name}: x }`);
    expect(loaded(text).routes[0]?.headers.request.remove).toEqual([name.toLowerCase()]);
    expect(warnings(text)).toEqual([]);
  });

  test('is not all that begins with X-Forwarded: what only the operator knows may be told', () => {
    const text = changes('set: { X-Forwarded-Prefix: /api, x-forwarded-port: "443" }');
    expect(Object.keys(loaded(text).routes[0]?.headers.request.set ?? {})).toEqual([
      'x-forwarded-prefix',
      'x-forwarded-port',
    ]);
  });
});
