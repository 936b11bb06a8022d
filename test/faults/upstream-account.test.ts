/**
 * What every fault of an instance costs: the answer, the attempts, the permit, the connection, and what it says about the
 * service. One gateway, a service and a raw origin for each row, a breaker that opens at the first hard failure: so an open
 * breaker is the evidence, and a closed one that there was none.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { startFaultOrigin } from '../harness/fault-origin.ts';
import type { Behaviour, FaultName, FaultOrigin } from '../harness/fault-origin.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { openRaw } from '../harness/raw.ts';
import type { RawAnswer } from '../harness/raw.ts';
import { serviceOf, untilIdle } from '../integration/path-fixture.ts';

interface Row {
  readonly name: string;
  readonly fault: FaultName | Behaviour;
  readonly method?: string;
  /** `cut`: what passed of it is cut, and never looks whole. */
  readonly answer: number | 'cut';
  /** Of our own answers. */
  readonly code?: string;
  readonly attempts: number;
  readonly socket: 'destroyed' | 'kept';
  /** What the breaker learns. */
  readonly breaker: 'open' | 'closed';
  readonly requestMs?: number;
  readonly idleMs?: number;
}

const FAR_MS = 30_000;
const PROTOCOL = { answer: 502, code: 'SPW_UPSTREAM_PROTOCOL', attempts: 1, socket: 'destroyed' } as const;
const RESET = { answer: 502, code: 'SPW_UPSTREAM_RESET', socket: 'destroyed', breaker: 'open' } as const;
const TIMEOUT = { answer: 504, code: 'SPW_UPSTREAM_TIMEOUT', attempts: 1, socket: 'destroyed' } as const;
const PASSES = { attempts: 1, socket: 'kept', breaker: 'closed' } as const;
const CUT = { answer: 'cut', attempts: 1, socket: 'destroyed', breaker: 'open' } as const;

function says(...lines: readonly string[]): Behaviour {
  return { kind: 'answer', text: lines.join('\r\n') };
}

/** A protocol fault of the head: nothing of it may pass. */
function headFault(name: string, ...lines: readonly string[]): Row {
  return { name, fault: says(...lines), ...PROTOCOL, breaker: 'open' };
}

const ok = 'HTTP/1.1 200 OK';
const two = 'content-length: 2';
const coded = 'transfer-encoding: chunked';

