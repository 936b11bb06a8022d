/**
 * Request bodies that are too large, not yet invited or answered before they ended: who is refused reads his refusal, and
 * nothing of what was refused reaches an instance.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { headerOf, openRaw, rawExchange } from '../harness/raw.ts';
import type { RawAnswer } from '../harness/raw.ts';
import { ask, begin, bodyOf, expectProblem, startService, untilIdle, valueOf } from './path-fixture.ts';
import type { Listening } from './path-fixture.ts';

const LIMIT_BYTES = 256 * 1024;

let origin: Listening;
let gateway: Gateway;
/** Requests whose head reached the origin, and how many body bytes came of each. */
let uploads: { expect: string | undefined; bytes: number; ended: boolean }[] = [];

beforeAll(async () => {
  origin = await startService((request, response) => {
    const upload = { expect: request.headers.expect, bytes: 0, ended: false };
    uploads.push(upload);
    request.on('data', (chunk: Buffer) => {
      upload.bytes += chunk.length;
    });
    request.on('error', () => undefined);
    request.once('end', () => {
      upload.ended = true;
      if (!response.headersSent) response.end(String(upload.bytes));
    });
    // A service of its own mind: it knows after the head that it does not want the body.
    if (request.url === '/early') {
      response.writeHead(413, { 'content-type': 'text/plain', 'content-length': 8 }).end('too much');
    }
  });
  gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1, limits: { bodyBytes: ${LIMIT_BYTES / 1024}KiB } }]
workers: 1
clients: { keys: [{ key: good, client: good }] }
services:
  shop:
    instances: [${origin.url}]
    sla: 5s
    readiness: { path: /ready, interval: 600s, timeout: 10s }
routes:
  - { path: /, service: shop }
  - { path: /changed, service: shop, rewrite: / }
  - { path: /limited, service: shop, limits: { perClient: { rate: 1/d, burst: 1 } } }
