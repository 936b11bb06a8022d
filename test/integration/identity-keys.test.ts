/**
 * Keys in operation: renewed in their file while the gateway runs, in cookies, guessed, and set aside by lists of
 * networks.
 */
import { mkdtemp, rename, rm, symlink, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startGateway, type Gateway } from '../harness/gateway.ts';
import { AUDIENCE, ISSUER, makeKey, type IssuerKey } from '../harness/issuer.ts';
import { eventually } from '../harness/ports.ts';
import { ask, expectProblem, startService, valueOf, type Listening } from './path-fixture.ts';

let folder = '';
let origin: Listening;
let seen: string[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'spillway-keys-'));
  origin = await startService((request, response) => {
    const { 'x-spillway-client': client, 'x-spillway-tier': tier } = request.headers;
    seen.push(`${String(client)} ${String(tier)}`);
    response.writeHead(200, { 'content-length': 2 }).end('ok');
  });
});

afterAll(async () => {
  await origin[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

async function startWith(text: string, workers = 1): Promise<Gateway> {
  return await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: ${workers}
services: { shop: { instances: [${origin.url}], sla: 5s, readiness: { path: /ready, interval: 600s, timeout: 10s } } }
routes: [{ path: /, service: shop }]
limits: { enforcement: exact }
${text}
`);
}

async function statusOf(gateway: Gateway, key: string): Promise<number> {
  return (await ask(gateway.port, { headers: { 'x-api-key': key } })).status;
}

/** Of ten connections, so that every worker is asked. */
async function allSay(gateway: Gateway, key: string, status: number): Promise<boolean> {
  const statuses = await Promise.all(Array.from({ length: 10 }, async () => await statusOf(gateway, key)));
  return statuses.every((each) => each === status);
}

function count(gateway: Gateway, words: string): number {
  return gateway.logs().split(words).length - 1;
}

function row(key: string, client: string, tier = 'gold'): string {
  return `- { key: ${key}, client: ${client}, tier: ${tier} }\n`;
}

describe('the keys file', () => {
  test('is followed while the gateway runs: edited, replaced, linked; what is broken changes nothing', async () => {
    const file = join(folder, 'keys.yaml');
    await writeFile(file, row('file-1', 'filed'));
    await using gateway = await startWith(
      `clients: { keysFile: ${file}, keys: [{ key: own-1, client: owner, tier: gold }] }\ntiers: { gold: {} }`,
      2,
    );
    const { generation, hash } = { generation: gateway.workerPids().join(), hash: await hashOf(gateway) };
    expect([await statusOf(gateway, 'own-1'), await statusOf(gateway, 'file-1')]).toEqual([200, 200]);

    // Edited in place: one key withdrawn, another added.
    await writeFile(file, row('file-2', 'filed'));
    await eventually('the new key is known', async () => await allSay(gateway, 'file-2', 200));
    expect(await allSay(gateway, 'file-1', 401)).toBe(true);
    expect(await statusOf(gateway, 'own-1')).toBe(200);
    expect(await hashOf(gateway)).not.toBe(hash);

    // Half written, of an unknown tier, with a key that another client has, and gone: one line each, and nothing else.
    const broken = [
      row('file-3', 'filed').slice(0, -9),
      row('file-3', 'filed', 'platinum'),
      row('own-1', 'thief'),
    ];
    for (const [index, text] of broken.entries()) {
      await writeFile(file, text);
      await eventually('it was refused', () => count(gateway, 'keys not reloaded') === index + 1);
      expect([await statusOf(gateway, 'file-2'), await statusOf(gateway, 'file-3')]).toEqual([200, 401]);
    }
    await unlink(file);
    await eventually('its end was noticed', () => count(gateway, 'keys not reloaded') === broken.length + 1);
    expect(await statusOf(gateway, 'file-2')).toBe(200);
    expect(gateway.logs()).not.toMatch(/file-\d/);

    // A link that is turned, as Kubernetes does it.
    await writeFile(join(folder, 'next.yaml'), row('file-4', 'filed'));
    await symlink(join(folder, 'next.yaml'), join(folder, 'link'));
    await rename(join(folder, 'link'), file);
    await eventually('the linked key is known', async () => await allSay(gateway, 'file-4', 200));
    expect(await allSay(gateway, 'file-2', 401)).toBe(true);

    // A worker that starts now has the keys of now; nobody was restarted for them, and no reload was made.
    expect(gateway.workerPids().join()).toBe(generation);
    const [pid = 0] = gateway.workerPids();
    process.kill(pid, 'SIGKILL');
    await eventually('it was replaced', () => {
      const pids = gateway.workerPids();
      return pids.length === 2 && !pids.includes(pid);
    });
    await eventually('all know the key', async () => await allSay(gateway, 'file-4', 200).catch(() => false));
    expect(await allSay(gateway, 'file-2', 401)).toBe(true);
    const { body } = await gateway.admin('/metrics');
    expect(String(body)).toMatch(/^spillway_keys_reloads_total\{result="ok"\} 2$/m);
    expect(String(body)).toMatch(/^spillway_keys_reloads_total\{result="refused"\} 4$/m);
    expect(String(body)).not.toMatch(/config_reloads_total\{.*\} [1-9]/);
  });

  test('a change of tier moves the client at once, and its quota stays used; nothing else on disk is taken along', async () => {
    const file = join(folder, 'tiers.yaml');
    await writeFile(file, row('t-1', 'tom', 'few'));
    const text = `clients: { keysFile: ${file} }\ntiers: { few: { rate: 1/h, burst: 2 }, gold: { rate: 1/h, burst: 4 } }`;
    await using gateway = await startWith(text);
    seen = [];
    expect(await statusOf(gateway, 't-1')).toBe(200);
    await gateway.rewrite('listeners: [this is not a configuration');
    await writeFile(file, row('t-1', 'tom'));
    await eventually('keys reloaded', () => count(gateway, 'keys reloaded') === 1);
    await eventually('the worker knows', async () => {
      await statusOf(gateway, 't-1');
      return seen.at(-1) === 'tom gold';
    });
    expect(seen[0]).toBe('tom few');
    // Two units at most more than the first burst: the bucket stayed.
    const statuses: number[] = [];
    for (let turn = 0; turn < 5; turn++) statuses.push(await statusOf(gateway, 't-1'));
    expect(statuses.slice(-2)).toEqual([429, 429]);
    expect(seen.length).toBeLessThanOrEqual(4);
  });
});

async function hashOf(gateway: Gateway): Promise<string> {
  const { body } = await gateway.admin('/v1/status');
  return (body as { config: { hash: string } }).config.hash;
}

async function verifiedTokens(gateway: Gateway): Promise<number> {
  const { body } = await gateway.admin('/metrics');
  const lines = String(body).matchAll(/^spillway_tokens_verified_total\{.*\} (\d+)$/gm);
  return [...lines].reduce((sum, [, value]) => sum + Number(value), 0);
}

const GUESSING = (jwk: string): string => `
trust: { proxies: [127.0.0.1] }
clients:
  identify:
    - { header: x-api-key }
    - { cookie: session }
    - { jwt: { keys: [${jwk}], issuer: "${ISSUER}", audience: ${AUDIENCE}, algorithms: [ES256] } }
    - { ip: {} }
  keys: [{ key: right-1, client: acme, tier: gold }, { key: right-2, client: bolt, tier: gold }]
  allow: [192.0.2.0/24]
  deny: [198.51.100.0/24]
tiers: { gold: { rate: 1000/s, burst: 1000 }, default: { rate: 1/h, burst: 5 } }
`;

describe('guesses and lists', () => {
  let gateway: Gateway;
  let signer: IssuerKey;
  const from = (address: string, more: Record<string, string> = {}): { headers: Record<string, string> } => ({
    headers: { 'x-forwarded-for': address, ...more },
  });

  beforeAll(async () => {
    signer = await makeKey('ES256', 'k1');
    gateway = await startWith(GUESSING(JSON.stringify(signer.jwk)));
  });

  afterAll(async () => {
    await gateway[Symbol.asyncDispose]();
  });

  test('each 401 is charged to its address; when that is used up a right guess and a wrong one look alike: 429', async () => {
    const guess = async (key: string, address = '203.0.113.7'): Promise<number> =>
      (await ask(gateway.port, from(address, { 'x-api-key': key }))).status;
    const statuses: number[] = [];
    for (let turn = 0; turn < 5; turn++) statuses.push(await guess(`wrong-${turn}`));
    expect(statuses).toEqual([401, 401, 401, 401, 401]);
    // Nobody waits for the store to charge a 401: it says a moment later that the five units are used up.
    await eventually('guesses are refused', async () => (await guess('wrong')) === 429);
    for (let turn = 0; turn < 20; turn++) statuses.push(await guess(`wrong-${turn}`));
    expect(new Set(statuses.slice(5))).toEqual(new Set([429]));
    const answer = await ask(gateway.port, from('203.0.113.7', { 'x-api-key': 'right-2' }));
    expectProblem(answer, 429, 'SPW_RATE_CLIENT');
    expect(Number(valueOf(answer.rawHeaders, 'retry-after'))).toBeGreaterThan(60);
    expect(valueOf(answer.rawHeaders, 'ratelimit')).toMatch(/^"client";r=0/);
    // The same bucket as the address's own requests; other addresses have theirs.
    expect((await ask(gateway.port, from('203.0.113.7'))).status).toBe(429);
    expect(await guess('right-2', '203.0.113.8')).toBe(200);
    // A key that has been seen is nobody's guess.
    expect(await guess('right-2')).toBe(200);
  });

  test('so is each bad token; a good one that was seen goes on, one that was not is not even verified', async () => {
    const address = '203.0.113.30';
    const bear = async (token: string): Promise<number> =>
      (await ask(gateway.port, from(address, { authorization: `Bearer ${token}` }))).status;
    const good = await signer.sign({ tier: 'gold' });
    expect(await bear(good)).toBe(200);
    const statuses: number[] = [];
    const expired = async (turn: number): Promise<number> =>
      await bear(await signer.sign({ exp: 1000 + turn }));
    for (let turn = 0; turn < 5; turn++) statuses.push(await expired(turn));
    expect(statuses).toEqual([401, 401, 401, 401, 401]);
    await eventually('bad tokens are refused', async () => (await expired(5)) === 429);
    for (let turn = 0; turn < 20; turn++) statuses.push(await expired(turn));
    expect(new Set(statuses.slice(5))).toEqual(new Set([429]));
    const verified = await verifiedTokens(gateway);
    expect([await bear(good), await bear(await signer.sign())]).toEqual([200, 429]);
    expect(await verifiedTokens(gateway)).toBe(verified);
  });

  test('under observe guesses are counted and answered 401, however many', async () => {
    const text = GUESSING(JSON.stringify(signer.jwk)).replace(
      'tiers: {',
      'tiers: { default: { rate: 1/h, burst: 5, mode: observe },',
    );
    await using observed = await startWith(text.replace(', default: { rate: 1/h, burst: 5 } }', ' }'));
    for (let turn = 0; turn < 12; turn++)
      expect((await ask(observed.port, from('203.0.113.7', { 'x-api-key': `w-${turn}` }))).status).toBe(401);
    expect((await ask(observed.port, from('203.0.113.7'))).status).toBe(200);
  });

  test('a cookie names a client as a header does; the header stands first', async () => {
    seen = [];
    const answer = await ask(gateway.port, from('203.0.113.20', { cookie: 'a=b; session=right-1; c=d' }));
    expect(answer.status).toBe(200);
    const both = { cookie: 'session=right-1', 'x-api-key': 'right-2' };
    expect((await ask(gateway.port, from('203.0.113.20', both))).status).toBe(200);
    const unknown = await ask(gateway.port, from('203.0.113.20', { cookie: 'session=nobody' }));
    expectProblem(unknown, 401, 'SPW_UNKNOWN_KEY');
    expect(valueOf(unknown.rawHeaders, 'www-authenticate')).toBe('ApiKey realm="api"');
    expect(seen).toEqual(['acme gold', 'bolt gold']);
  });

  test('an allowed network is never limited, not even for guesses; a denied one is 403 with any key', async () => {
    for (let turn = 0; turn < 12; turn++) {
      expect((await ask(gateway.port, from('192.0.2.9'))).status).toBe(200);
      expect((await ask(gateway.port, from('192.0.2.9', { 'x-api-key': `w-${turn}` }))).status).toBe(401);
    }
    expect(valueOf((await ask(gateway.port, from('192.0.2.9'))).rawHeaders, 'ratelimit')).toBeUndefined();
    for (const headers of [{}, { 'x-api-key': 'right-1' }, { cookie: 'session=right-1' }])
      expectProblem(await ask(gateway.port, from('198.51.100.3', headers)), 403, 'SPW_FORBIDDEN');
    expectProblem(await ask(gateway.port, from('64:ff9b::198.51.100.3')), 403, 'SPW_FORBIDDEN');
  });
});