const NAMED: readonly Row[] = [
  { name: 'U06 accepts, silent', fault: 'silent', ...TIMEOUT, breaker: 'open', requestMs: 700 },
  {
    name: 'U10 a head at ten bytes a second',
    fault: 'slowHead',
    ...TIMEOUT,
    breaker: 'open',
    requestMs: 700,
  },
  { name: 'U07 FIN before a byte, GET', fault: 'finBeforeByte', attempts: 2, ...RESET },
  { name: 'U07 FIN before a byte, POST', fault: 'finBeforeByte', method: 'POST', attempts: 1, ...RESET },
  { name: 'U08 RST before a byte, GET', fault: 'resetBeforeByte', attempts: 2, ...RESET },
  {
    name: 'U08 RST before a byte, DELETE',
    fault: 'resetBeforeByte',
    method: 'DELETE',
    attempts: 1,
    ...RESET,
  },
  { name: 'U11 a head, then nothing', fault: 'headThenNothing', ...CUT, breaker: 'closed', idleMs: 500 },
  { name: 'U13 dies in a chunk', fault: 'diesMidChunk', ...CUT },
  { name: 'U14 dies short of its length', fault: 'diesMidLength', ...CUT },
  { name: 'U15 garbage', fault: 'garbage', ...PROTOCOL, breaker: 'open' },
  { name: 'U16 length and coding', fault: 'lengthAndCoding', ...PROTOCOL, breaker: 'open' },
  { name: 'U17 two lengths', fault: 'twoLengths', ...PROTOCOL, breaker: 'open' },
  { name: 'U18 a second answer', fault: 'secondAnswer', answer: 200, ...PASSES, socket: 'destroyed' },
  { name: 'U20 a head of 20 KiB', fault: 'hugeHead', ...PROTOCOL, breaker: 'open' },
  { name: 'U21 NUL in a field', fault: 'nulInHeader', ...PROTOCOL, breaker: 'open' },
  { name: 'U21 bare line feeds', fault: 'bareLineFeed', ...PROTOCOL, breaker: 'open' },
  { name: 'U21 a folded field', fault: 'foldedHeader', ...PROTOCOL, breaker: 'open' },
  { name: 'U22 status 999', fault: 'status999', ...PROTOCOL, breaker: 'open' },
  { name: 'U23 an unasked 101', fault: 'unaskedUpgrade', ...PROTOCOL, breaker: 'open' },
  { name: 'U24 103, then 200', fault: 'earlyHints', answer: 200, ...PASSES },
  { name: 'U25 ten thousand interim answers', fault: 'tenThousandInterims', ...PROTOCOL, breaker: 'open' },
  { name: 'U26 204 with a body', fault: 'noContentWithBody', answer: 204, ...PASSES, socket: 'destroyed' },
  { name: 'U26 304 with a length', fault: 'notModifiedWithLength', answer: 304, ...PASSES },
  {
    name: 'U27 HEAD with a length',
    fault: says(ok, 'content-length: 1234', '', ''),
    method: 'HEAD',
    answer: 200,
    ...PASSES,
  },
  {
    name: 'U27 HEAD with a body all the same',
    fault: says(ok, two, '', 'ok'),
    method: 'HEAD',
    answer: 200,
    ...PASSES,
    socket: 'destroyed',
  },
  { name: 'U28 1.0 to its end', fault: 'untilClose', answer: 200, ...PASSES, socket: 'destroyed' },
  { name: 'U28 1.0 that ends in a reset', fault: 'untilReset', ...CUT },
  { name: 'U29 gzip, chunked', fault: 'gzipChunked', ...PROTOCOL, breaker: 'open' },
  {
    name: 'U30 Connection: close and what it names',
    fault: 'hopByHop',
    answer: 200,
    ...PASSES,
    socket: 'destroyed',
  },
  { name: 'U34 503 with Retry-After', fault: 'unavailable', answer: 503, ...PASSES },
  { name: 'U35 407', fault: 'proxyAuthenticate', ...PROTOCOL, breaker: 'open' },
  { name: 'U35 401', fault: 'unauthorized', answer: 401, ...PASSES },
  { name: 'U36 a Location', fault: 'innerLocation', answer: 302, ...PASSES },
  { name: 'U37 two cookies and latin-1', fault: 'twoCookies', answer: 200, ...PASSES },
  { name: 'U38 a 500 of its own', fault: 'html', answer: 500, ...PASSES, breaker: 'open' },
];

