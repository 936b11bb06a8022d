/**
 * Second attempts beyond the plain rules: a quick roll in which every instance is refused once, instances that fall silent
 * while they are asked, tries with a time of their own, and requests that may be repeated since they carry a key.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { startFaultOrigin } from '../harness/fault-origin.ts';
import type { FaultOrigin } from '../harness/fault-origin.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { startListener } from '../harness/origin.ts';
import { eventually } from '../harness/ports.ts';
import { ask, begin, bodyOf, startService, untilIdle, untilState, valueOf } from './path-fixture.ts';
import type { Answer, Asked, Listening } from './path-fixture.ts';

/** Nothing but what is tested decides: no ejection, no breaker, probes that come once. */
const CALM = `
    sla: 5s
    breaker: { consecutive: 10000, minRequests: 100000 }
    outlier: { consecutiveFailures: 10000, minRequests: 100000 }`;
const ONE_PROBE = 'readiness: { path: /ready, interval: 600s, timeout: 10s }';

function configuration(urls: readonly string[], service: string): string {
  return `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
shedding: { mode: off }
services:
  shop:
    instances: [${urls.join(', ')}]${CALM}
    ${service}
routes: [{ path: /, service: shop }]
`;
}

let gateway: Gateway;

describe('a roll that is quicker than the probes', () => {
  let origins: FaultOrigin[] = [];

  beforeAll(async () => {
    origins = [];
    for (let index = 0; index < 5; index++) origins.push(await startFaultOrigin());
    gateway = await startGateway(
      configuration(
        origins.map(({ url }) => url),
        ONE_PROBE,
      ),
    );
  });
  afterAll(async () => {
    await gateway[Symbol.asyncDispose]();
    for (const origin of origins) await origin[Symbol.asyncDispose]();
  });

  test('costs no request: each instance is found closed once, and nothing was sent to it', async () => {
    const seen = (): number => origins.reduce((sum, { requests }) => sum + requests.length, 0);
    const repeated = (): number =>
      origins.flatMap(({ requests }) => requests).filter(({ text }) => /x-spillway-attempt: 2/i.test(text))
        .length;
    let asked = 0;
    const statuses = new Set<number>();
    for (const [index, origin] of origins.entries()) {
      await origin.refuse();
      // All of them while the failures of the earlier ones are remembered.
      for (let turn = 0; turn < 100 && repeated() === index; turn++) {
        const { status } = await ask(gateway.port, { method: asked % 2 === 0 ? 'GET' : 'POST' });
        statuses.add(status);
        asked++;
      }
      expect([index, repeated()]).toEqual([index, index + 1]);
      await origin.listen();
    }
    expect([...statuses]).toEqual([200]);
    expect(seen()).toBe(asked);
  });
});

describe('an instance that says in an answer that it drains', () => {
  test('gets no new requests, and its callers do not see the word', async () => {
    await using leaving = await startFaultOrigin();
    await using staying = await startFaultOrigin();
    gateway = await startGateway(configuration([leaving.url, staying.url], ONE_PROBE));
    try {
      leaving.set({ kind: 'answer', text: 'HTTP/1.1 200 OK\r\nx-drain: 1\r\ncontent-length: 2\r\n\r\nok' });
      for (let turn = 0; turn < 60 && leaving.requests.length === 0; turn++) {
        expect(valueOf((await ask(gateway.port)).rawHeaders, 'x-drain')).toBeUndefined();
      }
      await untilState(gateway, 'shop', new URL(leaving.url).host, 'draining');
      const before = leaving.requests.length;
      for (let turn = 0; turn < 40; turn++) expect((await ask(gateway.port)).status).toBe(200);
      expect(leaving.requests.length).toBe(before);
    } finally {
      await gateway[Symbol.asyncDispose]();
    }
  });
});

