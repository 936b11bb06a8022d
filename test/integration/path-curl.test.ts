/**
 * What curl, somebody else's reading of HTTP, makes of what the gateway passes on: invited uploads, interim answers,
 * trailers, answers without a body, event streams.
 */
import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

import { afterAll, beforeAll, expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { startService } from './path-fixture.ts';
import type { Listening } from './path-fixture.ts';

let origin: Listening;
let gateway: Gateway;
let stream: ServerResponse | undefined;
let encodings: (string | undefined)[] = [];

beforeAll(async () => {
  origin = await startService((request, response) => {
    switch (request.url ?? '') {
      case '/hints':
        response.writeEarlyHints({ link: '</a.css>; rel=preload; as=style' });
        response.end('after the hints');
        return;
      case '/trailers':
        response.writeHead(200, { trailer: 'x-sum' });
        response.write('body');
        response.addTrailers({ 'x-sum': '42' });
        response.end();
        return;
      case '/nothing':
        response.writeHead(204).end();
        return;
      case '/page':
        if (request.headers['if-none-match'] === '"v1"') response.writeHead(304, { etag: '"v1"' }).end();
        else response.writeHead(200, { etag: '"v1"', 'content-length': 1234 }).end('x'.repeat(1234));
        return;
      case '/events':
        encodings.push(request.headers['accept-encoding']);
        response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
        stream = response;
        return;
      default: {
        const hash = createHash('sha256');
        request.on('data', (chunk: Buffer) => hash.update(chunk));
        request.once('end', () => response.end(`${request.headers.expect ?? 'none'} ${hash.digest('hex')}`));
      }
    }
  });
  gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
shedding: { mode: off }
services:
  shop: { instances: [${origin.url}], sla: 10s, timeout: { idle: 700ms }, readiness: { path: /ready, interval: 600s, timeout: 10s } }
routes: [{ path: /, service: shop }]
`);
});

afterAll(async () => {
  stream?.destroy();
  encodings = [];
  await gateway[Symbol.asyncDispose]();
  await origin[Symbol.asyncDispose]();
});

async function curl(path: string, ...options: string[]): Promise<{ stdout: string; stderr: string }> {
  const url = `http://127.0.0.1:${gateway.port}${path}`;
  return await promisify(execFile)('curl', ['-sS', '--max-time', '20', ...options, url]);
}

test('an upload waits for its invitation and arrives whole', async () => {
  const file = join(dirname(gateway.configFile), 'upload.bin');
  const body = Buffer.alloc(3 * 1024 * 1024, 'spillway');
  await writeFile(file, body);
  const { stdout, stderr } = await curl(
    '/up',
    '-v',
    '-H',
    'Expect: 100-continue',
    '--data-binary',
    `@${file}`,
  );
  expect(stderr).toMatch(/> Expect: 100-continue/);
  expect(stderr).toMatch(/< HTTP\/1\.1 100 Continue/);
  expect(stderr.match(/^< HTTP\/1\.1 /gm)).toHaveLength(2);
  expect(stdout).toBe(`none ${createHash('sha256').update(body).digest('hex')}`);
});

test('early hints come before the answer', async () => {
  const { stdout, stderr } = await curl('/hints', '-v');
  expect(stderr).toMatch(/< HTTP\/1\.1 103 Early Hints\r?\n< link: <\/a\.css>[^]*< HTTP\/1\.1 200 OK/i);
  expect(stdout).toBe('after the hints');
});

test('trailers reach whoever says that he reads them', async () => {
  const asked = await curl('/trailers', '--raw', '-i', '-H', 'TE: trailers');
  expect(asked.stdout).toMatch(/\r\n0\r\nx-sum: 42\r\n\r\n$/i);
  const unasked = await curl('/trailers', '--raw', '-i');
  expect(unasked.stdout).toMatch(/\r\n0\r\n\r\n$/);
});

test('HEAD, 204 and 304 have no body, and nobody waits for one', async () => {
  const form = [
    '-o',
    '/dev/null',
    '-w',
    '%{http_code} %{size_download} %header{content-length} %header{etag}',
  ];
  expect((await curl('/page', '-I', ...form)).stdout).toBe('200 0 1234 "v1"');
  expect((await curl('/page', '-H', 'If-None-Match: "v1"', ...form)).stdout).toBe('304 0  "v1"');
  expect((await curl('/nothing', ...form)).stdout).toBe('204 0  ');
  // All on one connection: a body too much or too little would spoil the next answer.
  const url = `http://127.0.0.1:${gateway.port}`;
  const twice = ['-o', '/dev/null', '-o', '/dev/null', '-w', '%{num_connects} '];
  const { stdout } = await curl('/page', '-I', `${url}/page`, ...twice);
  expect(stdout.trim().split(' ')).toEqual(['1', '0']);
});

test('an event stream outlives `timeout.idle`, each event comes by itself, uncompressed', async () => {
  const running = spawn('curl', ['-sSN', '-i', '--compressed', `http://127.0.0.1:${gateway.port}/events`]);
  let text = '';
  running.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
  });
  await eventually('the stream is open', () => stream !== undefined);
  const startedMs = performance.now();
  await eventually('longer than idle', () => performance.now() - startedMs > 1500);
  for (const word of ['one', 'two']) {
    stream?.write(`data: ${word}\n\n`);
    await eventually(`${word} came`, () => text.endsWith(`data: ${word}\n\n`));
  }
  expect(encodings[0]).toMatch(/gzip/);
  expect(text.toLowerCase()).not.toContain('content-encoding');
  running.kill();
});
