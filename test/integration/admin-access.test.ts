import { beforeEach, describe, expect, test } from 'vitest';
import { startAdminServer } from '../../src/io/admin-server.ts';
import { adminBench, expectProblem } from './admin-bench.ts';

const TOKEN = 'a-long-secret-token';

const bench = adminBench();

describe('without a token, on loopback', () => {
  beforeEach(async () => {
    await bench.start();
  });

  test.each([
    [{ 'sec-fetch-site': 'cross-site' }],
    [{ 'sec-fetch-site': 'same-site' }],
    [{ origin: 'https://evil.example' }],
    [{ origin: 'null' }],
    [{ origin: 'http://127.0.0.1:1' }],
  ])('a change by a page of another site is refused: %o', async (headers) => {
    const answer = await bench.ask('POST', '/v1/reload', { headers });
    expectProblem(answer, 403);
    expect(bench.port.calls).toStrictEqual([]);
    expect(Object.keys(answer.headers).filter((name) => name.startsWith('access-control-'))).toStrictEqual(
      [],
    );
  });

  test('a change by a page of this address, or by a program, is done', async () => {
    const origin = `http://127.0.0.1:${bench.server.address.port}`;
    expect(
      (await bench.ask('POST', '/v1/reload', { headers: { origin, 'sec-fetch-site': 'same-origin' } }))
        .status,
    ).toBe(200);
    expect((await bench.ask('POST', '/v1/reload')).status).toBe(200);
  });

  test('a name that was bent to 127.0.0.1 (DNS rebinding) reads and changes nothing', async () => {
    const host = `evil.example:${bench.server.address.port}`;
    expectProblem(await bench.ask('GET', '/v1/config', { headers: { host } }), 403);
    expectProblem(
      await bench.ask('POST', '/v1/reload', { headers: { host, origin: `http://${host}` } }),
      403,
    );
    expect((await bench.ask('GET', '/readyz', { headers: { host } })).status).toBe(200);
    expect((await bench.ask('GET', '/v1/config', { headers: { host: 'localhost:9090' } })).status).toBe(200);
  });
});

describe('with a token', () => {
  beforeEach(async () => {
    await bench.start({ token: TOKEN });
  });
  const bearer = { authorization: `Bearer ${TOKEN}` };

  test('only the probes are open', async () => {
    expect((await bench.ask('GET', '/livez')).status).toBe(200);
    expect((await bench.ask('GET', '/readyz?verbose')).status).toBe(200);
    for (const path of [
      '/',
      '/metrics',
      '/v1/status',
      '/v1/services',
      '/v1/config',
      '/v1/explain/req-1',
      '/v1/unknown',
    ]) {
      const answer = await bench.ask('GET', path);
      expectProblem(answer, 401);
      expect(answer.headers['www-authenticate']).toBe('Bearer realm="spillway"');
    }
    expectProblem(await bench.ask('POST', '/v1/reload'), 401);
    expect(bench.port.calls).toStrictEqual([]);
  });

  test('the token opens everything, under whatever name the address is reached', async () => {
    for (const path of ['/', '/metrics', '/v1/status'])
      expect(
        (await bench.ask('GET', path, { headers: { ...bearer, host: 'gateway.internal' } })).status,
      ).toBe(200);
    expect((await bench.ask('POST', '/v1/reload', { headers: bearer })).status).toBe(200);
  });

  test.each([
    'Bearer wrong',
    `Bearer ${TOKEN}x`,
    `Bearer ${TOKEN.slice(0, -1)}`,
    `Basic ${TOKEN}`,
    'Bearer',
    TOKEN,
    `Bearer ${TOKEN} ${TOKEN}`,
  ])('the authorization "%s" is refused', async (authorization) => {
    expectProblem(await bench.ask('GET', '/v1/status', { headers: { authorization } }), 401);
  });

  test('the token is no licence for other sites, and never in the log', async () => {
    expectProblem(
      await bench.ask('POST', '/v1/reload', { headers: { ...bearer, 'sec-fetch-site': 'cross-site' } }),
      403,
    );
    await bench.ask('POST', '/v1/reload', { headers: bearer });
    await bench.ask('POST', '/v1/reload', { headers: { authorization: 'Bearer other-token' } });
    expect(bench.logged).toHaveLength(3);
    expect(JSON.stringify(bench.logged)).not.toMatch(/secret|other-token/);
  });
});

test('openMetrics opens the metrics and nothing else', async () => {
  await bench.start({ token: TOKEN, openMetrics: true });
  expect((await bench.ask('GET', '/metrics')).status).toBe(200);
  expect((await bench.ask('GET', '/v1/status')).status).toBe(401);
});

test('an address that others can reach does not start without a token', async () => {
  await bench.start();
  const log = { info: () => undefined, warn: () => undefined, error: () => undefined };
  const open = { host: '0.0.0.0', port: 0, token: '', openMetrics: false, log };
  await expect(startAdminServer(bench.port, open)).rejects.toThrow('admin.token must be set');
  const taken = { ...open, host: '127.0.0.1', port: bench.server.address.port };
  await expect(startAdminServer(bench.port, taken)).rejects.toMatchObject({ code: 'EADDRINUSE' });
});
