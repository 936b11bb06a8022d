/**
 * Every way in which an HTTP/1 origin can misbehave has its answer. One gateway, one service and one raw origin a
 * fault; each case states the answer, the attempts, and what becomes of the connection.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { startFaultOrigin } from '../harness/fault-origin.ts';
import type { FaultName, FaultOrigin } from '../harness/fault-origin.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { startOrigin } from '../harness/origin.ts';
import { eventually } from '../harness/ports.ts';
import { headerOf, openRaw, rawExchange } from '../harness/raw.ts';
import type { RawAnswer } from '../harness/raw.ts';

const REQUEST_TIMEOUT_MS = 1000;
const IDLE_TIMEOUT_MS = 700;
/** Where no time limit is tested: far above what a busy machine takes, so that what came at once is told from what came then. */
const FAR_MS = 30_000;
const AT_ONCE_MS = 10_000;

/** Faults with an origin of their own, by the name of their route. */
const NAMES = [
  'none',
  'silent',
  'slowHead',
  'finBeforeByte',
  'resetBeforeByte',
  'resetReused',
  'headThenNothing',
  'diesMidChunk',
  'diesMidLength',
  'garbage',
  'lengthAndCoding',
  'twoLengths',
  'hugeHead',
  'endlessHeaders',
  'nulInHeader',
  'bareLineFeed',
  'foldedHeader',
  'status999',
  'unaskedUpgrade',
  'gzipChunked',
  'secondAnswer',
  'earlyHints',
  'tenThousandInterims',
  'noContentWithBody',
  'notModifiedWithLength',
  'untilClose',
  'untilReset',
  'hopByHop',
  'unavailable',
  'proxyAuthenticate',
  'unauthorized',
  'innerLocation',
  'twoCookies',
  'html',
  'stopReading',
] as const satisfies readonly FaultName[];

type Name = (typeof NAMES)[number];

/** Those whose answer is that of a time limit. */
const TIMED: ReadonlySet<string> = new Set<Name>(['silent', 'slowHead', 'headThenNothing', 'stopReading']);

const origins = new Map<Name | 'refused', FaultOrigin>();
let gateway: Gateway;

