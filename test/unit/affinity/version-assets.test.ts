/** Which paths are assets, by patterns in which a star stands for anything. */
import { expect, test } from 'vitest';

import { AssetPaths } from '../../../src/affinity/asset-paths.ts';

test.each([
  ['/assets/*', '/assets/app-1.js', true],
  ['/assets/*', '/assets/', true],
  ['/assets/*', '/assets', false],
  ['/assets/*', '/x/assets/app.js', false],
  ['/assets/*', '/assets/a/b/c.css', true],
  ['/*.js', '/a/b.js', true],
  ['/*.js', '/a/b.json', false],
  ['/static/*/chunks/*.js', '/static/1/chunks/a.js', true],
  ['/static/*/chunks/*.js', '/static/chunks/a.js', false],
  // The texts between the stars may not overlap.
  ['/a*ab*b', '/aab', false],
  ['/a*ab*b', '/aabb', true],
  ['/a*a', '/a', false],
  ['/favicon.ico', '/favicon.ico', true],
  ['/favicon.ico', '/favicon.ico2', false],
  ['/*', '/', true],
])('the pattern %s and the path %s: %s', (pattern, path, is) => {
  expect(new AssetPaths([pattern]).has(path)).toBe(is);
});

test('one of several patterns is enough, and none makes no assets', () => {
  expect(new AssetPaths(['/a/*', '/b/*']).has('/b/x')).toBe(true);
  expect(new AssetPaths([]).has('/b/x')).toBe(false);
});
