import { beforeEach, describe, expect, test } from 'vitest';
import { adminBench, expectProblem } from './admin-bench.ts';

const bench = adminBench();

describe('without a token, on loopback', () => {
  beforeEach(async () => {
    await bench.start();
  });

  test('each address of the contract answers', async () => {
    expect((await bench.ask('GET', '/livez')).text).toBe('live\n');
    expect((await bench.ask('GET', '/v1/status')).json).toMatchObject({
      version: '1.2.3',
      workers: [{ pid: 11 }, { pid: 12 }],
      summary: expect.any(String),
    });
    const { services } = (await bench.ask('GET', '/v1/services')).json as {
      services: Record<string, unknown>;
    };
    expect(services['shop']).toMatchObject({
      state: 'up',
      breaker: { state: 'closed' },
      instances: [{ id: '127.0.0.1:9001' }, { id: '[::1]:9002' }],
    });
    expect((await bench.ask('GET', '/v1/config')).json).toStrictEqual({ admin: { token: '***' } });
    expect((await bench.ask('GET', '/v1/explain/req-1')).json).toMatchObject({ decision: 'shed' });
    const metrics = await bench.ask('GET', '/metrics');
    expect(metrics.headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(metrics.text).toContain('spillway_requests_total{route="/",service="shop"');
    const page = await bench.ask('GET', '/');
    expect(page.headers['content-type']).toMatch(/^text\/html/);
    for (const path of [
      '/livez',
      '/readyz',
      '/metrics',
      '/v1/status',
      '/v1/services/SERVICE/breaker',
      '/v1/reload',
      '/v1/workers/roll',
    ])
      expect(page.text).toContain(path);
  });

  test('HEAD answers as GET without the body', async () => {
    const answer = await bench.ask('HEAD', '/v1/status');
    expect(answer.status).toBe(200);
    expect(answer.text).toBe('');
  });

  test.each(['127.0.0.1:9001', '127.0.0.1%3A9001', '%31%32%37.0.0.1%3a9001'])(
    'an instance may be named %s',
    async (id) => {
      const answer = await bench.ask('POST', `/v1/services/shop/instances/${id}/drain`);
      expect(answer.status).toBe(200);
      expect(answer.json).toStrictEqual({
        service: 'shop',
        instance: '127.0.0.1:9001',
        command: 'drain',
        ttlMs: null,
      });
      expect(bench.port.calls).toStrictEqual([
        ['operate', 'shop', '127.0.0.1:9001', 'drain', undefined, 'admin 127.0.0.1'],
      ]);
    },
  );

  test('an IPv6 instance may be named with or without encoding', async () => {
    for (const id of ['[::1]:9002', '%5B%3A%3A1%5D%3A9002'])
      expect((await bench.ask('POST', `/v1/services/shop/instances/${id}/enable`)).status).toBe(200);
  });

  test('a ttl is a duration, whatever content type curl names', async () => {
    for (const headers of [
      {},
      { 'content-type': 'application/json' },
      { 'content-type': 'application/x-www-form-urlencoded' },
    ]) {
      const answer = await bench.ask('POST', '/v1/services/shop/instances/127.0.0.1:9001/disable', {
        headers,
        body: '{"ttl":"10m"}',
      });
      expect(answer.status).toBe(200);
    }
    expect(bench.port.calls.map((call) => call[4])).toStrictEqual([600_000, 600_000, 600_000]);
  });

  test.each([
    ['{"ttl":600}', '"ttl" must be a duration'],
    ['{"ttl":"10"}', '"ttl" must be a duration'],
    ['{"ttl":"0s"}', '"ttl" must be a duration'],
    ['{"ttl":"9999d"}', 'at most 365d'],
    ['{"ttl":null}', '"ttl" must be a duration'],
    ['{"tll":"10m"}', 'Unknown key "tll"'],
    ['{"__proto__":{"ttl":"10m"}}', 'Unknown key "__proto__"'],
    ['{"ttl":', 'not valid JSON'],
    ['["10m"]', 'must be a JSON object'],
    ['"10m"', 'must be a JSON object'],
  ])('the body %s is refused with a clear reason and changes nothing', async (body, reason) => {
    const answer = await bench.ask('POST', '/v1/services/shop/instances/127.0.0.1:9001/drain', { body });
    expectProblem(answer, 400);
    expect(answer.json['detail']).toContain(reason);
    expect(bench.port.calls).toStrictEqual([]);
  });

  test('a body over 16 KiB is refused', async () => {
    expectProblem(
      await bench.ask('POST', '/v1/services/shop/breaker', { body: `{"state":"${'x'.repeat(20_000)}"}` }),
      413,
    );
  });

  test('breaker and shedding take the words of the contract only', async () => {
    for (const state of ['open', 'closed', 'auto'])
      expect(
        (await bench.ask('POST', '/v1/services/shop/breaker', { body: JSON.stringify({ state }) })).status,
      ).toBe(200);
    for (const mode of ['enforce', 'observe', 'off', 'auto'])
      expect(
        (await bench.ask('POST', '/v1/services/shop/shedding', { body: JSON.stringify({ mode }) })).status,
      ).toBe(200);
    expect(bench.port.calls).toHaveLength(7);
    expectProblem(await bench.ask('POST', '/v1/services/shop/breaker', { body: '{"state":"shut"}' }), 400);
    expectProblem(await bench.ask('POST', '/v1/services/shop/breaker'), 400);
    expectProblem(await bench.ask('POST', '/v1/services/shop/shedding', { body: '{"mode":true}' }), 400);
    expect(bench.port.calls).toHaveLength(7);
  });

  test('a breaker may be forced for a time, and `auto` takes none', async () => {
    const body = '{"state":"open","ttl":"10m"}';
    expect((await bench.ask('POST', '/v1/services/shop/breaker', { body })).json).toEqual({
      service: 'shop',
      breaker: 'open',
      ttlMs: 600_000,
    });
    expect(bench.port.calls).toEqual([['breaker', 'shop', 'open', 600_000, 'admin 127.0.0.1']]);
    for (const refused of ['{"state":"auto","ttl":"10m"}', '{"state":"open","ttl":10}'])
      expectProblem(await bench.ask('POST', '/v1/services/shop/breaker', { body: refused }), 400);
  });

  test('what does not exist is a 404 that says what', async () => {
    const cases: [string, string, string][] = [
      ['POST', '/v1/services/none/instances/127.0.0.1:9001/drain', 'no service "none"'],
      ['POST', '/v1/services/shop/instances/1.2.3.4:5/drain', 'no instance "1.2.3.4:5"'],
      ['POST', '/v1/services/__proto__/instances/a/drain', 'no service "__proto__"'],
      ['GET', '/v1/explain/never-seen', 'remembers'],
      ['GET', '/v1/nothing', 'nothing at this address'],
      ['GET', '/v1/limits/acme', 'No client "acme" is configured'],
      ['DELETE', '/v1/limits/acme', 'No client "acme" is configured'],
    ];
    for (const [method, path, detail] of cases) {
      const answer = await bench.ask(method, path);
      expectProblem(answer, 404);
      expect(answer.json['detail']).toContain(detail);
    }
    const body = '{"state":"open"}';
    expectProblem(await bench.ask('POST', '/v1/services/none/breaker', { body }), 404);
  });

  test('a wrong method is a 405 that names the right ones', async () => {
    const cases: [string, string, string][] = [
      ['GET', '/v1/reload', 'POST'],
      ['DELETE', '/v1/services/shop/breaker', 'POST'],
      ['PUT', '/v1/services/shop/instances/127.0.0.1:9001/drain', 'POST'],
      ['POST', '/metrics', 'GET, HEAD'],
      ['OPTIONS', '/v1/status', 'GET, HEAD'],
      ['PROPFIND', '/v1/status', 'GET, HEAD'],
    ];
    for (const [method, path, allow] of cases) {
      const answer = await bench.ask(method, path);
      expectProblem(answer, 405);
      expect(answer.headers.allow).toBe(allow);
    }
  });

  test('a malformed escape in the address is a 400', async () => {
    expectProblem(await bench.ask('POST', '/v1/services/%zz/breaker', { body: '{"state":"open"}' }), 400);
  });

  test('a reload says what changed; a broken file is a 409 with all faults', async () => {
    expect((await bench.ask('POST', '/v1/reload')).json).toStrictEqual({
      ok: true,
      changes: ['services.shop.sla: 250ms → 300ms'],
      warnings: [],
    });
    bench.port.reloadView = {
      ok: false,
      changes: [],
      refused: 'faults',
      faults: ['spillway.yaml:3:5: error: a', 'spillway.yaml:4:1: error: b'],
      warnings: [],
    };
    const answer = await bench.ask('POST', '/v1/reload');
    expectProblem(answer, 409);
    expect(answer.json['faults']).toStrictEqual([
      'spillway.yaml:3:5: error: a',
      'spillway.yaml:4:1: error: b',
    ]);
    expect(answer.json['detail']).toBe('The configuration has faults; the old one stays in force.');
  });

  test.each([
    ['not-taken', 'EADDRINUSE', 'The configuration could not be put in force; the old one stays.'],
    ['not-serving', 'the gateway is shutting down', 'No reload now: the gateway is shutting down.'],
  ] as const)('a reload that is refused as %s does not blame the file', async (refused, fault, detail) => {
    bench.port.reloadView = { ok: false, changes: [], refused, faults: [fault], warnings: [] };
    const answer = await bench.ask('POST', '/v1/reload');
    expectProblem(answer, 409);
    expect(answer.json).toMatchObject({ detail, refused, faults: [fault] });
  });

  test('a failure inside is a 500 without a stack, and a line in the log', async () => {
    bench.port.status = async () => {
      throw new Error('inner detail of 10.0.0.7');
    };
    const answer = await bench.ask('GET', '/v1/status');
    expectProblem(answer, 500);
    expect(answer.text).not.toContain('10.0.0.7');
    expect(bench.logged.filter((line) => line.level === 'error')).toHaveLength(1);
  });

  test('readiness fails with its checks, and a probe may leave one out', async () => {
    bench.port.readiness = () => ({
      ready: false,
      checks: [
        { name: 'workers', ok: true, detail: '2 of 2 listen' },
        { name: 'probes', ok: false, detail: '1 service unprobed' },
      ],
    });
    const plain = await bench.ask('GET', '/readyz');
    expect(plain.status).toBe(503);
    expect(plain.json).toStrictEqual({ ready: false, failing: ['probes'] });
    const verbose = await bench.ask('GET', '/readyz?verbose');
    expect(verbose.status).toBe(503);
    expect(verbose.json['checks']).toHaveLength(2);
    expect((await bench.ask('GET', '/readyz?exclude=probes')).status).toBe(200);
    expect((await bench.ask('GET', '/readyz?exclude=workers&verbose')).json['checks']).toStrictEqual([
      { name: 'probes', ok: false, detail: '1 service unprobed' },
    ]);
  });

  test('readiness tells of an excluded check that there is none of, and judges by the others', async () => {
    const mistyped = await bench.ask('GET', '/readyz?exclude=worker&exclude=workers&verbose');
    expect(mistyped.status).toBe(200);
    expect(mistyped.json).toMatchObject({
      excluded: ['workers'],
      warning: 'no check is called "worker": known is workers',
    });
    bench.port.readiness = () => ({ ready: false, checks: [{ name: 'probes', ok: false, detail: '' }] });
    const failing = await bench.ask('GET', `/readyz?exclude=${'x'.repeat(200)}`);
    expect(failing.status).toBe(503);
    expect(failing.json['warning']).toBe(`no check is called "${'x'.repeat(100)}…": known is probes`);
    expect((await bench.ask('GET', '/readyz?exclude=')).json).toStrictEqual({
      ready: false,
      failing: ['probes'],
    });
  });

  test('changes are logged, done or refused, and reads are not', async () => {
    await bench.ask('GET', '/v1/status');
    await bench.ask('POST', '/v1/services/shop/instances/127.0.0.1:9001/drain?token=x');
    await bench.ask('POST', '/v1/services/none/breaker', { body: '{"state":"open"}' });
    await bench.ask('POST', '/v1/services/shop/breaker', { body: ` ${'x'.repeat(300)}` });
    expect(bench.logged.splice(2)[0]?.fields).toMatchObject({ status: 400, body: ` ${'x'.repeat(199)}` });
    expect(bench.logged).toStrictEqual([
      {
        level: 'info',
        message: 'admin change',
        fields: {
          method: 'POST',
          path: '/v1/services/shop/instances/127.0.0.1:9001/drain',
          status: 200,
          by: 'admin 127.0.0.1',
        },
      },
      {
        level: 'warn',
        message: 'admin change refused',
        fields: {
          method: 'POST',
          path: '/v1/services/none/breaker',
          status: 404,
          body: '{"state":"open"}',
          by: 'admin 127.0.0.1',
        },
      },
    ]);
  });
});