beforeAll(async () => {
  for (const name of NAMES) origins.set(name, await startFaultOrigin('none'));
  origins.set('refused', await startFaultOrigin('none'));
  const services = [...origins].map(
    ([name, origin]) => `
  ${name}:
    instances: [${origin.url}]
    sla: 10s
    timeout: { connect: 10s, request: ${TIMED.has(name) ? REQUEST_TIMEOUT_MS : FAR_MS}ms, idle: ${TIMED.has(name) ? IDLE_TIMEOUT_MS : FAR_MS}ms }
    readiness: { path: /ready, interval: 600s, timeout: 10s }`,
  );
  const routes = [...origins.keys()].map((name) => `\n  - { path: /${name}, service: ${name} }`);
  gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
services:${services.join('')}
routes:${routes.join('')}
`);
  for (const [name, origin] of origins) if (name !== 'refused') origin.set(name);
  await origins.get('refused')?.refuse();
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  for (const origin of origins.values()) await origin[Symbol.asyncDispose]();
});

function originOf(name: Name | 'refused'): FaultOrigin {
  const origin = origins.get(name);
  if (origin === undefined) throw new Error(`no origin ${name}`);
  return origin;
}

function request(name: string, method = 'GET', body = ''): string {
  const length = body === '' ? '' : `content-length: ${body.length}\r\n`;
  return `${method} /${name} HTTP/1.1\r\nhost: a\r\naccept: application/json\r\n${length}\r\n${body}`;
}

/** One request on a connection of its own; the final answer. */
async function ask(name: Name | 'refused', method = 'GET', body = ''): Promise<RawAnswer> {
  const { answers, rest } = await rawExchange(gateway.port, request(name, method, body), {
    methods: [method],
  });
  expect(rest).toBe('');
  const final = answers.at(-1);
  if (final === undefined) throw new Error(`no answer to ${name}`);
  return final;
}

function expectProblem(answer: RawAnswer, status: number, code: string): void {
  expect([answer.status, answer.body]).toEqual([status, expect.stringContaining(`"${code}"`)]);
  expect(headerOf(answer, 'content-type')).toMatch(/^application\/problem\+json/);
  expect(headerOf(answer, 'cache-control')).toBe('no-store');
  expect(answer.body).not.toMatch(/127\.0\.0\.1|ECONN|undici|llhttp|HPE_|\bat .*:\d+/);
}

/** The answer has begun and is cut: its end never looks like one. */
async function expectCut(name: Name): Promise<void> {
  await using client = await openRaw(gateway.port);
  client.write(request(name));
  await client.untilClosed(AT_ONCE_MS);
  const text = client.received();
  expect(text).toMatch(/^HTTP\/1\.1 200 /);
  expect(text).not.toMatch(/0\r\n\r\n$/);
  const length = /content-length: (\d+)/i.exec(text);
  if (length !== null) expect(text.length - text.indexOf('\r\n\r\n') - 4).toBeLessThan(Number(length[1]));
}

describe('before an answer', () => {
  test('U01 a refused connection is 502 SPW_CONNECT_FAILED', async () => {
    expectProblem(await ask('refused'), 502, 'SPW_CONNECT_FAILED');
  });

  test.each(['silent', 'slowHead'] as const)(
    'U06 U10 %s is 504 at the deadline; bytes do not extend it',
    async (name) => {
      const startedAt = performance.now();
      expectProblem(await ask(name), 504, 'SPW_UPSTREAM_TIMEOUT');
      const tookMs = performance.now() - startedAt;
      expect(tookMs).toBeGreaterThan(REQUEST_TIMEOUT_MS - 30);
      // The slow head would have taken 23 s.
      expect(tookMs).toBeLessThan(AT_ONCE_MS);
      expect(originOf(name).requests).toHaveLength(1);
      await eventually('the connection is cut', () => originOf(name).openConnections() === 0);
    },
  );

  test.each(['finBeforeByte', 'resetBeforeByte'] as const)(
    'U07 U08 %s is 502 SPW_UPSTREAM_RESET, a POST is sent once',
    async (name) => {
      expectProblem(await ask(name), 502, 'SPW_UPSTREAM_RESET');
      expect(originOf(name).requests.length).toBeLessThanOrEqual(2);
      const before = originOf(name).requests.length;
      expectProblem(await ask(name, 'POST', 'once'), 502, 'SPW_UPSTREAM_RESET');
      expect(originOf(name).requests.length - before).toBe(1);
    },
  );

  test('U09 a reset on a reused connection is tried again for a GET, on a fresh one', async () => {
    expect((await ask('resetReused')).status).toBe(200);
    expect((await ask('resetReused')).status).toBe(200);
    const { requests } = originOf('resetReused');
    expect(requests).toHaveLength(3);
    expect(requests.map((each) => each.connection)).toEqual([1, 1, 2]);
  });

  test('U09 and not for a POST whose head was written', async () => {
    const { requests } = originOf('resetReused');
    const before = requests.length;
    // The connection that served the repeated GET is used a second time, and so reset.
    expectProblem(await ask('resetReused', 'POST', 'once'), 502, 'SPW_UPSTREAM_RESET');
    expect(requests.length - before).toBe(1);
    expect(requests.at(-1)?.connection).toBe(requests.at(-2)?.connection);
  });

  test('U33 an origin that stops reading is 504, and the body is not swallowed', async () => {
    await using client = await openRaw(gateway.port);
    const bodyBytes = 9 * 1024 * 1024;
    client.write(`POST /stopReading HTTP/1.1\r\nhost: a\r\ncontent-length: ${bodyBytes}\r\n\r\n`);
    client.write(Buffer.alloc(bodyBytes, 'x'));
    const { answers } = await client.untilAnswers(1);
    expect(answers.at(-1)?.status).toBe(504);
  });
});

describe('an answer that is not HTTP, or can be read in two ways, is 502 SPW_UPSTREAM_PROTOCOL', () => {
  test.each([
    ['U15', 'garbage'],
    ['U16', 'lengthAndCoding'],
    ['U17', 'twoLengths'],
    ['U20', 'hugeHead'],
    ['U20', 'endlessHeaders'],
    ['U21', 'nulInHeader'],
    ['U21', 'bareLineFeed'],
    ['U21', 'foldedHeader'],
    ['U22', 'status999'],
    ['U23', 'unaskedUpgrade'],
    ['U25', 'tenThousandInterims'],
    ['U29', 'gzipChunked'],
    ['U35', 'proxyAuthenticate'],
  ] as const)('%s %s', async (_, name) => {
    expectProblem(await ask(name), 502, 'SPW_UPSTREAM_PROTOCOL');
    expect(originOf(name).requests).toHaveLength(1);
    await eventually('the connection is cut', () => originOf(name).openConnections() === 0);
  });
});

describe('an answer that ends in its middle is cut, never ended cleanly', () => {
  test('U11 head, then nothing: at timeout.idle', async () => {
    const startedAt = performance.now();
    await expectCut('headThenNothing');
    expect(performance.now() - startedAt).toBeGreaterThan(IDLE_TIMEOUT_MS - 50);
  });

  test('U13 dies in the middle of a chunk: at once', async () => {
    await expectCut('diesMidChunk');
  });

  test('U14 dies short of its length: at once', async () => {
    await expectCut('diesMidLength');
  });

  test('U28 a body by close that ends in a reset', async () => {
    await expectCut('untilReset');
  });
});

describe('what passes', () => {
  test('U18 a second answer is never delivered and its connection never used again', async () => {
    for (const turn of [1, 2]) {
      const answer = await ask('secondAnswer');
      expect([turn, answer.status, answer.body]).toEqual([turn, 200, 'ok']);
    }
    const { requests } = originOf('secondAnswer');
    expect(requests.map((each) => each.connection)).toEqual([1, 2]);
  });

  test("U19 an unasked answer on an idle connection is nobody's", async () => {
    originOf('none').set({ kind: 'answer', text: 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok' });
    await ask('none');
    originOf('none').set({
      kind: 'drip',
      pieces: () => [
        'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok',
        'HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nbad',
      ],
      gapMs: 50,
    });
    await ask('none');
    await eventually('its connection is given up', () => originOf('none').openConnections() === 0);
    originOf('none').set('none');
    const answer = await ask('none');
    expect([answer.status, answer.body]).toEqual([200, 'ok']);
  });

  test('U24 an early hint passes, and then the answer', async () => {
    const { answers } = await rawExchange(gateway.port, request('earlyHints'));
    expect(answers.map((each) => each.status)).toEqual([103, 200]);
    expect(headerOf(answers[0] as RawAnswer, 'link')).toBe('</a.css>; rel=preload');
    expect(answers[1]?.body).toBe('ok');
  });

  test('U26 a 204 with a body has none, and its connection is destroyed', async () => {
    const answer = await ask('noContentWithBody');
    expect([answer.status, answer.body, headerOf(answer, 'content-length')]).toEqual([204, '', undefined]);
    await eventually('the connection is cut', () => originOf('noContentWithBody').openConnections() === 0);
  });

  test('U26 a 304 keeps its length and its entity tag', async () => {
    const answer = await ask('notModifiedWithLength');
    expect([answer.status, answer.body, headerOf(answer, 'etag')]).toEqual([304, '', '"a"']);
    expect(headerOf(answer, 'content-length')).toBe('100');
  });

  test('U27 an answer to HEAD keeps its length', async () => {
    const origin = originOf('none');
    origin.set({ kind: 'answer', text: 'HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n' });
    const answer = await ask('none', 'HEAD');
    expect([answer.status, headerOf(answer, 'content-length'), answer.body]).toEqual([200, '1234', '']);
    origin.set('none');
  });

  test('U28 a body by close becomes a chunked one', async () => {
    const answer = await ask('untilClose');
    expect(answer).toMatchObject({ status: 200, body: 'to the end', complete: true, chunked: true });
  });

  test('U30 hop-by-hop and nominated fields are stripped, and the client stays connected', async () => {
    await using client = await openRaw(gateway.port);
    client.write(request('hopByHop'));
    const { answers } = await client.untilAnswers(1);
    const names = answers[0]?.headers.map(([name]) => name.toLowerCase()) ?? [];
    expect(names).toContain('x-kept');
    for (const gone of ['x-mine', 'proxy-connection']) expect(names).not.toContain(gone);
    expect(headerOf(answers[0] as RawAnswer, 'connection') ?? 'keep-alive').toBe('keep-alive');
    client.write(request('earlyHints'));
    expect((await client.untilAnswers(2)).answers.at(-1)?.status).toBe(200);
  });

  test('U34 a 503 with Retry-After is relayed after one attempt', async () => {
    const answer = await ask('unavailable');
    expect([answer.status, answer.body, headerOf(answer, 'retry-after')]).toEqual([503, 'busy', '7']);
    expect(originOf('unavailable').requests).toHaveLength(1);
  });

  test('U35 a 401 is relayed', async () => {
    const answer = await ask('unauthorized');
    expect([answer.status, headerOf(answer, 'www-authenticate')]).toEqual([401, 'Basic']);
  });

  test('U36 a relative Location stays relative', async () => {
    const answer = await ask('innerLocation');
    expect([answer.status, headerOf(answer, 'location')]).toEqual([302, '/inner?q=1']);
  });

  test('U37 two cookies stay two, and latin-1 bytes stay bytes', async () => {
    const answer = await ask('twoCookies');
    const cookies = answer.headers
      .filter(([name]) => name.toLowerCase() === 'set-cookie')
      .map(([, value]) => value);
    expect(cookies).toEqual(['a=1', 'b=2']);
    expect(headerOf(answer, 'x-latin')).toBe('caf\u00e9');
  });

  test('U38 an error page of the service is its own', async () => {
    const answer = await ask('html');
    expect([answer.status, answer.body]).toEqual([500, '<h1>Oops</h1>']);
  });
});

const aloneConfig = (url: string, interval: string): string => `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
services:
  shop:
    instances: [${url}]
    sla: 10s
    readiness: { path: /ready, interval: ${interval}, timeout: 10s, rise: 1, fall: 1 }
    breaker: { open: 6s }
    balancing: { slowStart: 1s }
routes: [{ path: /, service: shop }]
`;

/** The machine may be late at any of several; the quickest is the gateway's own doing. */
async function expectQuick503s(port: number, code: string): Promise<void> {
  const tookMs: number[] = [];
  for (let turn = 0; turn < 10; turn += 1) {
    const startedAt = performance.now();
    const { answers } = await rawExchange(port, request(''));
    tookMs.push(performance.now() - startedAt);
    const [answer] = answers;
    if (answer === undefined) throw new Error('no answer');
    expectProblem(answer, 503, code);
    expect(headerOf(answer, 'retry-after')).toMatch(/^[1-9]\d*$/);
  }
  expect(Math.min(...tookMs)).toBeLessThan(50);
}

describe('U46 with no instance to go to, the answer is 503 in milliseconds', () => {
  test('it says no: nobody asks it again until it says yes', async () => {
    await using origin = await startOrigin({ slots: 10, meanMs: 0 });
    await using alone = await startGateway(aloneConfig(origin.url, '100ms'));
    expect((await fetch(alone.publicUrl)).status).toBe(200);
    await origin.set({ ready: false });
    await eventually('it is out', async () => (await fetch(alone.publicUrl)).status === 503);
    const { arrived } = await origin.report();
    await expectQuick503s(alone.port, 'SPW_NO_READY_INSTANCE');
    expect((await origin.report()).arrived).toBe(arrived);
    // Not even a lost service fails the gateway's own readiness.
    await alone.readyz(200);
    await origin.set({ ready: true });
    await eventually('it is served again', async () => (await fetch(alone.publicUrl)).status === 200);
  });

  test('all requests fail: the breaker opens, and closes when they no longer do', async () => {
    await using origin = await startFaultOrigin('none');
    // Its probes pass all the time: only the traffic can tell.
    await using alone = await startGateway(aloneConfig(origin.url, '600s'));
    expect((await fetch(alone.publicUrl)).status).toBe(200);
    origin.set('resetBeforeByte');
    await eventually('the breaker is open', async () => (await fetch(alone.publicUrl)).status === 503);
    await expectQuick503s(alone.port, 'SPW_CIRCUIT_OPEN');
    await alone.readyz(200);
    origin.set('none');
    await eventually('it is served again', async () => (await fetch(alone.publicUrl)).status === 200);
  });
});
