/**
 * Calls of clients that behave badly, or leave: on sockets of their own, byte by byte.
 *
 * Whoever leaves does so at any byte of what he sends or receives, by an end or by a reset. The slow ones and the silent
 * ones are to be shut out within the listener's limits, garbage is to be refused; only then it is `ok`.
 */
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';

import { rawExchange } from '../../test/harness/raw.ts';
import { FILLER } from './body.ts';
import { HEADERS_TIMEOUT_MS, REQUEST_TIMEOUT_MS } from './configuration.ts';
import { anonymous, below, PATIENCE_MS } from './http-calls.ts';
import type { CallTools } from './http-calls.ts';
import { connectionFault, CUT, failed, LEFT, OK, refusal, UNHEARD } from './outcomes.ts';
import type { Outcome } from './outcomes.ts';

/** What a busy machine may add to a limit before a client that should be gone is a finding. */
const GRACE_MS = 5000;

function head(tools: CallTools, line: string, more: readonly string[] = []): string {
  const fields = Object.entries(anonymous(tools)).map(([name, value]) => `${name}: ${value}`);
  return [`${line} HTTP/1.1`, 'host: localhost', ...fields, ...more, '', ''].join('\r\n');
}

/** Connects, or tells why not. */
async function opened(port: number): Promise<Socket | Outcome> {
  const { promise, resolve } = Promise.withResolvers<Socket | Outcome>();
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  socket.once('connect', () => resolve(socket));
  socket.on('error', (error) => resolve(connectionFault(error, false)));
  return promise;
}

async function closed(socket: Socket): Promise<void> {
  if (socket.closed) return;
  await new Promise<void>((resolve) => void socket.once('close', () => resolve()));
}

/** Requests that somebody may leave in the middle of. */
function abandoned(tools: CallTools): string {
  const { random } = tools;
  const body = FILLER.toString('latin1', 0, 1 + below(random, 40_000));
  const upgrade = ['connection: upgrade', 'upgrade: websocket', 'sec-websocket-version: 13'];
  const requests = [
    (): string => head(tools, 'GET /item?ms=20'),
    (): string => head(tools, 'GET /moved/item?ms=20'),
    (): string => head(tools, 'GET /large?bytes=300000'),
    (): string => head(tools, 'GET /events?everyMs=20'),
    (): string => `${head(tools, 'POST /upload', [`content-length: ${body.length}`])}${body}`,
    (): string =>
      `${head(tools, 'POST /upload', ['transfer-encoding: chunked'])}${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`,
    (): string => head(tools, 'GET /ws', [...upgrade, 'sec-websocket-key: MDEyMzQ1Njc4OWFiY2RlZg==']),
    (): string => head(tools, 'GET /item').repeat(3),
  ];
  return requests[below(random, requests.length)]?.() ?? '';
}

function leave(socket: Socket, random: () => number): void {
  if (random() < 0.5) socket.resetAndDestroy();
  else socket.destroy();
}

/** Leaves after any byte sent or, as often, after any byte received. */
export async function leaves(tools: CallTools): Promise<Outcome> {
  const { settings, random } = tools;
  const socket = await opened(settings.port);
  if (!('write' in socket)) return socket;
  const bytes = Buffer.from(abandoned(tools), 'latin1');
  if (random() < 0.5) {
    const cut = below(random, bytes.length);
    if (cut > 0) socket.write(bytes.subarray(0, cut));
    await pause(random() * 40);
    leave(socket, random);
    return LEFT;
  }
  let left = 1 + below(random, 2000);
  const gone = Promise.withResolvers<void>();
  const atLatest = setTimeout(() => gone.resolve(), 3000);
  socket.on('data', (chunk: Buffer) => {
    left -= chunk.length;
    if (left <= 0) gone.resolve();
  });
  socket.once('close', () => gone.resolve());
  socket.write(bytes);
  await gone.promise;
  clearTimeout(atLatest);
  leave(socket, random);
  return LEFT;
}

/** Several requests in one write; as many answers, in order. */
export async function pipelined(tools: CallTools): Promise<Outcome> {
  const count = 2 + below(tools.random, 6);
  const bytes = head(tools, 'GET /item').repeat(count);
  try {
    const { answers, rest } = await rawExchange(tools.settings.port, bytes, {
      count,
      timeoutMs: PATIENCE_MS,
    });
    const other = answers.find(({ status }) => status !== 200);
    if (other !== undefined) return refusal(other.status, other.body);
    if (answers.length === 0) return UNHEARD;
    if (answers.length !== count || answers.some(({ complete }) => !complete)) return CUT;
    return rest === '' ? OK : failed('wrong');
  } catch (error) {
    return error instanceof Error && error.message.startsWith('not within')
      ? failed('silent')
      : connectionFault(error, false);
  }
}

