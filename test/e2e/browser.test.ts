/**
 * What a real browser sees through the gateway: a page with its fetch, an event stream, a WebSocket, its session, and a
 * page of ours where the service can't answer. Debian's Chromium, driven by playwright-core.
 */
import type { ServerResponse } from 'node:http';

import { chromium } from 'playwright-core';
import type { Browser, Page } from 'playwright-core';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { WebSocketServer } from 'ws';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { findExecutable } from '../harness/executable.ts';
import { eventually, freePorts } from '../harness/ports.ts';
import { startService } from '../integration/path-fixture.ts';
import type { Listening } from '../integration/path-fixture.ts';
import { makeCertificate } from '../unit/config/certificate.ts';

const FOLDER = mkdtempSync(join(tmpdir(), 'spillway-browser-'));
const INDEX = '<!doctype html><html lang="en"><title>Shop</title><h1>Welcome</h1></html>';

const origins: Listening[] = [];
const sockets = new WebSocketServer({ noServer: true, handleProtocols: () => 'chat.v2' });
let streams: ServerResponse[] = [];
let gateway: Gateway;
let browser: Browser;
let page: Page;
let securePort = 0;

async function startShop(name: string): Promise<Listening> {
  const origin = await startService((request, response) => {
    switch (request.url ?? '') {
      case '/':
        response.writeHead(200, { 'content-type': 'text/html' }).end(INDEX);
        return;
      case '/who':
        response.end(name);
        return;
      case '/events':
        response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
        streams.push(response);
        return;
      default:
        request.pipe(response);
    }
  });
  origin.server.on('upgrade', (request, socket, head) => {
    sockets.handleUpgrade(request, socket, head, (client) => {
      client.on('message', (message, binary) => client.send(message, { binary }));
    });
  });
  return origin;
}

beforeAll(async () => {
  origins.push(await startShop('one'), await startShop('two'));
  makeCertificate(FOLDER, 'localhost');
  [securePort = 0] = await freePorts(1);
  gateway = await startGateway(`
listeners:
  - { port: __PORT__, host: 127.0.0.1 }
  - port: ${securePort}
    host: 127.0.0.1
    tls: { certificates: [{ cert: ${FOLDER}/localhost.crt, key: ${FOLDER}/localhost.key }] }
workers: 1
shedding: { mode: off }
services:
  shop:
    instances: [${origins.map(({ url }) => url).join(', ')}]
    sla: 10s
    affinity: { cookie: spillway }
    readiness: { path: /ready, interval: 600s, timeout: 10s }
  gone:
    instances: [http://127.0.0.1:1]
    breaker: { consecutive: 1 }
routes:
  - { path: /, service: shop }
  - { path: /gone, service: gone }
`);
  browser = await chromium.launch({
    executablePath: findExecutable('chromium'),
    // Without a sandbox of its own: tests run as root, and in containers that have none to give.
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'],
  });
  page = await browser.newPage({ ignoreHTTPSErrors: true });
});

afterAll(async () => {
  await browser.close();
  for (const stream of streams) stream.destroy();
  streams = [];
  sockets.close();
  await gateway[Symbol.asyncDispose]();
  for (const origin of origins) await origin[Symbol.asyncDispose]();
  rmSync(FOLDER, { recursive: true, force: true });
});

/** Runs the body of an asynchronous function in a page; as text, since it is not written in our types. */
async function run(script: string, where = page): Promise<unknown> {
  return await where.evaluate(`(async () => { ${script} })()`);
}

const home = (): string => `http://127.0.0.1:${gateway.port}`;

test('a page, and what its script fetches', async () => {
  await page.goto(home());
  expect(await page.textContent('h1')).toBe('Welcome');
  const body = 'x'.repeat(100_000);
  const echoed = await run(
    `const response = await fetch('/echo', { method: 'POST', body: ${JSON.stringify(body)} });
     return [response.status, response.headers.get('x-request-id') !== null, await response.text()];`,
  );
  expect(echoed).toEqual([200, true, body]);
});