describe('an instance that falls silent while it is asked', () => {
  let silent: Listening;
  let other: Listening;
  let isSilent = false;
  let held: { readonly method: string; readonly response: ServerResponse }[] = [];
  let answered: IncomingMessage[] = [];
  /** Takes the answers of the other one, too, until it is over. */
  let park: ((response: ServerResponse) => void) | undefined = undefined;

  beforeEach(async () => {
    park = undefined;
    isSilent = false;
    held = [];
    answered = [];
    silent = await startListener((request, response) => {
      // Probes are held too, by nobody who counts.
      if (isSilent) held.push({ method: request.url === '/ready' ? '' : (request.method ?? ''), response });
      else response.writeHead(200, { 'content-length': 0 }).end();
    });
    other = await startService((request, response) => {
      answered.push(request);
      if (park === undefined) response.end('other');
      else park(response);
    });
    gateway = await startGateway(
      configuration(
        [silent.url, other.url],
        `readiness: { path: /ready, interval: 200ms, timeout: 100ms, fall: 2 }
    timeout: { request: 15s }
    balancing: { slowStart: 0s }
    retry: { budget: 0% }`,
      ),
    );
  });
  afterEach(async () => {
    await gateway[Symbol.asyncDispose]();
    await silent[Symbol.asyncDispose]();
    await other[Symbol.asyncDispose]();
  });

  /** Sends requests until so many of them wait at the silent one. @returns what all of them came to, in the order asked */
  async function untilHeld(count: number, asked: Asked): Promise<Promise<Answer>[]> {
    const answers: Promise<Answer>[] = [];
    isSilent = true;
    const waiting = (): number => held.filter(({ method }) => method === asked.method).length;
    while (waiting() < count) {
      const before = waiting() + answered.length;
      answers.push(ask(gateway.port, asked));
      await eventually('it has reached an instance', () => waiting() + answered.length > before);
    }
    return answers;
  }

  test('has its waiting GETs answered by the other, long before their time is over', async () => {
    const from = performance.now();
    const answers = await untilHeld(1, { method: 'GET' });
    for (const { status, body } of await Promise.all(answers)) {
      expect([status, body.toString()]).toEqual([200, 'other']);
    }
    expect(performance.now() - from).toBeLessThan(30_000);
    expect(valueOf(answered.at(-1)?.rawHeaders ?? [], 'x-spillway-attempt')).toBe('2');
    // The gateway has let go of it.
    await eventually('its connection is cut', () =>
      held.every(({ method, response }) => method !== 'GET' || response.destroyed),
    );
    await untilIdle(gateway, 'shop');
  });

  test('keeps its POSTs: they are answered by it or by nobody', async () => {
    const answers = await untilHeld(1, { method: 'POST', body: 'once' });
    await untilState(gateway, 'shop', new URL(silent.url).host, 'down');
    isSilent = false;
    for (const { method, response } of held) if (method === 'POST') response.end('late');
    const bodies = (await Promise.all(answers)).map(({ body }) => body.toString());
    expect(bodies.filter((body) => body === 'late')).toHaveLength(1);
    expect(answered.every(({ rawHeaders }) => valueOf(rawHeaders, 'x-spillway-attempt') === undefined)).toBe(
      true,
    );
  });

  test('moves no more of them than the budget has, and the rest waits on', async () => {
    isSilent = true;
    const parked: ServerResponse[] = [];
    park = (response) => parked.push(response);
    const answers = Array.from({ length: 40 }, () => ask(gateway.port));
    const waiting = (): ServerResponse[] =>
      held.filter(({ method }) => method === 'GET').map(({ response }) => response);
    const moved = (): number =>
      answered.filter(({ rawHeaders }) => valueOf(rawHeaders, 'x-spillway-attempt') === '2').length;
    const reached = (): number => waiting().length + answered.length - moved();
    await eventually('all have reached an instance', () => reached() === 40);
    const waited = waiting().length;
    expect(waited).toBeGreaterThan(6);
    await untilState(gateway, 'shop', new URL(silent.url).host, 'down');
    await eventually('the budget is spent', () => moved() === 6);
    isSilent = false;
    for (const response of waiting()) if (!response.destroyed) response.end('late');
    park = undefined;
    for (const response of parked) response.end('other');
    const all = await Promise.all(answers);
    expect(all.map(({ status }) => status)).toEqual(all.map(() => 200));
    expect(all.filter(({ body }) => body.toString() === 'late')).toHaveLength(waited - 6);
    expect(moved()).toBe(6);
    await untilIdle(gateway, 'shop');
  });
});