`);
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await origin[Symbol.asyncDispose]();
});

beforeEach(() => {
  uploads = [];
});

/** From the first refusal on the worker knows by itself; before, a late store may leave it to its own share. */
async function useUpLimit(): Promise<void> {
  await eventually('the limit is used up', async () => {
    return (await ask(gateway.port, { path: '/limited' })).status === 429;
  });
  uploads = [];
}

function statusesOf(answers: readonly RawAnswer[]): readonly number[] {
  return answers.map(({ status }) => status);
}

describe('a body that is too large', () => {
  test('by its length is 413 at once: not read, not offered to an instance', async () => {
    await using client = await openRaw(gateway.port);
    client.write(`POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: ${LIMIT_BYTES + 1}\r\n\r\n`);
    const { answers } = await client.untilAnswers(1);
    expect(statusesOf(answers)).toEqual([413]);
    expect(answers[0]?.body).toContain('"SPW_BODY_TOO_LARGE"');
    await client.untilClosed();
    expect(uploads).toEqual([]);
  });

  test('of exactly the limit passes', async () => {
    const answer = await ask(gateway.port, { method: 'POST', body: Buffer.alloc(LIMIT_BYTES) });
    expect([answer.status, String(answer.body)]).toEqual([200, String(LIMIT_BYTES)]);
  });

  test.each(['/', '/changed'])('in chunks is 413 as soon as it grows past the limit, on %s', async (path) => {
    const { sent, answered } = begin(gateway.port, { method: 'POST', path });
    const chunk = Buffer.alloc(16 * 1024);
    // Never ended: only the bytes that came can be the reason.
    for (let bytes = 0; bytes <= LIMIT_BYTES; bytes += chunk.length) sent.write(chunk);
    const { answer, message } = await answered;
    expectProblem({ ...answer, body: await bodyOf(message) }, 413, 'SPW_BODY_TOO_LARGE');
    sent.destroy();
    await eventually('the instance lost the upload', () => uploads.length === 1);
    await untilIdle(gateway, 'shop');
    expect(uploads[0]?.ended).toBe(false);
  });

  test('of exactly the limit in chunks passes', async () => {
    const answer = await ask(gateway.port, {
      method: 'POST',
      body: Buffer.alloc(LIMIT_BYTES),
      chunked: true,
    });
    expect([answer.status, String(answer.body)]).toEqual([200, String(LIMIT_BYTES)]);
  });
});

describe('an answer before the body has ended', () => {
  test("an instance's early 413 is read by a client that is still sending", async () => {
    await using client = await openRaw(gateway.port);
    client.write(`POST /early HTTP/1.1\r\nhost: a.test\r\ncontent-length: ${LIMIT_BYTES}\r\n\r\n`);
    client.write(Buffer.alloc(16 * 1024));
    const { answers } = await client.untilAnswers(1);
    expect(statusesOf(answers)).toEqual([413]);
    expect(answers[0]?.body).toBe('too much');
    const [answer] = answers;
    expect(answer === undefined ? '' : headerOf(answer, 'connection')).toBe('close');
    // What it sends on is thrown away; it sees an orderly end, no reset that could eat the answer.
    client.write(Buffer.alloc(8 * 1024));
    await client.untilClosed();
    expect(client.ending()).toBe('fin');
    await untilIdle(gateway, 'shop');
  });

  test('our own refusal of a large body is readable too', async () => {
    await useUpLimit();
    await using client = await openRaw(gateway.port);
    client.write(`POST /limited HTTP/1.1\r\nhost: a.test\r\ncontent-length: ${LIMIT_BYTES}\r\n\r\n`);
    client.write(Buffer.alloc(32 * 1024));
    const { answers } = await client.untilAnswers(1);
    expect(statusesOf(answers)).toEqual([429]);
    await client.untilClosed();
    expect(client.ending()).toBe('fin');
    expect(uploads).toEqual([]);
  });

  test('a caller that sends on regardless finds our refusal before its connection breaks', async () => {
    await useUpLimit();
    await using client = await openRaw(gateway.port);
    client.write(`POST /limited HTTP/1.1\r\nhost: a.test\r\ncontent-length: ${LIMIT_BYTES}\r\n\r\n`);
    client.write(Buffer.alloc(LIMIT_BYTES - 1));
    const { answers } = await client.untilAnswers(1);
    expect(statusesOf(answers)).toEqual([429]);
    expect(answers[0]?.complete).toBe(true);
    await client.untilClosed();
    expect(uploads).toEqual([]);
  });

  test('a small refused body is swallowed and its connection lives on', async () => {
    await useUpLimit();
    const { answers } = await rawExchange(
      gateway.port,
      'POST /limited HTTP/1.1\r\nhost: a.test\r\ncontent-length: 5\r\n\r\nhello' +
        'GET / HTTP/1.1\r\nhost: a.test\r\n\r\n',
      { count: 2 },
    );
    expect(statusesOf(answers)).toEqual([429, 200]);
  });
});

describe('Expect: 100-continue', () => {
  const head = (path: string, more = ''): string =>
    `POST ${path} HTTP/1.1\r\nhost: a.test\r\nexpect: 100-continue\r\ncontent-length: 5\r\n${more}\r\n`;

  test.each(['/', '/changed'])('is invited after admission, and never told upstream, on %s', async (path) => {
    await using client = await openRaw(gateway.port);
    client.write(head(path));
    const text = await client.until((all) => all.includes('\r\n\r\n'));
    expect(text).toBe('HTTP/1.1 100 Continue\r\n\r\n');
    client.write('hello');
    const { answers } = await client.untilAnswers(1);
    expect(statusesOf(answers)).toEqual([100, 200]);
    expect(answers[1]?.body).toBe('5');
    expect(uploads).toEqual([{ expect: undefined, bytes: 5, ended: true }]);
  });

  test.each([
    ['an unknown key', head('/', 'x-api-key: bad\r\n'), 401],
    ['a limit', head('/limited'), 429],
    ['a length', head('/').replace('content-length: 5', `content-length: ${LIMIT_BYTES + 1}`), 413],
    ['another expectation', head('/').replace('100-continue', '200-ok'), 417],
  ])('is refused without a 100: %s', async (_, request, status) => {
    if (status === 429) await useUpLimit();
    await using client = await openRaw(gateway.port);
    client.write(request);
    await client.untilClosed();
    const { answers, rest } = await client.untilAnswers(1);
    expect([statusesOf(answers), rest]).toEqual([[status], '']);
    expect(uploads).toEqual([]);
  });

  test('of a body that is already on its way is answered once', async () => {
    const { answers, rest } = await rawExchange(gateway.port, `${head('/')}hello`);
    expect([statusesOf(answers), rest]).toEqual([[100, 200], '']);
  });

  test('gets no 100 over HTTP/1.0', async () => {
    const { answers } = await rawExchange(gateway.port, `${head('/').replace('HTTP/1.1', 'HTTP/1.0')}hello`);
    expect(statusesOf(answers)).toEqual([200]);
  });
});

test('an empty POST tells its length, a GET tells none', async () => {
  const { answers } = await rawExchange(gateway.port, 'POST / HTTP/1.1\r\nhost: a.test\r\n\r\n');
  expect(answers[0]?.body).toBe('0');
  const answer = await ask(gateway.port);
  expect(valueOf(answer.rawHeaders, 'x-request-id')).toBeDefined();
});