test('an event source has its first event before the second is written', async () => {
  await page.goto(home());
  await run(
    `window.seen = [];
     new EventSource('/events').addEventListener('message', (event) => window.seen.push(event.data));`,
  );
  const seen = async (): Promise<unknown> => await run('return window.seen;');
  await eventually('the stream is open', () => streams.length === 1);
  streams[0]?.write('data: first\n\n');
  await eventually('the first event arrived', async () => JSON.stringify(await seen()) === '["first"]');
  streams[0]?.write('data: second\n\n');
  await eventually('the second too', async () => JSON.stringify(await seen()) === '["first","second"]');
});

test.each(['http', 'https'])(
  'a WebSocket of a page over %s echoes text and bytes, and closes in order',
  async (scheme) => {
    await page.goto(scheme === 'http' ? home() : `https://127.0.0.1:${securePort}/`);
    const told = await run(
      `return await new Promise((resolve) => {
       const socket = new WebSocket(location.origin.replace('http', 'ws') + '/ws', ['chat.v1', 'chat.v2']);
       socket.binaryType = 'arraybuffer';
       const got = [];
       socket.onopen = () => {
         socket.send('grüße');
         socket.send(new Uint8Array(1_000_000).fill(7));
       };
       socket.onmessage = ({ data }) => {
         got.push(typeof data === 'string' ? data : new Uint8Array(data).filter((each) => each === 7).length);
         if (got.length === 2) socket.close(4000, 'enough');
       };
       socket.onclose = ({ code, wasClean }) => resolve([socket.protocol, ...got, code, wasClean]);
     });`,
    );
    expect(told).toEqual(['chat.v2', 'grüße', 1_000_000, 4000, true]);
  },
);

test('a session keeps its instance', async () => {
  const context = await browser.newContext();
  const visitor = await context.newPage();
  await visitor.goto(home());
  const names = await run(
    `const all = [];
     for (let turn = 0; turn < 20; turn++) all.push(await (await fetch('/who')).text());
     return all;`,
    visitor,
  );
  expect([...new Set(names as string[])]).toEqual([expect.stringMatching(/^(one|two)$/)]);
  const [cookie] = await context.cookies();
  expect(cookie).toMatchObject({ name: 'spillway', httpOnly: true, path: '/' });
  await context.close();
});

test('a service that cannot answer is a page to read, and a problem to a script', async () => {
  const answer = await page.goto(`${home()}/gone`);
  expect([answer?.status(), answer?.headers()['content-type']]).toEqual([
    expect.toSatisfy((status: number) => status === 502 || status === 503),
    'text/html; charset=utf-8',
  ]);
  await eventually('the service has no ready instance', async () => {
    return (await page.goto(`${home()}/gone`))?.status() === 503;
  });
  expect(await page.title()).toMatch(/^503 /);
  expect(await page.innerText('main')).toMatch(/SPW_\w+/);
  // Readable: nothing hidden, nothing outside the window of a telephone.
  await page.setViewportSize({ width: 320, height: 640 });
  expect(await run('return document.documentElement.scrollWidth;')).toBeLessThanOrEqual(320);
  await page.emulateMedia({ colorScheme: 'dark' });
  const colours = await run(
    'const { color, backgroundColor } = getComputedStyle(document.body); return [color, backgroundColor];',
  );
  expect(colours).toEqual(['rgb(232, 234, 237)', 'rgb(23, 25, 28)']);
  const problem = await run(
    `const { status, headers } = await fetch('/gone');
     return [status, headers.get('content-type'), headers.get('retry-after')];`,
  );
  expect(problem).toEqual([503, 'application/problem+json', expect.stringMatching(/^\d+$/)]);
});

test('over TLS the browser speaks HTTP/2', async () => {
  await page.goto(`https://127.0.0.1:${securePort}/`);
  const protocols = await run(
    `await (await fetch('/who')).text();
     return ['navigation', 'resource'].map((type) => performance.getEntriesByType(type).at(-1).nextHopProtocol);`,
  );
  expect(protocols).toEqual(['h2', 'h2']);
});
