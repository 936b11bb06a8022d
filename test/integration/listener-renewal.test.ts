/**
 * Certificates renewed on disk while traffic runs: what is shown to whom, what is told, and that nobody notices.
 */
import { copyFile, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, afterEach, expect, test } from 'vitest';
import { issueCertificate, makeAuthority, type CertificateFiles } from '../harness/certificates.ts';
import { startGateway, type Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { begunSession, pem, request, secure, shownName } from './listener-tls-fixture.ts';
import { parseExposition } from './metrics-text.ts';
import { startService, type Listening } from './path-fixture.ts';

let folder = '';
let old: CertificateFiles;
let renewed: CertificateFiles;
let live: CertificateFiles;
let origin: Listening;
let gateway: Gateway;
let trusts: { ca: string; servername: string };

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'spillway-renewal-'));
  const authority = makeAuthority(folder);
  old = issueCertificate(folder, authority, 'old', ['a.test']);
  renewed = issueCertificate(folder, authority, 'renewed', ['a.test']);
  live = { cert: join(folder, 'live.crt'), key: join(folder, 'live.key') };
  trusts = { ca: pem(authority.cert), servername: 'a.test' };
  origin = await startService((_, response) => {
    response.writeHead(200, { 'content-length': 2 }).end('ok');
  });
});

afterAll(async () => {
  await origin[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

beforeEach(async () => {
  await copyFile(old.cert, live.cert);
  await copyFile(old.key, live.key);
  gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1, tls: { certificates: [{ cert: ${live.cert}, key: ${live.key} }] } }]
workers: 2
services: { shop: { instances: [${origin.url}], sla: 5s, readiness: { path: /ready, interval: 600s, timeout: 10s } } }
routes: [{ path: /, service: shop }]
`);
});

afterEach(async () => {
  await gateway[Symbol.asyncDispose]();
});

/** As certificate managers do: each file is there as a whole, or not yet. */
async function install({ cert, key }: CertificateFiles): Promise<void> {
  for (const [from, to] of [
    [cert, live.cert],
    [key, live.key],
  ] as const) {
    await copyFile(from, `${to}.new`);
    await rename(`${to}.new`, to);
  }
}

async function reloads(result: 'ok' | 'refused'): Promise<number> {
  const { body } = await gateway.admin('/metrics');
  return parseExposition(String(body)).value('spillway_tls_reloads_total', { result }) ?? 0;
}

const linesOf = (message: string): number => gateway.logs().split(message).length - 1;

/** Every worker shows this certificate: so often in a row that none can have been missed. */
async function untilShown(name: string): Promise<void> {
  let row = 0;
  await eventually(`${name} is shown by all workers`, async () => {
    row = (await shownName(gateway.port, trusts)) === name ? row + 1 : 0;
    return row >= 30;
  });
}

test('a renewed pair is shown to new connections by all workers, and open ones go on', async () => {
  const open = await secure(gateway.port, trusts);
  expect(open.getPeerCertificate().subject.CN).toBe('old');
  expect((await request(open, true)).status).toBe(200);
  await install(renewed);
  await untilShown('renewed');
  expect((await request(open)).status).toBe(200);
  expect([await reloads('ok'), await reloads('refused')]).toEqual([1, 0]);
  expect(linesOf('certificate reloaded')).toBe(1);
});

test('a session begun before the renewal is resumed after it', async () => {
  const { session } = await begunSession(gateway.port, trusts);
  await install(renewed);
  await untilShown('renewed');
  const again = await secure(gateway.port, { ...trusts, session });
  expect(again.isSessionReused()).toBe(true);
  expect((await request(again)).status).toBe(200);
});

test('a certificate broken on disk changes nothing, also for a worker that starts then', async () => {
  await writeFile(live.cert, pem(renewed.cert).slice(0, 300));
  await eventually('the broken certificate is counted', async () => (await reloads('refused')) === 1);
  expect(await shownName(gateway.port, trusts)).toBe('old');
  for (const pid of gateway.workerPids()) {
    process.kill(pid, 'SIGKILL');
    await eventually('another worker listens', async () => {
      const { body } = await gateway.admin('/readyz?verbose');
      return JSON.stringify(body).includes('2 of 2 listen') && !gateway.workerPids().includes(pid);
    });
  }
  await untilShown('old');
  const { status } = await gateway.admin('/v1/reload', { method: 'POST' });
  expect(status).toBe(409);
  expect(await shownName(gateway.port, trusts)).toBe('old');
  expect([await reloads('ok'), await reloads('refused')]).toEqual([0, 1]);
  expect(linesOf('certificate not reloaded')).toBe(1);
  expect(gateway.logs()).not.toContain('PRIVATE KEY');
  await install(renewed);
  await untilShown('renewed');
  expect(await reloads('ok')).toBe(1);
});

test("an operator's reload takes renewed files at once", async () => {
  await install(renewed);
  const { status } = await gateway.admin('/v1/reload', { method: 'POST' });
  expect(status).toBe(200);
  await untilShown('renewed');
});

test('renewals and reloads under load refuse nobody and reset nobody', async () => {
  const ended = new AbortController();
  const failures: string[] = [];
  let served = 0;
  const callers = Array.from({ length: 4 }, async (_, index) => {
    const kept = index % 2 === 0;
    while (!ended.signal.aborted) {
      try {
        const socket = await secure(gateway.port, trusts);
        // Some connections are kept: a few requests each.
        for (let left = kept ? 5 : 1; left > 0; left--) {
          const { status, text } = await request(socket, left > 1);
          if (status === 200) served++;
          else failures.push(`status ${status}`);
          if (/^connection: close/im.test(text)) break;
        }
        socket.destroy();
      } catch (error) {
        failures.push(String(error));
      }
    }
  });
  let pair = old;
  for (let round = 1; round <= 4; round++) {
    pair = pair === old ? renewed : old;
    await install(pair);
    await eventually('the renewal is taken', async () => (await reloads('ok')) >= round);
    if (round % 2 === 0) await gateway.admin('/v1/reload', { method: 'POST' });
    await pause(50);
  }
  ended.abort();
  await Promise.all(callers);
  expect(failures).toEqual([]);
  expect(served).toBeGreaterThan(100);
});
