/**
 * A handshake of which nothing was sent may go to another instance, inside the same budget as every retry; one of which a
 * byte was sent never does, since nobody knows what it opened.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { startFaultOrigin } from '../harness/fault-origin.ts';
import type { Behaviour, FaultOrigin } from '../harness/fault-origin.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { rawExchange } from '../harness/raw.ts';
import type { RawAnswer } from '../harness/raw.ts';
import { untilIdle } from './path-fixture.ts';

const HANDSHAKE =
  'GET /chat HTTP/1.1\r\nhost: a.test\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n' +
  'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n';
const ACCEPTS: Behaviour = {
  kind: 'answer',
  text:
    'HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n' +
    'sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n',
  ending: 'fin',
};

/** If each instance is as likely as the other, one of two is missed so often once in 10^18. */
const MOST_TURNS = 60;

let bad: FaultOrigin;
let good: FaultOrigin;
let gateway: Gateway | undefined;

beforeEach(async () => {
  [bad, good] = await Promise.all([startFaultOrigin('none'), startFaultOrigin(ACCEPTS)]);
});

afterEach(async () => {
  await gateway?.[Symbol.asyncDispose]();
  gateway = undefined;
  await Promise.all([bad[Symbol.asyncDispose](), good[Symbol.asyncDispose]()]);
});

/** Nothing but the retry policy decides: no ejection, no breaker, probes that come once. */
async function start(retry: string): Promise<Gateway> {
  gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
services:
  shop:
    instances: [${bad.url}, ${good.url}]
    retry: ${retry}
    breaker: { consecutive: 10000, minRequests: 100000 }
    outlier: { consecutiveFailures: 10000, minRequests: 100000 }
    readiness: { path: /ready, interval: 600s, timeout: 10s }
routes: [{ path: /, service: shop }]
`);
  return gateway;
}

async function shake(port: number): Promise<RawAnswer> {
  const { answers } = await rawExchange(port, HANDSHAKE);
  if (answers[0] === undefined) throw new Error('no answer');
  return answers[0];
}

/** Shakes hands until `met`, which chance decides: one of two instances is picked. The answers in their order. */
async function shakeUntil(
  port: number,
  met: (answers: readonly RawAnswer[]) => boolean,
): Promise<readonly RawAnswer[]> {
  const answers: RawAnswer[] = [];
  while (!met(answers)) {
    if (answers.length === MOST_TURNS) throw new Error(`not met in ${MOST_TURNS} turns`);
    answers.push(await shake(port));
  }
  return answers;
}

/** Status and attempts of the handshakes so far, as the access log has them. */
async function logged(from: Gateway, count: number): Promise<readonly string[]> {
  const lines = (): string[] => from.logs().match(/"path":"\/chat".*/g) ?? [];
  await untilIdle(from, 'shop');
  await eventually(`${count} handshakes are in the log`, () => lines().length >= count);
  expect(lines()).toHaveLength(count);
  return lines().map((line) => `${/"status":(\d+)/.exec(line)?.[1]} ${/"attempts":(\d+)/.exec(line)?.[1]}`);
}

describe('a handshake at an instance that refuses the connection', () => {
  test('goes to another one, told that it is the second try', async () => {
    const running = await start('{ max: 1, budget: 100% }');
    await bad.refuse();
    const second = (): number =>
      good.requests.filter(({ text }) => /\r\nx-spillway-attempt: 2\r\n/i.test(text)).length;
    const answers = await shakeUntil(running.port, () => second() > 0);
    expect([...new Set(answers.map(({ status }) => status))]).toEqual([101]);
    expect(good.requests).toHaveLength(answers.length);
    const attempts = await logged(running, answers.length);
    expect(attempts.filter((each) => each === '101 2')).toHaveLength(second());
    expect(attempts.filter((each) => each === '101 1')).toHaveLength(answers.length - second());
  });

  test('is 502 where the configuration wants no retry', async () => {
    const running = await start('{ max: 0 }');
    await bad.refuse();
    const answers = await shakeUntil(running.port, (all) => all.some(({ status }) => status !== 101));
    expect(answers.at(-1)?.status).toBe(502);
    expect(answers.at(-1)?.body).toContain('"SPW_CONNECT_FAILED"');
    expect(good.requests).toHaveLength(answers.length - 1);
  });

  test('is tried once more and not again, and not without budget', async () => {
    const running = await start('{ max: 1, budget: 0% }');
    await Promise.all([bad.refuse(), good.refuse()]);
    for (let turn = 0; turn < 10; turn++) expect((await shake(running.port)).status).toBe(502);
    const attempts = await logged(running, 10);
    // Six in ten seconds are free of the share.
    expect(attempts.filter((each) => each === '502 2')).toHaveLength(6);
    expect(attempts.filter((each) => each === '502 1')).toHaveLength(4);
  });
});

test('a handshake that was sent is never repeated', async () => {
  const running = await start('{ max: 1, budget: 100% }');
  bad.set('resetBeforeByte');
  const answers = await shakeUntil(running.port, () => bad.requests.length > 0);
  expect(bad.requests).toHaveLength(1);
  expect(answers.at(-1)?.status).toBe(502);
  expect(good.requests).toHaveLength(answers.length - 1);
});