describe('`retry.perTry`', () => {
  let slow: Listening;
  let quick: Listening;
  let slowAsked: string[] = [];

  beforeEach(async () => {
    slowAsked = [];
    slow = await startService((request, response) => {
      bodyOf(request)
        .then((body) => {
          slowAsked.push(`${request.method} ${body.length}`);
          if (request.url === '/begun') response.writeHead(200).write('be');
        })
        .catch(() => response.destroy());
    });
    quick = await startService((request, response) => {
      bodyOf(request)
        .then(() => response.end('quick'))
        .catch(() => response.destroy());
    });
    gateway = await startGateway(
      configuration(
        [slow.url, quick.url],
        `${ONE_PROBE}\n    retry: { perTry: 300ms }\n    timeout: { request: 15s }`,
      ),
    );
  });
  afterEach(async () => {
    await gateway[Symbol.asyncDispose]();
    await slow[Symbol.asyncDispose]();
    await quick[Symbol.asyncDispose]();
  });

  async function askThroughSlow(asked: Asked): Promise<Answer & { readonly ms: number }> {
    for (let turn = 0; turn < 60; turn++) {
      const before = slowAsked.length;
      const from = performance.now();
      const answer = await ask(gateway.port, asked);
      if (slowAsked.length > before) return { ...answer, ms: performance.now() - from };
    }
    throw new Error('the slow instance was never asked');
  }

  test('gives a GET up at an instance after that time, and asks another', async () => {
    const { status, body, ms } = await askThroughSlow({});
    expect([status, body.toString()]).toEqual([200, 'quick']);
    expect(ms).toBeGreaterThanOrEqual(300);
    await untilIdle(gateway, 'shop');
  });

  test('ends a POST after that time, counted from its last byte, since it cannot be repeated', async () => {
    for (let turn = 0; turn < 60 && slowAsked.length === 0; turn++) {
      const { sent, answered } = begin(gateway.port, { method: 'POST', body: 'x'.repeat(9) });
      sent.write('xxx');
      // Longer than a try may take: a caller that sends slowly uses up nobody's time.
      await new Promise((resolve) => setTimeout(resolve, 450));
      const from = performance.now();
      sent.end('xxxxxx');
      const { message, answer } = await answered;
      const text = (await bodyOf(message)).toString();
      if (slowAsked.length === 0) expect([answer.status, text]).toEqual([200, 'quick']);
      else {
        expect([answer.status, text]).toEqual([504, expect.stringContaining('SPW_UPSTREAM_TIMEOUT')]);
        expect(performance.now() - from).toBeGreaterThanOrEqual(290);
      }
    }
    expect(slowAsked).toEqual(['POST 9']);
  });

  test('is no limit of an answer that has begun', async () => {
    const { sent, answered } = begin(gateway.port, { path: '/begun' });
    sent.end();
    const { message, answer } = await answered;
    expect(answer.status).toBe(200);
    if (slowAsked.length === 0) return;
    const ended = Promise.race([
      bodyOf(message),
      new Promise((resolve) => setTimeout(resolve, 600, 'still')),
    ]);
    expect(await ended).toBe('still');
    message.destroy();
  });
});

describe('`retry.idempotencyKey`', () => {
  let failing: FaultOrigin;
  let good: Listening;
  let bodies: Buffer[] = [];

  beforeAll(async () => {
    failing = await startFaultOrigin('resetBeforeByte');
    good = await startService((request, response) => {
      bodyOf(request)
        .then((body) => {
          bodies.push(body);
          response.end('good');
        })
        .catch(() => response.destroy());
    });
  });
  afterAll(async () => {
    await failing[Symbol.asyncDispose]();
    await good[Symbol.asyncDispose]();
  });
  beforeEach(() => {
    bodies = [];
  });
  afterEach(async () => {
    await gateway[Symbol.asyncDispose]();
  });

  async function statusesThroughFailing(service: string, asked: Asked): Promise<number> {
    gateway = await startGateway(
      configuration([failing.url, good.url], `${ONE_PROBE}\n    retry: { budget: 100%${service} }`),
    );
    for (let turn = 0; turn < 60; turn++) {
      const before = failing.requests.length;
      const { status } = await ask(gateway.port, asked);
      if (failing.requests.length > before) return status;
    }
    throw new Error('the failing instance was never asked');
  }

  const KEYED = { 'idempotency-key': '"8e03978e-40d5-43dd-bc93-6894a57f9324"' };

  test.each([
    ['with a length', false],
    ['in chunks', true],
  ])('a POST with a key, %s, reaches another instance whole', async (_, chunked) => {
    const body = Buffer.alloc(60_000, 'whole');
    const status = await statusesThroughFailing(', idempotencyKey: true', {
      method: 'POST',
      body,
      chunked,
      headers: KEYED,
    });
    expect([status, bodies.at(-1)?.equals(body)]).toEqual([200, true]);
  });

  test('one without a key is not repeated', async () => {
    const asked = { method: 'POST', body: 'once' };
    expect(await statusesThroughFailing(', idempotencyKey: true', asked)).toBe(502);
  });

  test('one of which more was read than is kept is not repeated', async () => {
    const asked = { method: 'POST', body: Buffer.alloc(300_000, 'x'), headers: KEYED };
    expect(await statusesThroughFailing(', idempotencyKey: true', asked)).toBe(502);
  });

  test('a service that does not go by keys repeats none', async () => {
    expect(await statusesThroughFailing('', { method: 'POST', body: 'once', headers: KEYED })).toBe(502);
  });
});