/** The classes of U15 to U29, beyond the examples of the table. */
const HEADS: readonly Row[] = [
  headFault('U15 HTTP/2 as text', 'HTTP/2.0 200 OK', two, '', 'ok'),
  headFault('U15 HTTP/1.2', 'HTTP/1.2 200 OK', two, '', 'ok'),
  headFault('U15 a lower-case http', 'http/1.1 200 OK', two, '', 'ok'),
  headFault('U15 a space before the version', ' HTTP/1.1 200 OK', two, '', 'ok'),
  headFault('U15 two spaces before the status', 'HTTP/1.1  200 OK', two, '', 'ok'),
  headFault('U15 a status of two digits', 'HTTP/1.1 20 OK', two, '', 'ok'),
  headFault('U15 a status of four digits', 'HTTP/1.1 2000 OK', two, '', 'ok'),
  headFault('U15 no status', 'HTTP/1.1', two, '', 'ok'),
  headFault('U16 length 0 and coding', ok, 'content-length: 0', coded, '', '0', '', ''),
  headFault('U16 coding, then length', ok, coded, two, '', '0', '', ''),
  headFault('U17 two equal lengths', ok, two, two, '', 'ok'),
  headFault('U17 a list of lengths', ok, 'content-length: 2, 2', '', 'ok'),
  headFault('U17 a signed length', ok, 'content-length: +2', '', 'ok'),
  headFault('U17 a negative length', ok, 'content-length: -2', '', 'ok'),
  headFault('U17 a hexadecimal length', ok, 'content-length: 0x2', '', 'ok'),
  headFault('U17 an empty length', ok, 'content-length:', '', 'ok'),
  headFault('U17 a length with a space', ok, 'content-length: 2 2', '', 'ok'),
  headFault('U17 a length above 2^53', ok, 'content-length: 9007199254740993', '', 'ok'),
  headFault('U17 a length above 2^64', ok, 'content-length: 18446744073709551618', '', 'ok'),
  headFault(
    'U20 101 fields of 200 bytes',
    ok,
    ...Array.from({ length: 101 }, () => `x: ${'y'.repeat(200)}`),
    two,
    '',
    'ok',
  ),
  headFault('U21 a space before the colon', ok, 'content-length : 2', '', 'ok'),
  headFault('U21 a line without a colon', ok, 'what is this', two, '', 'ok'),
  headFault('U21 an empty name', ok, ': x', two, '', 'ok'),
  headFault('U21 a space in a name', ok, 'x y: z', two, '', 'ok'),
  headFault('U21 a bare CR', ok, 'x: a\rb: c', two, '', 'ok'),
  headFault('U21 a bare LF in a field', ok, 'x: a\ncontent-length: 9', two, '', 'ok'),
  headFault('U21 an escape character', ok, 'x: a\u001bb', two, '', 'ok'),
  headFault('U21 DEL in a field', ok, 'x: a\u007fb', two, '', 'ok'),
  headFault('U21 a fold before the first field', ok, ' x: a', two, '', 'ok'),
  headFault('U22 status 600', 'HTTP/1.1 600 What', two, '', 'ok'),
  headFault('U22 status 099', 'HTTP/1.1 099 What', two, '', 'ok'),
  headFault('U22 status 000', 'HTTP/1.1 000 What', two, '', 'ok'),
  headFault('U23 an unasked 100', 'HTTP/1.1 100 Continue', '', `${ok}\r\n${two}\r\n\r\nok`),
  headFault('U29 chunked twice', ok, 'transfer-encoding: chunked, chunked', '', '0', '', ''),
  headFault('U29 chunked in two fields', ok, coded, coded, '', '0', '', ''),
  headFault('U29 identity', ok, 'transfer-encoding: identity', '', 'ok'),
  headFault('U29 chunked, gzip', ok, 'transfer-encoding: chunked, gzip', '', '0', '', ''),
  headFault('U29 chunked with a parameter', ok, 'transfer-encoding: chunked;q=1', '', '0', '', ''),
  headFault('U29 an empty coding', ok, 'transfer-encoding:', '', '0', '', ''),
  headFault('U29 a vertical tab before chunked', ok, 'transfer-encoding: \u000bchunked', '', '0', '', ''),
  headFault('U29 a coding in 1.0', 'HTTP/1.0 200 OK', coded, '', '0', '', ''),
];

function badChunk(name: string, body: string): Row {
  return { name: `U13 ${name}`, fault: says(ok, coded, '', `2\r\nok\r\n${body}`), ...CUT };
}

