/**
 * Answers that live too long or grow too large, and names of the inside: what an instance may make of a caller's
 * connection is bounded where the configuration says so.
 */
import { expect, test } from 'vitest';

import { startFaultOrigin } from '../harness/fault-origin.ts';
import { startGateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { openRaw, rawExchange } from '../harness/raw.ts';
import { untilIdle } from '../integration/path-fixture.ts';

const STREAM_MS = 1200;
const MOST_BYTES = 64 * 1024;

function yaml(url: string, more: string): string {
  return `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
services:
  shop:
    instances: [${url}]
    sla: 20s
    readiness: { path: /ready, interval: 600s, timeout: 10s }
    ${more}
routes: [{ path: /, service: shop }, { path: /outside, service: shop, rewrite: /inside }]
`;
}

const GET = 'GET / HTTP/1.1\r\nhost: a\r\n\r\n';

test('U12 an answer that trickles is cut at `timeout.stream`, and one without that limit lives on', async () => {
  await using origin = await startFaultOrigin('none');
  await using bounded = await startGateway(
    yaml(origin.url, `timeout: { idle: 30s, stream: ${STREAM_MS}ms }`),
  );
  await using free = await startGateway(yaml(origin.url, 'timeout: { idle: 30s }'));
  origin.set({
    kind: 'drip',
    pieces: function* trickle() {
      yield 'HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n';
      for (;;) yield 'x';
    },
    gapMs: 100,
  });
  await using endless = await openRaw(free.port);
  endless.write(GET);
  await endless.until((text) => text.includes('\r\n\r\n'));
  const startedAt = performance.now();
  const { answers } = await rawExchange(bounded.port, GET);
  const tookMs = performance.now() - startedAt;
  expect([answers[0]?.status, answers[0]?.complete]).toEqual([200, false]);
  expect(tookMs).toBeGreaterThan(STREAM_MS - 250);
  expect(tookMs).toBeLessThan(10_000);
  await untilIdle(bounded, 'shop');
  expect(endless.isClosed()).toBe(false);
});

test('U39 an answer beyond `limits.responseBytes` never looks whole, whatever its framing', async () => {
  await using origin = await startFaultOrigin('none');
  await using gateway = await startGateway(
    yaml(origin.url, `limits: { responseBytes: ${MOST_BYTES / 1024}KiB }`),
  );
  const body = 'x'.repeat(MOST_BYTES);
  const over = `${body}x`;
  const chunk = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n`;
  const ok = 'HTTP/1.1 200 OK\r\n';
  const chunked = `${ok}transfer-encoding: chunked\r\n\r\n`;
  for (const [text, whole] of [
    [`${ok}content-length: ${body.length}\r\n\r\n${body}`, true],
    [`${ok}content-length: ${over.length}\r\n\r\n${over}`, false],
    [`${chunked}${chunk(body)}0\r\n\r\n`, true],
    [`${chunked}${chunk(body)}${chunk('x')}0\r\n\r\n`, false],
  ] as const) {
    origin.set({ kind: 'answer', text });
    const { answers } = await rawExchange(gateway.port, GET);
    const complete = answers[0]?.complete === true && answers[0].status === 200;
    expect([text.slice(0, 60), complete]).toEqual([text.slice(0, 60), whole]);
    if (whole) expect(answers[0]?.body.length).toBe(MOST_BYTES);
    await untilIdle(gateway, 'shop');
  }
});

test('U31 U32 U36 on one gateway: trailers, an early refusal and an inner Location', async () => {
  await using origin = await startFaultOrigin('none');
  await using gateway = await startGateway(yaml(origin.url, ''));
  // U31: never merged into the head, dropped for whoever did not ask.
  origin.set({
    kind: 'answer',
    text: 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\nset-cookie: a=1\r\n\r\n',
  });
  const dropped = await rawExchange(gateway.port, GET);
  expect([dropped.answers[0]?.body, /x-sum|set-cookie/i.test(dropped.text)]).toEqual(['ok', false]);
  const asked = await rawExchange(
    gateway.port,
    'GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te\r\n\r\n',
  );
  expect(asked.text).toMatch(/\r\n0\r\nx-sum: 7\r\n/i);
  // U32: an instance that answers a head and reads no further is heard, and its connection is not used again.
  await using early = await startFaultOrigin('none');
  await using uploading = await startGateway(yaml(early.url, ''));
  early.set({
    kind: 'early',
    text: 'HTTP/1.1 413 Too Much\r\ncontent-length: 4\r\nconnection: close\r\n\r\nno!!',
  });
  await using client = await openRaw(uploading.port);
  client.write('POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9000000\r\n\r\n');
  client.write(Buffer.alloc(200_000));
  const { answers } = await client.untilAnswers(1);
  expect([answers[0]?.status, answers[0]?.body]).toEqual([413, 'no!!']);
  await client.untilClosed();
  await untilIdle(uploading, 'shop');
  await eventually('the half-sent request is given up', () => early.openConnections() === 0);
  // U36: the address of the instance goes to nobody, and the prefix is put back.
  for (const [inside, outside] of [
    [`${origin.url}/inside/next?x=1`, '/outside/next?x=1'],
    [`http://127.0.0.1:${origin.port}/inside`, '/outside'],
    ['/inside/next', '/inside/next'],
    ['https://elsewhere.example/inside', 'https://elsewhere.example/inside'],
    [`//127.0.0.1:${origin.port}/inside/x`, '/outside/x'],
  ] as const) {
    origin.set({
      kind: 'answer',
      text: `HTTP/1.1 302 Found\r\nlocation: ${inside}\r\ncontent-length: 0\r\n\r\n`,
    });
    const moved = await rawExchange(gateway.port, 'GET /outside HTTP/1.1\r\nhost: a\r\n\r\n');
    const location = /\r\nlocation: ([^\r]*)/i.exec(moved.text)?.[1];
    expect([inside, location]).toEqual([inside, outside]);
  }
});
