import { execFileSync } from 'node:child_process';
import { expect, it } from 'vitest';

/** What a process has loaded once it imported a worker's composition root: Node's own modules, then packages. */
const LOADED = `
  await import('./src/gateway.ts');
  const { createRequire } = await import('node:module');
  const packages = Object.keys(createRequire(import.meta.url).cache);
  console.log(JSON.stringify([process.moduleLoadList, packages]));
`;

it("a worker's start loads no HTTP client that it does not use", () => {
  const printed = execFileSync(process.execPath, ['--input-type=module', '--eval', LOADED], {
    cwd: new URL('../../..', import.meta.url),
    encoding: 'utf8',
  });
  const [own, packages] = JSON.parse(printed) as readonly [readonly string[], readonly string[]];
  // That the lists are read at all.
  expect(own).toContain('NativeModule http');
  expect(packages.some((path) => path.includes('/fastify/'))).toBe(true);
  expect(own).not.toContain('NativeModule internal/deps/undici/undici');
  expect(packages.filter((path) => /\/(?:undici|reply-from|http-proxy|ws)\//.test(path))).toEqual([]);
});
