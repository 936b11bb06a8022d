/**
 * What the tests of the data path share: a client that sees everything an HTTP client can see (interim answers, raw
 * header bytes, whether the end was clean), origins with a listener of the test's own, and short ways to ask the gateway
 * how a service stands. Nothing here retries, follows or decodes.
 */
import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import type { ClientRequest, IncomingMessage, RequestListener } from 'node:http';

import { expect } from 'vitest';

import type { Gateway } from '../harness/gateway.ts';
import { startListener } from '../harness/origin.ts';
import type { InProcessOrigin } from '../harness/origin.ts';
import { eventually } from '../harness/ports.ts';

export type Listening = Omit<InProcessOrigin, 'requests'>;

export interface Asked {
  readonly method?: string;
  readonly path?: string;
  /** Flat or as an object; `host: a.test` is added when there is none. */
  readonly headers?: Readonly<Record<string, string | string[]>>;
  readonly body?: Buffer | string;
  /** Sends the body in chunks, without a length. */
  readonly chunked?: boolean;
}

export interface Answer {
  readonly status: number;
  readonly reason: string;
  readonly rawHeaders: readonly string[];
  readonly body: Buffer;
  /** Statuses of the interim answers before it. */
  readonly interim: readonly number[];
}

/** One request on a connection of its own. Rejects when the answer is cut. */
export async function ask(port: number, asked: Asked = {}): Promise<Answer> {
  const { sent, answered } = begin(port, asked);
  const body = asked.body ?? '';
  if (asked.chunked === true && body.length > 0) sent.write(body);
  sent.end(asked.chunked === true ? undefined : body);
  const response = await answered;
  return { ...response.answer, body: await bodyOf(response.message) };
}

export interface Begun {
  readonly sent: ClientRequest;
  /** The head of the final answer. */
  readonly answered: Promise<{
    readonly message: IncomingMessage;
    readonly answer: Omit<Answer, 'body'>;
  }>;
}

/** The same without a body yet: the caller writes to `sent` and reads `message` itself. */
export function begin(port: number, asked: Asked = {}): Begun {
  const interim: number[] = [];
  const length =
    asked.body === undefined || asked.chunked === true
      ? {}
      : { 'content-length': String(Buffer.byteLength(asked.body)) };
  const sent = httpRequest({
    host: '127.0.0.1',
    port,
    method: asked.method ?? 'GET',
    path: asked.path ?? '/',
    headers: { host: 'a.test', ...length, ...asked.headers },
    agent: false,
  });
  sent.on('information', ({ statusCode }) => interim.push(statusCode));
  const { promise, resolve, reject } = Promise.withResolvers<Awaited<Begun['answered']>>();
  sent.once('response', (message) => {
    const { statusCode = 0, statusMessage = '', rawHeaders } = message;
    resolve({ message, answer: { status: statusCode, reason: statusMessage, rawHeaders, interim } });
  });
  sent.on('error', reject);
  // Whoever only writes must not be ended by a cut that nobody awaits.
  promise.catch(() => undefined);
  return { sent, answered: promise };
}

/** The whole body; an error when it was cut. */
export async function bodyOf(message: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of message) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** All values of a field, in order. */
export function valuesOf(rawHeaders: readonly string[], name: string): readonly string[] {
  return rawHeaders.flatMap((each, index) =>
    index % 2 === 0 && each.toLowerCase() === name ? [rawHeaders[index + 1] ?? ''] : [],
  );
}

/** The one value of a field, undefined when absent; a repeated field fails the test. */
export function valueOf(rawHeaders: readonly string[], name: string): string | undefined {
  const values = valuesOf(rawHeaders, name);
  expect(values.length, `${name} came ${values.length} times`).toBeLessThanOrEqual(1);
  return values[0];
}

export interface ProblemBody {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: string;
  readonly requestId: string;
}

/** The answer is the gateway's own, with everything the contract says of one, and it tells nothing of the inside. */
export function expectProblem(answer: Answer, status: number, code: string): ProblemBody {
  const text = answer.body.toString('utf8');
  expect([answer.status, text]).toEqual([status, expect.stringContaining(`"${code}"`)]);
  expect(valueOf(answer.rawHeaders, 'content-type')).toBe('application/problem+json');
  expect(valueOf(answer.rawHeaders, 'cache-control')).toBe('no-store');
  expect(valueOf(answer.rawHeaders, 'content-length')).toBe(String(answer.body.length));
  const problem = JSON.parse(text) as ProblemBody;
  expect(problem).toMatchObject({ status, code });
  expect(problem.requestId).toBe(valueOf(answer.rawHeaders, 'x-request-id'));
  for (const word of [problem.title, problem.detail, problem.type]) expect(word.length).toBeGreaterThan(0);
  if (status === 429 || status === 503) {
    expect(valueOf(answer.rawHeaders, 'retry-after')).toMatch(/^[1-9]\d*$/);
  }
  expect(text).not.toMatch(/127\.0\.0\.1|localhost|:\d{4,5}\b|ECONN|EPIPE|undici|fastify|HPE_|\bat .*:\d+/i);
  return problem;
}

/** An origin whose readiness is always granted; everything else is the test's. */
export async function startService(listener: RequestListener, port = 0): Promise<Listening> {
  return await startListener((request, response) => {
    if (request.url === '/ready') response.writeHead(200, { 'content-length': 0 }).end();
    else listener(request, response);
  }, port);
}

export interface InstanceRow {
  readonly id: string;
  readonly state: string;
  readonly reason: string;
  readonly inFlight: number;
  readonly streams: number;
  readonly sessions: number;
}

export interface ServiceRow {
  readonly state: string;
  readonly because: readonly { readonly subject: string; readonly state: string; readonly reason: string }[];
  readonly shedding: { readonly mode: string; readonly inFlight: number; readonly queueDepth: number };
  readonly breaker: { readonly state: string };
  readonly instances: readonly InstanceRow[];
}

/** `/v1/services` of one service. */
export async function serviceOf(gateway: Gateway, name: string): Promise<ServiceRow> {
  const { body } = await gateway.admin('/v1/services');
  const row = (body as { services: Record<string, ServiceRow> }).services[name];
  if (row === undefined) throw new Error(`no service ${name} in ${JSON.stringify(body)}`);
  return row;
}

/** Waits until no permit and no place at an instance is held any more. */
export async function untilIdle(gateway: Gateway, name: string): Promise<void> {
  await eventually(`nothing in flight at ${name}`, async () => {
    const { shedding, instances } = await serviceOf(gateway, name);
    return (
      shedding.inFlight === 0 &&
      shedding.queueDepth === 0 &&
      instances.every(({ inFlight }) => inFlight === 0)
    );
  });
}

/** Waits for an instance to be in a state. */
export async function untilState(gateway: Gateway, name: string, id: string, state: string): Promise<void> {
  await eventually(`${name}/${id} is ${state}`, async () => {
    const { instances } = await serviceOf(gateway, name);
    return instances.find((instance) => instance.id === id)?.state === state;
  });
}

/** An event of an emitter, with a limit that names what was waited for. */
export async function event(
  emitter: NodeJS.EventEmitter,
  name: string,
  timeoutMs = 30_000,
): Promise<readonly unknown[]> {
  try {
    return (await once(emitter, name, { signal: AbortSignal.timeout(timeoutMs) })) as readonly unknown[];
  } catch (error) {
    throw new Error(`no ${name} within ${timeoutMs} ms`, { cause: error });
  }
}
