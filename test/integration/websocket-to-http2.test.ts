/**
 * A WebSocket begins with an upgrade of HTTP/1.1. An instance that speaks HTTP/2 alone has no answer to it, and that is
 * neither its failure nor a reason to keep it from others: seven such handshakes once opened a breaker for everybody.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect, test } from 'vitest';

import { issueCertificate, makeAuthority } from '../harness/certificates.ts';
import { startGateway } from '../harness/gateway.ts';
import { echoStream, startH2Origin } from '../harness/h2-origin.ts';
import { headerOf, rawExchange } from '../harness/raw.ts';
import { ask, serviceOf, untilIdle } from './path-fixture.ts';

const HANDSHAKE = [
  'GET /socket HTTP/1.1',
  'Host: shop.test',
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  'Sec-WebSocket-Version: 13',
  '\r\n',
].join('\r\n');

test.each([
  ['by configuration', 'http', 'h2', 'WebSocket to a service of `protocol: h2`', 0],
  ['by its TLS', 'https', 'auto', 'WebSocket to an instance of HTTP/2 alone', 1],
] as const)(
  'an instance that speaks HTTP/2 alone, %s, gets no WebSocket: 501, and nothing is held against it',
  async (_name, scheme, protocol, reason, attempts) => {
    const folder = mkdtempSync(join(tmpdir(), 'spillway-ws-h2-'));
    const authority = makeAuthority(folder);
    const files = issueCertificate(folder, authority, 'shop', ['shop.test']);
    await using origin = await startH2Origin(echoStream, scheme === 'https' ? { tls: files } : {});
    const tls = scheme === 'https' ? `, tls: { ca: ${authority.cert}, serverName: shop.test }` : '';
    await using gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
services:
  shop: { instances: [${origin.url}], protocol: ${protocol}, readiness: { path: /ready }${tls} }
routes: [{ path: /, service: shop }]
`);
    let id = '';
    for (let count = 0; count < 12; count += 1) {
      const { answers } = await rawExchange(gateway.port, HANDSHAKE);
      expect(answers).toMatchObject([{ status: 501 }]);
      id = (answers[0] === undefined ? undefined : headerOf(answers[0], 'x-request-id')) ?? '';
      expect(JSON.parse(String(answers[0]?.body))).toMatchObject({
        code: 'SPW_NOT_IMPLEMENTED',
        detail: expect.stringContaining('a WebSocket to a service of HTTP/2'),
      });
    }
    expect((await ask(gateway.port)).status).toBe(200);
    const { breaker, instances } = await serviceOf(gateway, 'shop');
    expect([breaker.state, instances[0]?.state]).toEqual(['closed', 'ready']);
    await untilIdle(gateway, 'shop');
    // The handshakes themselves reached nobody.
    expect(origin.seen.map(({ headers }) => headers[':path'])).toEqual(['/']);
    const { body } = await gateway.admin(`/v1/explain/${id}`);
    expect(body).toMatchObject({ code: 'SPW_NOT_IMPLEMENTED', status: 501, reason, attempts });
    await expect
      .poll(() => gateway.logs(), { timeout: 10_000 })
      .toMatch(/"code":"SPW_NOT_IMPLEMENTED".*"path":"\/socket","status":501/);
    rmSync(folder, { recursive: true, force: true });
  },
);
