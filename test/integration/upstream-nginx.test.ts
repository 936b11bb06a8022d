/**
 * nginx as an instance, over TLS with ALPN and in clear text with prior knowledge; and curl before the gateway.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { issueCertificate, makeAuthority } from '../harness/certificates.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { startNginx } from '../harness/nginx.ts';
import type { Nginx } from '../harness/nginx.ts';
import { ask, serviceOf, untilIdle, valueOf } from './path-fixture.ts';

const run = promisify(execFile);

/** Says what it saw; takes uploads away; closes its connections after a few requests, with GOAWAY. */
const LOCATIONS = `
    keepalive_requests 50;
    client_max_body_size 100m;
    location = /saw { default_type text/plain; return 200 "$server_protocol $request_method $host $http_x_a"; }
    location = /put { client_body_in_single_buffer off; proxy_pass http://127.0.0.1:1/; error_page 502 =200 /saw; }
    location = /gone { return 204; }
    location = /moved { return 302 /saw; }
    location = /big { default_type application/octet-stream; alias /proc/self/exe; }
`;

describe('nginx', () => {
  let folder: string;
  let nginx: Nginx;
  let gateway: Gateway;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'spillway-nginx-cert-'));
    const authority = makeAuthority(folder);
    nginx = await startNginx(issueCertificate(folder, authority, 'shop', ['shop.test']), LOCATIONS);
    const tls = `tls: { ca: ${authority.cert}, serverName: shop.test }, readiness: { path: /ready }`;
    gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
services:
  auto: { instances: ['https://127.0.0.1:${nginx.securePort}'], ${tls} }
  h1: { instances: ['https://127.0.0.1:${nginx.securePort}'], ${tls}, protocol: h1 }
  clear: { instances: ['http://127.0.0.1:${nginx.h2Port}'], readiness: { path: /ready }, protocol: h2 }
routes:
  - { path: /auto, service: auto, rewrite: / }
  - { path: /h1, service: h1, rewrite: / }
  - { path: /clear, service: clear, rewrite: / }
shedding: { mode: off }
`);
  });
  afterAll(async () => {
    await gateway?.[Symbol.asyncDispose]();
    await nginx?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  it.each([
    ['auto', 'HTTP/2.0'],
    ['h1', 'HTTP/1.1'],
    ['clear', 'HTTP/2.0'],
  ])('%s speaks %s with it', async (service, protocol) => {
    expect((await serviceOf(gateway, service)).instances[0]?.state).toBe('ready');
    const answer = await ask(gateway.port, {
      path: `/${service}/saw`,
      headers: { host: 'a.test', 'x-a': 'b' },
    });
    expect([answer.status, answer.body.toString()]).toEqual([200, `${protocol} GET a.test b`]);
    const gone = await ask(gateway.port, { path: `/${service}/gone` });
    expect([gone.status, gone.body.length]).toEqual([204, 0]);
    const moved = await ask(gateway.port, { path: `/${service}/moved` });
    expect([moved.status, valueOf(moved.rawHeaders, 'server')]).toEqual([
      302,
      expect.stringMatching(/^nginx/),
    ]);
    const head = await ask(gateway.port, { method: 'HEAD', path: `/${service}/saw` });
    expect([head.status, head.body.length]).toEqual([200, 0]);
    const body = 'u'.repeat(300_000);
    const put = await ask(gateway.port, { method: 'POST', path: `/${service}/put`, body });
    expect([put.status, put.body.toString()]).toEqual([200, `${protocol} GET a.test `]);
  });

  it.each(['auto', 'clear'])(
    'its GOAWAY after each fifty requests is noticed by nobody: %s',
    async (service) => {
      for (let round = 0; round < 8; round++) {
        const answers = await Promise.all(
          Array.from({ length: 40 }, (_, index) =>
            ask(
              gateway.port,
              index % 2 === 0
                ? { path: `/${service}/saw` }
                : { method: 'POST', path: `/${service}/gone`, body: 'some bytes' },
            ),
          ),
        );
        expect(answers.map(({ status }) => status).filter((status) => status >= 400)).toEqual([]);
      }
      await untilIdle(gateway, service);
    },
  );

  it.each(['auto', 'h1', 'clear'])('a large answer arrives whole at curl: %s', async (service) => {
    const direct = await run('sha1sum', [`/proc/${nginx.pid}/exe`]);
    const script = `curl -sS --fail http://127.0.0.1:${gateway.port}/${service}/big | sha1sum`;
    const through = await run('bash', ['-o', 'pipefail', '-c', script]);
    expect(through.stdout.slice(0, 40)).toBe(direct.stdout.slice(0, 40));
  });
});
