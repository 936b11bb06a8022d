/**
 * Tokens as callers and issuers meet them: a real gateway, real signatures, and a publisher of keys that rotates, is slow,
 * sends too much, or is away.
 */
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startGateway, type Gateway } from '../harness/gateway.ts';
import {
  AUDIENCE,
  forge,
  ISSUER,
  makeKey,
  startPublisher,
  type IssuerKey,
  type Publisher,
} from '../harness/issuer.ts';
import { eventually } from '../harness/ports.ts';
import { ask, expectProblem, startService, valueOf, type Answer, type Listening } from './path-fixture.ts';

let origin: Listening;
let rsa: IssuerKey;
let ec: IssuerKey;
let young: IssuerKey;
/** The client and tier that the instance was told, by request. */
let seen: { client: unknown; tier: unknown; authorization: unknown }[] = [];

beforeAll(async () => {
  origin = await startService((request, response) => {
    const { 'x-spillway-client': client, 'x-spillway-tier': tier, authorization } = request.headers;
    seen.push({ client, tier, authorization });
    response.writeHead(200, { 'content-length': 2 }).end('ok');
  });
  [rsa, ec, young] = await Promise.all([
    makeKey('RS256', 'r1'),
    makeKey('ES256', 'e1'),
    makeKey('ES256', 'e2'),
  ]);
});

afterAll(async () => {
  await origin[Symbol.asyncDispose]();
});

interface Start {
  readonly identify: string;
  readonly clients?: string;
  readonly workers?: number;
}