/** Waits for the gateway to shut the connection; a 2xx to what was sent is wrong. */
async function isShut(socket: Socket, withinMs: number, answerWanted: boolean): Promise<Outcome> {
  let text = '';
  socket.on('data', (chunk: Buffer) => {
    if (text.length < 4096) text += chunk.toString('latin1');
  });
  const late = Promise.withResolvers<'late'>();
  const timer = setTimeout(() => late.resolve('late'), withinMs + GRACE_MS);
  // A half-closed connection is as good as closed to us: our side answers a FIN with its own.
  const end = await Promise.race([closed(socket), late.promise]);
  clearTimeout(timer);
  socket.destroy();
  if (end === 'late') return failed('held');
  const status = /^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? '';
  if (status.startsWith('2')) return failed(`wrong: ${status}`);
  return answerWanted && status.startsWith('5') && status !== '501' && status !== '505'
    ? refusal(Number(status), text)
    : OK;
}

/** A head of one byte each 200 ms: longer than the limit. */
export async function slowHead(tools: CallTools): Promise<Outcome> {
  const socket = await opened(tools.settings.port);
  if (!('write' in socket)) return socket;
  const text = head(tools, `GET /item/${'s'.repeat(200)}`);
  let at = 0;
  const drip = setInterval(() => {
    if (socket.writable) socket.write(text[at] ?? 's');
    at += 1;
  }, 200);
  socket.once('close', () => clearInterval(drip));
  return isShut(socket, HEADERS_TIMEOUT_MS, false);
}

/** A body of one byte each 500 ms, of which the length promises much more. */
export async function slowBody(tools: CallTools): Promise<Outcome> {
  const socket = await opened(tools.settings.port);
  if (!('write' in socket)) return socket;
  socket.write(head(tools, 'POST /upload', ['content-length: 5000']));
  const drip = setInterval(() => {
    if (socket.writable) socket.write('b');
  }, 500);
  socket.once('close', () => clearInterval(drip));
  return isShut(socket, REQUEST_TIMEOUT_MS, false);
}

/** Connects, on either port, and never says a word. */
export async function silent({ settings, random }: CallTools): Promise<Outcome> {
  const secure = random() < 0.3;
  const socket = await opened(secure ? settings.tlsPort : settings.port);
  if (!('write' in socket)) return socket;
  // A handshake may take ten seconds, a head five.
  return isShut(socket, secure ? 2 * HEADERS_TIMEOUT_MS : HEADERS_TIMEOUT_MS, false);
}

/** Eight megabytes at about one a second. */
export async function slowReader(tools: CallTools): Promise<Outcome> {
  const socket = await opened(tools.settings.port);
  if (!('write' in socket)) return socket;
  const bytes = 8 << 20;
  socket.write(head(tools, `GET /large?bytes=${bytes}`, ['x-api-key: load', 'connection: close']));
  let received = 0;
  let first = '';
  socket.on('data', (chunk: Buffer) => {
    if (first === '') first = chunk.toString('latin1', 0, 4096);
    received += chunk.length;
    socket.pause();
    setTimeout(() => socket.resume(), chunk.length / 1024);
  });
  const timer = setTimeout(() => socket.destroy(new Error('silent')), 3 * PATIENCE_MS);
  await closed(socket);
  clearTimeout(timer);
  const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(first)?.[1] ?? 0);
  if (status === 0) return received === 0 ? UNHEARD : CUT;
  if (status !== 200) return refusal(status, first);
  return received === bytes + first.indexOf('\r\n\r\n') + 4 ? OK : CUT;
}

function randomBytes(random: () => number, count: number): Buffer {
  return Buffer.from(Array.from({ length: count }, () => below(random, 256)));
}

/** Bytes that are no request, and requests that nobody may take for one, on either port. */
export async function garbage(tools: CallTools): Promise<Outcome> {
  const { settings, random } = tools;
  const socket = await opened(random() < 0.4 ? settings.tlsPort : settings.port);
  if (!('write' in socket)) return socket;
  const kinds = [
    (): Buffer => randomBytes(random, 1 + below(random, 2000)),
    // Begins as a TLS handshake does.
    (): Buffer =>
      Buffer.concat([Buffer.from([22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]), randomBytes(random, 600)]),
    (): Buffer => Buffer.from(head(tools, 'GET /item', ['bad header: x\0y', 'content-length: -1'])),
    (): Buffer => Buffer.from(head(tools, 'POST /item', ['content-length: 3', 'transfer-encoding: chunked'])),
    (): Buffer => Buffer.from(head(tools, 'GET /%00')),
    (): Buffer => Buffer.from(`${head(tools, 'POST /upload', ['transfer-encoding: chunked'])}zz\r\nabc`),
    (): Buffer => Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00'),
    (): Buffer => Buffer.from(head(tools, 'GET /item', [`x: ${'h'.repeat(40_000)}`])),
  ];
  socket.write(kinds[below(random, kinds.length)]?.() ?? Buffer.alloc(0));
  // Some of it looks like the begin of something, and is waited for as any slow client is.
  setTimeout(() => socket.end(), HEADERS_TIMEOUT_MS).unref();
  return isShut(socket, Math.max(REQUEST_TIMEOUT_MS, 2 * HEADERS_TIMEOUT_MS), true);
}
