/** The versions below which a known hole is open (forwarding.md §4, §5). */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

function installed(name: string): string {
  const file = new URL(`../../node_modules/${name}/package.json`, import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

function numbers(version: string): readonly [number, number, number] {
  const [major = 0, minor = 0, patch = 0] = version.split(/[.+-]/).map(Number);
  return [major, minor, patch];
}

function atLeast(version: string, floor: string): boolean {
  const is = numbers(version);
  const least = numbers(floor);
  for (const [index, part] of is.entries()) {
    const wanted = least[index] ?? 0;
    if (part !== wanted) return part > wanted;
  }
  return true;
}

test('versions are compared as numbers', () => {
  expect(atLeast('5.12.8', '5.8.5')).toBe(true);
  expect(atLeast('5.8.4', '5.8.5')).toBe(false);
  expect(atLeast('4.99.99', '5.0.0')).toBe(false);
});

test.each([
  ['fastify', '5.8.5'],
  ['@fastify/http-proxy', '11.6.2'],
  ['@fastify/reply-from', '12.6.5'],
  ['undici', '8.12.4'],
  ['@fastify/reply-from/node_modules/undici', '7.30.2'],
])('%s is at least %s', (name, floor) => {
  expect([installed(name), atLeast(installed(name), floor)]).toEqual([installed(name), true]);
});

test.each([
  ['node', '24.18.1'],
  ['llhttp', '9.4.0'],
  ['nghttp2', '1.70.0'],
])('%s is at least %s', (name, floor) => {
  const version = process.versions[name] ?? '0';
  expect([version, atLeast(version, floor)]).toEqual([version, true]);
});