async function startWith({ identify, clients = '', workers = 1 }: Start): Promise<Gateway> {
  return await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: ${workers}
services: { shop: { instances: [${origin.url}], sla: 5s, readiness: { path: /ready, interval: 600s, timeout: 10s } } }
routes: [{ path: /, service: shop, timeout: 8s }, { path: /quick, service: shop, timeout: 300ms }]
clients:
  identify: [${identify}, { ip: {} }]
  ${clients}
tiers: { gold: { rate: 1000/s, burst: 2000 }, few: { rate: 1/h, burst: 3 } }
`);
}

function entry(publisher: Publisher): string {
  return `{ jwt: { jwksUrl: "${publisher.url}", issuer: "${ISSUER}", audience: ${AUDIENCE}, algorithms: [RS256, ES256], tierClaim: plan } }`;
}

function bearer(token: string): { headers: Record<string, string> } {
  return { headers: { authorization: `Bearer ${token}` } };
}

async function withToken(gateway: Gateway, token: string): Promise<Answer> {
  return await ask(gateway.port, bearer(token));
}

async function keysFetched(gateway: Gateway): Promise<void> {
  await eventually('the keys are there', () => gateway.logs().includes('token keys fetched'));
}

function expectUnauthorized(answer: Answer): void {
  expectProblem(answer, 401, 'SPW_UNKNOWN_KEY');
  expect(valueOf(answer.rawHeaders, 'www-authenticate')).toBe('Bearer realm="api", error="invalid_token"');
}

describe('a token', () => {
  test('names client and tier, with and without Bearer; every bad one is a 401; other schemes are none', async () => {
    await using publisher = await startPublisher(rsa, ec);
    await using gateway = await startWith({ identify: entry(publisher) });
    await keysFetched(gateway);
    seen = [];
    const token = await rsa.sign({ plan: 'gold' });
    expect((await withToken(gateway, token)).status).toBe(200);
    expect((await ask(gateway.port, { headers: { authorization: token } })).status).toBe(200);
    expect((await ask(gateway.port, { headers: { authorization: `bEARER  ${token}` } })).status).toBe(200);
    expect((await withToken(gateway, await ec.sign({ sub: 'Zoë 100%', plan: 'diamond' }))).status).toBe(200);
    expect(seen.map(({ client, tier }) => [client, tier])).toEqual([
      ['alice', 'gold'],
      ['alice', 'gold'],
      ['alice', 'gold'],
      ['Zo%C3%AB%20100%25', 'default'],
    ]);
    // The token goes on to the instance, which may want it.
    expect(seen[0]?.authorization).toBe(`Bearer ${token}`);
    seen = [];
    const now = Math.floor(Date.now() / 1000);
    const bad = [
      await rsa.sign({ exp: now - 1 }),
      await rsa.sign({ aud: 'else' }),
      await young.sign({}, { kid: 'e1' }),
      forge({ alg: 'none' }, { iss: ISSUER, aud: AUDIENCE, sub: 'root', exp: now + 60 }),
      'opaque',
      `${token}x`,
      'a.b.c',
      `${'x'.repeat(9000)}.y.z`,
    ];
    for (const each of bad) expectUnauthorized(await withToken(gateway, each));
    expectUnauthorized(await ask(gateway.port, { headers: { authorization: 'Bearer' } }));
    // Two readers could take one token each; that is no request at all.
    const twice = { headers: { authorization: [`Bearer ${token}`, `Bearer ${token}`] } };
    expectProblem(await ask(gateway.port, twice), 400, 'SPW_BAD_REQUEST');
    expect(seen).toEqual([]);
    expect((await ask(gateway.port, { headers: { authorization: 'Basic YTpi' } })).status).toBe(200);
    expect((await ask(gateway.port)).status).toBe(200);
    expect(seen.map(({ client }) => String(client).slice(0, 3))).toEqual(['ip:', 'ip:']);
    const { body } = await gateway.admin('/metrics');
    expect(String(body)).toMatch(/^spillway_tokens_verified_total\{verdict="good"\} 2$/m);
    // L11: neither a token nor a part of one that would be of use.
    const told = gateway.logs() + String(body);
    for (const each of [token, ...bad]) expect(told).not.toContain(each.slice(-40));
  });

  test('is counted under its client, whichever token of it comes', async () => {
    await using publisher = await startPublisher(ec);
    await using gateway = await startWith({ identify: entry(publisher) });
    await keysFetched(gateway);
    const statuses: number[] = [];
    for (let turn = 0; turn < 5; turn++)
      statuses.push((await withToken(gateway, await ec.sign({ plan: 'few' }))).status);
    expect(statuses).toEqual([200, 200, 200, 429, 429]);
    expect((await withToken(gateway, await ec.sign({ sub: 'bob', plan: 'few' }))).status).toBe(200);
  });

  test('gives its client the tier that operators see, set another rate for and fill; who can have no token is nobody', async () => {
    await using publisher = await startPublisher(ec);
    await using gateway = await startWith({ identify: entry(publisher), workers: 2 });
    await keysFetched(gateway);
    const order = { body: '{"rate":"1/h","burst":9,"ttl":"1h"}' };
    const at = async (method: string, name: string) =>
      await gateway.admin(`/v1/limits/${encodeURIComponent(name)}`, {
        method,
        ...(method === 'PUT' ? order : {}),
      });
    const token = await ec.sign({ sub: 'Zoë', plan: 'few' });
    const asks = async (): Promise<number> => (await withToken(gateway, token)).status;
    for (const status of [200, 200, 200, 429]) expect(await asks()).toBe(status);
    const limit = { level: 'client', name: 'few', rate: '1/h', burst: 3, remaining: 0 };
    expect((await at('GET', 'Zoë')).body).toMatchObject({ client: 'Zoë', tier: 'few', limits: [limit] });
    expect((await at('DELETE', 'Zoë')).status).toBe(200);
    expect(await asks()).toBe(200);
    expect((await at('PUT', 'Zoë')).body).toMatchObject({ tier: 'few', limits: [{ burst: 9 }] });
    for (const name of ['', 'ip:short', 'x'.repeat(257)])
      for (const method of ['GET', 'PUT', 'DELETE'])
        expect([method, name, (await at(method, name)).status]).toEqual([method, name, 404]);
  });

  test('many at once are verified once; a key in another header is asked for first if it stands first', async () => {
    await using publisher = await startPublisher(ec);
    await using gateway = await startWith({
      identify: `{ header: x-api-key }, ${entry(publisher)}`,
      clients: 'keys: [{ key: k-1, client: acme, tier: gold }]',
    });
    await keysFetched(gateway);
    seen = [];
    const token = await ec.sign();
    const answers = await Promise.all(
      Array.from({ length: 40 }, async () => await withToken(gateway, token)),
    );
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
    const both = { headers: { authorization: 'Bearer a.b.c', 'x-api-key': 'k-1' } };
    expect((await ask(gateway.port, both)).status).toBe(200);
    expect([seen.at(0)?.client, seen.at(-1)?.client]).toEqual(['alice', 'acme']);
  });

  test('of two issuers with one header is verified by its own', async () => {
    await using one = await startPublisher(rsa);
    await using two = await startPublisher(ec);
    const second = entry(two).replace(ISSUER, 'https://second.test/');
    await using gateway = await startWith({ identify: `${entry(one)}, ${second}` });
    await eventually('both sets are there', () => gateway.logs().split('token keys fetched').length === 3);
    seen = [];
    expect((await withToken(gateway, await rsa.sign())).status).toBe(200);
    expect(
      (await withToken(gateway, await ec.sign({ iss: 'https://second.test/', sub: 'carol' }))).status,
    ).toBe(200);
    // The key of one issuer signs nothing for the other.
    expectUnauthorized(await withToken(gateway, await ec.sign()));
    expectUnauthorized(await withToken(gateway, await ec.sign({ iss: 'https://third.test/' })));
    expect(seen.map(({ client }) => client)).toEqual(['alice', 'carol']);
  });
});

describe('key sets', () => {
  test('a rotation in the middle of traffic refuses nobody, and made-up key ids cost no more than one fetch', async () => {
    await using publisher = await startPublisher(rsa);
    await using gateway = await startWith({ identify: entry(publisher), workers: 2 });
    await keysFetched(gateway);
    const old = await rsa.sign();
    const traffic = new AbortController();
    const statuses = new Map<number, number>();
    const sent = (async () => {
      while (!traffic.signal.aborted) {
        const { status } = await withToken(gateway, old);
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
      }
    })();
    expect(publisher.fetches()).toBe(1);
    publisher.publish(rsa, young);
    const answers = await Promise.all(
      Array.from({ length: 12 }, async () => await withToken(gateway, await young.sign())),
    );
    expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 12 }, () => 200));
    for (let turn = 0; turn < 20; turn++)
      expectUnauthorized(await withToken(gateway, await young.sign({}, { kid: `made-up-${turn}` })));
    traffic.abort();
    await sent;
    expect([...statuses.keys()]).toEqual([200]);
    expect(publisher.fetches()).toBe(2);
  });

  test('while there has been none a token is 503, and the gateway is ready, serves others and goes on trying', async () => {
    await using publisher = await startPublisher(ec);
    publisher.answer((_, response) => response.writeHead(500).end());
    await using gateway = await startWith({ identify: entry(publisher) });
    await eventually('it was tried', () => publisher.fetches() > 0);
    expectProblem(await withToken(gateway, await ec.sign()), 503, 'SPW_TOKEN_KEYS_DOWN');
    expect((await ask(gateway.port)).status).toBe(200);
    publisher.answer(undefined);
    const token = await ec.sign();
    await eventually('the keys came', async () => (await withToken(gateway, token)).status === 200);
    expect(gateway.logs().split('token keys could not be fetched').length).toBe(2);
  });

  test('one that is lost, broken or too large leaves the last good one in use', async () => {
    await using publisher = await startPublisher(ec);
    await using gateway = await startWith({ identify: entry(publisher) });
    await keysFetched(gateway);
    // A token of an unknown key makes it fetch, once; what comes is good for nothing.
    publisher.answer((_, response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      const more = (): void => {
        while (!response.destroyed && response.write('x'.repeat(65_536)));
      };
      response.on('drain', more);
      more();
    });
    expectUnauthorized(await withToken(gateway, await young.sign()));
    await gateway.process.waitForLine(/larger than 256 KiB.*the last ones stay/);
    expect((await withToken(gateway, await ec.sign())).status).toBe(200);
    expect(publisher.fetches()).toBe(2);
  });

  test('an address that leads elsewhere is not followed, and the log says so', async () => {
    await using publisher = await startPublisher(ec);
    publisher.answer((_, response) => response.writeHead(302, { location: '/elsewhere' }).end());
    await using gateway = await startWith({ identify: entry(publisher) });
    await eventually('it was told', () => gateway.logs().includes('token keys could not be fetched'));
    expect(gateway.logs()).toContain('unexpected redirect');
    expectProblem(await withToken(gateway, await ec.sign()), 503, 'SPW_TOKEN_KEYS_DOWN');
  });

  test('a worker that starts while the issuer is away knows them', async () => {
    await using publisher = await startPublisher(ec);
    await using gateway = await startWith({ identify: entry(publisher) });
    await keysFetched(gateway);
    publisher.answer((request) => request.socket.destroy());
    const [before = 0] = gateway.workerPids();
    process.kill(before, 'SIGKILL');
    await eventually('another worker serves', async () => {
      const pids = gateway.workerPids();
      return pids.length === 1 && pids[0] !== before && (await statusOrZero(gateway)) === 200;
    });
    expect((await withToken(gateway, await ec.sign())).status).toBe(200);
    expect(publisher.fetches()).toBe(1);
  });

  test('an issuer that hangs holds up a token to its own deadline, a caller that leaves not at all, others never', async () => {
    await using publisher = await startPublisher(ec);
    const hanging: unknown[] = [];
    publisher.answer((_, response) => hanging.push(response));
    await using gateway = await startWith({ identify: entry(publisher) });
    await eventually('the issuer was asked', () => hanging.length > 0);
    const { headers } = bearer(await ec.sign());
    expectProblem(await ask(gateway.port, { path: '/quick', headers }), 504, 'SPW_DEADLINE_EXCEEDED');
    const left = httpRequest({
      host: '127.0.0.1',
      port: gateway.port,
      headers: { ...headers, host: 'a.test' },
      agent: false,
    });
    left.on('error', () => undefined);
    left.end();
    await once(left, 'socket');
    expect((await ask(gateway.port)).status).toBe(200);
    left.destroy();
    await eventually('the one that left is counted', async () => {
      const { body } = await gateway.admin('/metrics');
      return String(body).includes('SPW_CLIENT_CLOSED');
    });
    // After five seconds the fetch is given up: nobody can tell.
    expectProblem(await withToken(gateway, await ec.sign()), 503, 'SPW_TOKEN_KEYS_DOWN');
  });

  test('what stands in the query of its address is shown nowhere, whether the fetch succeeds or fails', async () => {
    await using publisher = await startPublisher(ec);
    const asked: unknown[] = [];
    publisher.answer((request, response) => {
      asked.push(request.url);
      response.writeHead(500).end();
    });
    const address = `${publisher.url}?code=watchword-in-the-query`;
    await using gateway = await startWith({ identify: entry(publisher).replace(publisher.url, address) });
    await eventually('a failure is told', () => gateway.logs().includes('could not be fetched'));
    publisher.answer(undefined);
    await keysFetched(gateway);
    expect(String(asked[0])).toMatch(/\?code=watchword-in-the-query$/);
    expect((await withToken(gateway, await ec.sign())).status).toBe(200);
    const { body } = await gateway.admin('/v1/config');
    const { body: metrics } = await gateway.admin('/metrics');
    expect(JSON.stringify(body)).toContain(`${publisher.url}?***`);
    expect(gateway.logs()).toContain(`${publisher.url}?***`);
    expect(gateway.logs() + JSON.stringify(body) + String(metrics)).not.toContain('watchword');
  });

  test('a reload to another issuer fetches its keys and forgets what the old one signed', async () => {
    await using one = await startPublisher(ec);
    await using two = await startPublisher(young);
    await using gateway = await startWith({ identify: entry(one) });
    await keysFetched(gateway);
    const old = await ec.sign();
    expect((await withToken(gateway, old)).status).toBe(200);
    const { body } = await gateway.admin('/v1/config');
    expect(JSON.stringify(body)).toContain(one.url);
    await gateway.rewrite((await readFile(gateway.configFile, 'utf8')).replace(one.url, two.url));
    expect((await gateway.admin('/v1/reload', { method: 'POST' })).status).toBe(200);
    expect((await withToken(gateway, await young.sign())).status).toBe(200);
    expectUnauthorized(await withToken(gateway, old));
  });
});

async function statusOrZero(gateway: Gateway): Promise<number> {
  try {
    return (await ask(gateway.port)).status;
  } catch {
    return 0;
  }
}
