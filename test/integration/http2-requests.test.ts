import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { askStream, problemOf, startHttp2Gateway } from '../harness/http2-gateway.ts';
import type { Http2Gateway } from '../harness/http2-gateway.ts';
import { startEcho } from '../harness/origin.ts';
import type { EchoedRequest, InProcessOrigin } from '../harness/origin.ts';
import { valueOf, valuesOf } from './path-fixture.ts';

const run = promisify(execFile);

function seen(body: Buffer): EchoedRequest {
  return JSON.parse(body.toString('utf8')) as EchoedRequest;
}

describe('a request over HTTP/2', () => {
  let origin: InProcessOrigin;
  let edge: Http2Gateway;
  beforeAll(async () => {
    origin = await startEcho();
    edge = await startHttp2Gateway([origin.url], {
      routes: [
        '{ path: /old, service: shop, rewrite: /new }',
        '{ path: /get-with-body, service: shop, allowBody: true }',
      ],
      more: [
        'shedding: { mode: off }',
        'tiers: { default: {}, small: { rate: 1/s, burst: 1 } }',
        'clients: { identify: [{ header: x-api-key }, { ip: {} }], keys: [{ key: k1, client: acme, tier: small }] }',
      ].join('\n'),
    });
  });
  afterAll(async () => {
    await edge?.[Symbol.asyncDispose]();
    await origin?.close();
  });

  it('reaches the instance as HTTP/1.1 says it, with the marks of an intermediary', async () => {
    const session = await edge.session();
    const answer = await askStream(session, { headers: { ':path': '/a/%7Eb?x=1&y', 'user-agent': 'us' } });
    expect(answer.status).toBe(200);
    expect(answer.headers['connection']).toBeUndefined();
    expect(answer.headers['date']).toMatch(/GMT$/);
    expect(answer.headers['x-request-id']).toMatch(/^[\w.-]{8,64}$/);
    const { method, url, rawHeaders } = seen(answer.body);
    expect([method, url]).toEqual(['GET', '/a/~b?x=1&y']);
    expect(valueOf(rawHeaders, 'host')).toBe(`localhost:${edge.port}`);
    expect(valueOf(rawHeaders, 'via')).toMatch(/^2\.0 /);
    expect(valueOf(rawHeaders, 'x-forwarded-proto')).toBe('https');
    expect(valueOf(rawHeaders, 'x-forwarded-for')).toBe('127.0.0.1');
    expect(valueOf(rawHeaders, 'forwarded')).toContain('proto=https');
    expect(valuesOf(rawHeaders, 'transfer-encoding')).toEqual([]);
    expect(rawHeaders.some((text) => text.startsWith(':'))).toBe(false);
  });

  it('joins the crumbs of a cookie', async () => {
    const session = await edge.session();
    const { body } = await askStream(session, { headers: { cookie: ['a=1', 'b=2', 'c=3'] } });
    expect(valuesOf(seen(body).rawHeaders, 'cookie')).toEqual(['a=1; b=2; c=3']);
  });

  it('keeps latin-1 both ways', async () => {
    const session = await edge.session();
    const { body } = await askStream(session, { headers: { 'x-name': 'caf\u00e9' } });
    expect(valueOf(seen(body).rawHeaders, 'x-name')).toBe('caf\u00e9');
  });

  it.each([
    ['without length and type', {}, 'hello'],
    ['with a length', { 'content-length': '5' }, 'hello'],
    ['of any type', { 'content-type': 'text/plain; charset=latin1' }, 'caf\u00e9'],
  ])('a body %s arrives (D10)', async (_name, headers, body) => {
    const session = await edge.session();
    const answer = await askStream(session, { headers: { ':path': '/up', ...headers }, body });
    const request = seen(answer.body);
    expect([answer.status, request.bodyText]).toEqual([200, body]);
    const length = 'content-length' in headers ? ['5'] : [];
    expect(valuesOf(request.rawHeaders, 'content-length')).toEqual(length);
    expect(valuesOf(request.rawHeaders, 'transfer-encoding')).toEqual(length.length === 0 ? ['chunked'] : []);
    expect(valuesOf(request.rawHeaders, 'content-type')).toEqual(
      Object.values(headers).filter((text) => text.includes('/')),
    );
  });

  it('a POST that ends with its head has length 0', async () => {
    const session = await edge.session();
    const stream = session.request({ ':method': 'POST', ':path': '/' }, { endStream: true });
    stream.resume();
    await new Promise((resolve) => stream.once('close', resolve));
    expect(valuesOf(origin.requests.at(-1)?.rawHeaders ?? [], 'content-length')).toEqual(['0']);
  });

  it('walks a rewriting mount with its body', async () => {
    const session = await edge.session();
    const answer = await askStream(session, { headers: { ':path': '/old/x?q=1' }, body: 'text' });
    expect([seen(answer.body).url, seen(answer.body).bodyText]).toEqual(['/new/x?q=1', 'text']);
  });

  it('a GET with a body is refused unless its route allows one', async () => {
    const session = await edge.session();
    const headers = { ':method': 'GET', ':path': '/x' };
    const refused = await askStream(session, { headers, body: 'b' });
    expect([refused.status, problemOf(refused).code]).toEqual([400, 'SPW_BAD_REQUEST']);
    const allowed = await askStream(session, {
      headers: { ...headers, ':path': '/get-with-body' },
      body: 'b',
    });
    expect(seen(allowed.body).bodyText).toBe('b');
  });

  it('is limited, and told so without a word about connections', async () => {
    const session = await edge.session();
    const headers = { 'x-api-key': 'k1' };
    await askStream(session, { headers });
    const limited = await askStream(session, { headers });
    expect([limited.status, problemOf(limited).code]).toEqual([429, 'SPW_RATE_CLIENT']);
    expect(limited.headers['retry-after']).toMatch(/^\d+$/);
    expect(limited.headers['connection']).toBeUndefined();
    const names = limited.rawHeaders.filter((_, index) => index % 2 === 0);
    expect(names.map((name) => name.toLowerCase())).toEqual(names);
    // The session goes on.
    expect((await askStream(session)).status).toBe(200);
  });

  it('OPTIONS * and TRACE are answered here', async () => {
    const session = await edge.session();
    const options = await askStream(session, { headers: { ':method': 'OPTIONS', ':path': '*' } });
    expect([options.status, options.headers['allow']]).toEqual([204, expect.stringContaining('GET')]);
    const trace = await askStream(session, { headers: { ':method': 'TRACE' } });
    expect([trace.status, problemOf(trace).code]).toEqual([405, 'SPW_METHOD_NOT_ALLOWED']);
  });

  describe('for an authority', () => {
    it.each(['localhost', 'a.test', 'x.b.test'])('%s in the certificate is served', async (authority) => {
      const session = await edge.session();
      expect((await askStream(session, { headers: { ':authority': authority } })).status).toBe(200);
    });

    it.each(['other.test', 'x.y.b.test', 'b.test', '10.0.0.1'])(
      '%s outside of it is misdirected',
      async (authority) => {
        const before = origin.requests.length;
        const session = await edge.session();
        const answer = await askStream(session, { headers: { ':authority': authority } });
        expect([answer.status, problemOf(answer).code]).toEqual([421, 'SPW_MISDIRECTED']);
        expect(origin.requests.length).toBe(before);
      },
    );

    it('the address that was connected to is served', async () => {
      const session = await edge.session('127.0.0.1');
      expect((await askStream(session)).status).toBe(200);
    });
  });

  it('is counted and logged like any other', async () => {
    const session = await edge.session();
    await askStream(session, { headers: { ':path': '/logged-once' } });
    const { body } = await edge.gateway.admin('/metrics');
    expect(String(body)).toMatch(/spillway_requests_total\{route="\/".*status="200".*\} \d+/);
    await expect
      .poll(() => edge.gateway.logs(), { timeout: 10_000 })
      .toContain('"path":"/logged-once","status":200');
  });

  it('curl gets its answer, and its upload through', async () => {
    const file = join(tmpdir(), `spillway-curl-${process.pid}`);
    writeFileSync(file, Buffer.alloc(300_000, 7));
    const url = `https://localhost:${edge.port}/curl`;
    const args = ['-sS', '--http2', '--cacert', edge.certificateFile, '-w', '%{http_version} %{http_code}'];
    const { stdout } = await run('curl', [...args, '-o', '/dev/null', url]);
    expect(stdout).toBe('2 200');
    const upload = await run('curl', [...args, '-o', '/dev/null', '-T', file, `${url}/up`]);
    expect(upload.stdout).toBe('2 200');
    expect(origin.requests.at(-1)?.bodyText.length).toBe(300_000);
  });

  it('nghttp gets its answers on one session', async () => {
    const url = `https://localhost:${edge.port}/nghttp`;
    const { stdout } = await run('nghttp', ['-n', '-v', '-m', '3', url]);
    expect(stdout.match(/:status: 200/g)?.length).toBe(3);
    // What is told of ourselves (forwarding.md §4).
    expect(stdout).toContain('[SETTINGS_MAX_CONCURRENT_STREAMS(0x03):100]');
    expect(stdout).toContain('[SETTINGS_MAX_HEADER_LIST_SIZE(0x06):16384]');
    expect(stdout).toMatch(
      /recv WINDOW_UPDATE frame <length=4, flags=0x00, stream_id=0>\s+\(window_size_increment=983041\)/,
    );
  });

  it('h2load gets thousands of answers and no error', async () => {
    const url = `https://localhost:${edge.port}/h2load`;
    const { stdout } = await run('h2load', ['-n', '4000', '-c', '8', '-m', '20', url]);
    expect(stdout).toContain(
      '4000 total, 4000 started, 4000 done, 4000 succeeded, 0 failed, 0 errored, 0 timeout',
    );
  });
});
