/**
 * A browser that opens a page and is refused sees a page: the built-in one, or the operator's own. A file that cannot be
 * shown is found before it is needed, and a reload with such a file leaves the page as it was.
 */
import { spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { afterAll, beforeAll, expect, test } from 'vitest';

import { PROJECT_ROOT, startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { ask, expectProblem, valueOf } from './path-fixture.ts';

const BROWSER = { accept: 'text/html,application/xhtml+xml,*/*;q=0.8', 'sec-fetch-mode': 'navigate' };
const CONFIG = `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
services: { shop: { instances: [http://127.0.0.1:1] } }
routes: [{ path: /shop, service: shop }]
`;

let gateway: Gateway;
let page = '';

beforeAll(async () => {
  gateway = await startGateway(CONFIG);
  page = join(dirname(gateway.configFile), 'page.html');
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
});

async function shown(headers: Record<string, string> = BROWSER): Promise<string> {
  const answer = await ask(gateway.port, { path: '/nowhere', headers });
  expect(answer.status).toBe(404);
  expect(valueOf(answer.rawHeaders, 'content-type')).toBe('text/html; charset=utf-8');
  expect(valueOf(answer.rawHeaders, 'content-length')).toBe(String(answer.body.length));
  expect(valueOf(answer.rawHeaders, 'cache-control')).toBe('no-store');
  expect(answer.body.toString()).toContain(valueOf(answer.rawHeaders, 'x-request-id'));
  return answer.body.toString();
}

const reload = async (): Promise<number> => (await gateway.admin('/v1/reload', { method: 'POST' })).status;

test('the built-in page is for a navigation, the problem for everybody else', async () => {
  expect(await shown()).toContain('<code>SPW_NO_ROUTE</code>');
  for (const headers of [
    {},
    { accept: '*/*' },
    { accept: 'application/json' },
    // A script of the page asks for HTML: it is no navigation.
    { accept: 'text/html,*/*', 'sec-fetch-mode': 'cors' },
  ])
    expectProblem(await ask(gateway.port, { path: '/nowhere', headers }), 404, 'SPW_NO_ROUTE');
});

test('a page of one’s own comes with a reload, and a broken one changes nothing', async () => {
  await writeFile(page, '<!doctype html><p>Ünser Laden: {{status}} {{code}} {{requestId}}</p>');
  await gateway.rewrite(`${CONFIG}errorPage: page.html\n`);
  expect(await reload()).toBe(200);
  expect(await shown()).toMatch(/^<!doctype html><p>Ünser Laden: 404 SPW_NO_ROUTE \S+<\/p>$/);
  // Operators see which file it is, not all of its text.
  expect((await gateway.admin('/v1/config')).body).toMatchObject({ errorPage: page });

  await writeFile(page, '<p>{{nonsense}}</p>');
  expect(await reload()).toBe(409);
  expect(await shown()).toContain('Ünser Laden');

  // Its text alone has changed: that is a change of the configuration too.
  await writeFile(page, '<p>closed {{requestId}}</p>');
  expect(await reload()).toBe(200);
  expect(await shown()).toContain('<p>closed ');

  await gateway.rewrite(CONFIG);
  expect(await reload()).toBe(200);
  expect(await shown()).toContain('<code>SPW_NO_ROUTE</code>');
});

test.each([
  ['that is not there', undefined, /page\.html|no such file/],
  ['with a placeholder that does not exist', '<p>{{requestID}}</p>', /\{\{requestID\}\}.*there are/],
])('a page %s is a fault that `check` finds', async (_, text, wanted) => {
  const file = join(dirname(gateway.configFile), text === undefined ? 'absent.html' : 'page.html');
  if (text !== undefined) await writeFile(file, text);
  const config = join(dirname(gateway.configFile), 'checked.yaml');
  await writeFile(config, `${CONFIG.replace('__PORT__', '8080')}errorPage: ${file}\n`);
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [join(PROJECT_ROOT, 'src', 'main.ts'), 'check', '-c', config],
    { encoding: 'utf8' },
  );
  expect([status, stdout + stderr]).toEqual([3, expect.stringMatching(wanted)]);
  expect(stdout + stderr).toMatch(/checked\.yaml:6:12: error:/);
});