const CHUNKS: readonly Row[] = [
  badChunk('a chunk size with a plus', '+2\r\nok\r\n0\r\n\r\n'),
  badChunk('a chunk size with 0x', '0x2\r\nok\r\n0\r\n\r\n'),
  badChunk('a chunk size with a space in front', ' 2\r\nok\r\n0\r\n\r\n'),
  badChunk('a negative chunk size', '-2\r\nok\r\n0\r\n\r\n'),
  badChunk('a chunk size of 17 digits', '00000000000000002\r\nok\r\n0\r\n\r\n'),
  badChunk('a chunk size above 2^53', 'fffffffffffffff\r\nok\r\n0\r\n\r\n'),
  badChunk('no chunk size', '\r\nok\r\n0\r\n\r\n'),
  badChunk('a chunk that is longer than it says', '2\r\nokay\r\n0\r\n\r\n'),
  badChunk('a bare LF behind a size', '2\nok\r\n0\r\n\r\n'),
  badChunk('a bare LF behind a chunk', '2\r\nok\n0\r\n\r\n'),
  badChunk('a bare CR in an extension', '2;a\rb\r\nok\r\n0\r\n\r\n'),
  badChunk('an endless extension', `2;${'x'.repeat(70_000)}\r\nok\r\n0\r\n\r\n`),
  badChunk('a folded trailer', '0\r\nx: a\r\n b\r\n\r\n'),
  badChunk('a trailer that is no field', '0\r\nwhat\r\n\r\n'),
];

const ROWS = [...NAMED, ...HEADS, ...CHUNKS];

const origins: FaultOrigin[] = [];
let gateway: Gateway;

function serviceName(index: number): string {
  return `row${index}`;
}

beforeAll(async () => {
  for (const _ of ROWS) origins.push(await startFaultOrigin('none'));
  const services = ROWS.map(
    ({ requestMs, idleMs }, index) => `
  ${serviceName(index)}:
    instances: [${origins[index]?.url}]
    sla: 30s
    timeout: { connect: 10s, request: ${requestMs ?? FAR_MS}ms, idle: ${idleMs ?? FAR_MS}ms }
    readiness: { path: /ready, interval: 600s, timeout: 10s }
    breaker: { consecutive: 1, open: 60s }`,
  );
  const routes = ROWS.map((_, index) => `\n  - { path: /${index}, service: ${serviceName(index)} }`);
  gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
shedding: { mode: observe }
services:${services.join('')}
routes:${routes.join('')}
`);
  for (const [index, { fault }] of ROWS.entries()) origins[index]?.set(fault);
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  for (const origin of origins) await origin[Symbol.asyncDispose]();
});

/** What reached the caller until the answer was whole, or the connection ended. */
async function finalAnswer(index: number, method: string): Promise<RawAnswer | undefined> {
  await using client = await openRaw(gateway.port);
  const length = method === 'POST' ? 'content-length: 4\r\n\r\nonce' : '\r\n';
  client.write(`${method} /${index} HTTP/1.1\r\nhost: a\r\naccept: application/json\r\n${length}`);
  const { answers, rest } = await client.untilAnswers(1, 20_000, [method]);
  expect(rest).toBe('');
  return answers.at(-1);
}

describe('a fault has its answer, its attempts, no permit left, its connection ended or kept, and its evidence', () => {
  test.each(ROWS.map((row, index) => [row.name, row, index] as const))('%s', async (_, row, index) => {
    const origin = origins[index];
    if (origin === undefined) throw new Error('no origin');
    const final = await finalAnswer(index, row.method ?? 'GET');
    // A head that came together with what is wrong behind it may not have left yet.
    if (row.answer === 'cut') expect([final?.status ?? 200, final?.complete ?? false]).toEqual([200, false]);
    else expect([final?.status, final?.complete]).toEqual([row.answer, true]);
    if (row.code !== undefined) expect(final?.body).toContain(`"${row.code}"`);
    expect(origin.requests).toHaveLength(row.attempts);
    await untilIdle(gateway, serviceName(index));
    expect((await serviceOf(gateway, serviceName(index))).breaker.state).toBe(row.breaker);
    if (row.socket === 'destroyed')
      await eventually('its connection is gone', () => origin.openConnections() === 0);
    else expect(origin.openConnections()).toBeGreaterThan(0);
  });
});
