/**
 * Nobody ever gets a byte of another's answer, whatever instances and callers do to their connections.
 *
 * Some thousand requests of many callers who keep their connections, to instances that answer in every framing, size and
 * slicing, early, too much, half, or not at all, while callers leave at any byte. The number of a request decides what
 * belongs into its answer and into its body, so both ends compare to the byte. Afterwards nothing is held any more.
 */
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { seededRandom } from '../../src/kernel/random.ts';
import { untilIdle } from '../integration/path-fixture.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { bodyOfPlan, chunked, mixPlan, naming, slices, startMixingOrigin } from '../harness/mixing-origin.ts';
import type { MixingOrigin, MixPlan } from '../harness/mixing-origin.ts';
import { eventually } from '../harness/ports.ts';
import { headerOf, readAnswers } from '../harness/raw.ts';
import type { RawAnswer } from '../harness/raw.ts';

const SEED = Number(process.env['MIXUP_SEED'] ?? 1);
const REQUESTS = Number(process.env['MIXUP_REQUESTS'] ?? 3000);
const CALLERS = 32;
/** Longer than a read of what is there takes; what it stands for is a caller who has something else to do. */
const SLOW_MS = 250;
/** Of all requests, those whose caller leaves before the answer is whole. */
const LEAVING = 0.05;

const origins: MixingOrigin[] = [];
let gateway: Gateway;

beforeAll(async () => {
  for (let each = 0; each < 3; each += 1) origins.push(await startMixingOrigin(SEED));
  gateway = await startGateway(
    `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
services:
  m:
    instances: [${origins.map(({ url }) => `'${url}'`).join(', ')}]
    timeout: { connect: 20s, request: 20s, idle: 20s }
    outlier: { consecutiveFailures: 10000, minRequests: 1000000 }
    breaker: { consecutive: 10000, minRequests: 1000000 }
    readiness: { path: /ready, interval: 600s, timeout: 10s }
routes: [{ path: /m, service: m }]
shedding: { mode: off }
`,
    { discardStdout: true },
  );
});

afterAll(async () => {
  await gateway?.[Symbol.asyncDispose]();
  for (const origin of origins) await origin[Symbol.asyncDispose]();
});

test('no answer ever holds a byte of another, whatever instances and callers do', async () => {
  const tally: Tally = { whole: 0, cut: 0, refused: 0, left: 0, wrong: [] };
  let next = 0;
  const takeNumber = (): number => (next < REQUESTS ? next++ : -1);
  await Promise.all(Array.from({ length: CALLERS }, async () => new Caller(tally, takeNumber).run()));
  expect(tally.wrong).toEqual([]);
  expect(origins.flatMap(({ wrong }) => wrong)).toEqual([]);
  // Faults are a quarter of the plans; far more than that must not fail, or little was tried.
  expect(tally).toMatchObject({
    whole: expect.toSatisfy((count: number) => count > REQUESTS * 0.6) as number,
  });
  expect(tally.whole + tally.cut + tally.refused + tally.left).toBe(REQUESTS);

  await untilIdle(gateway, 'm');
  await eventually('no connection to an instance is left', () =>
    origins.every((origin) => origin.openConnections() === 0),
  );
});

interface Tally {
  whole: number;
  cut: number;
  refused: number;
  left: number;
  readonly wrong: string[];
}

/** A caller who keeps a connection as long as it lasts, and believes nothing. */
class Caller {
  readonly #tally: Tally;
  readonly #takeNumber: () => number;
  #socket: Socket | undefined = undefined;

  constructor(tally: Tally, takeNumber: () => number) {
    this.#tally = tally;
    this.#takeNumber = takeNumber;
  }

  async run(): Promise<void> {
    for (let number = this.#takeNumber(); number >= 0; number = this.#takeNumber()) {
      const plan = mixPlan(SEED, number);
      const random = seededRandom(SEED * 7919 + number);
      const leaves = random() < LEAVING;
      if (this.#socket === undefined || this.#socket.destroyed || this.#socket.readableEnded)
        this.#socket = await opened(gateway.port);
      await this.#ask(this.#socket, plan, random, leaves);
    }
    this.#socket?.destroy();
  }

  async #ask(socket: Socket, plan: MixPlan, random: () => number, leaves: boolean): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const most = leaves ? Math.floor(random() * 20_000) : Infinity;
    const received = new Received(plan.method);
    const onData = (chunk: Buffer): void => {
      if (received.add(chunk)) resolve(false);
      else if (received.bytes > most) socket.destroy();
    };
    const onEnd = (): void => resolve(true);
    socket.on('data', onData);
    if (plan.slow) {
      socket.pause();
      setTimeout(() => socket.resume(), SLOW_MS);
    }
    socket.on('end', onEnd);
    socket.on('close', onEnd);
    await send(socket, plan, random, leaves);
    if (leaves && most < 1000) socket.destroy();
    const closed = await promise;
    socket.off('data', onData);
    socket.off('end', onEnd);
    socket.off('close', onEnd);
    const text = received.text();
    if (leaves && closed) this.#judgePart(plan, text);
    else this.#judge(plan, text, closed);
    if (closed) socket.destroy();
  }

  /** What a caller got who left: a beginning of the right answer, or of a refusal. */
  #judgePart(plan: MixPlan, text: string): void {
    this.#tally.left += 1;
    const { answers } = readAnswers(text, true, [plan.method]);
    const last = answers.at(-1);
    if (
      last !== undefined &&
      last.status < 300 &&
      last.status >= 200 &&
      !bodyOfPlan(plan).startsWith(last.body)
    )
      this.#accuse(plan, 'part of another answer', text);
  }

  #judge(plan: MixPlan, text: string, closed: boolean): void {
    const { answers, rest } = readAnswers(text, closed, [plan.method]);
    const finals = answers.filter(({ status }) => status >= 200);
    const [answer] = finals;
    for (const interim of answers) {
      if (interim.status === 103 && headerOf(interim, 'link') !== `<${plan.id}>`)
        this.#accuse(plan, 'an interim answer of another', text);
    }
    if (answer === undefined) {
      this.#tally.cut += 1;
      if (!closed || rest.length > 0) this.#accuse(plan, 'no answer', text);
      return;
    }
    if (finals.length > 1 || rest !== '') this.#accuse(plan, 'more than its answer', text);
    if (answer.status >= 400) this.#judgeRefusal(plan, answer, text);
    else this.#judgeAnswer(plan, answer, text);
  }

  #judgeRefusal(plan: MixPlan, answer: RawAnswer, text: string): void {
    this.#tally.refused += 1;
    const whole = plan.method === 'HEAD' || (answer.complete && /"code":"SPW_UPSTREAM_/.test(answer.body));
    // Every plan answers or ends: whoever waited in vain was written where nobody read.
    if (!whole || answer.status !== 502) this.#accuse(plan, 'not a refusal of ours', text);
  }

  #judgeAnswer(plan: MixPlan, answer: RawAnswer, text: string): void {
    const wanted = bodyOfPlan(plan);
    if (headerOf(answer, 'x-id') !== plan.id || answer.status !== plan.status)
      this.#accuse(plan, 'the head of another', text);
    // Where the connection's end is the body's, an early end is one too.
    const endsEarly = plan.fault === 'cut' && (plan.framing === 'close' || plan.framing === 'old');
    const right = answer.complete && !endsEarly ? answer.body === wanted : wanted.startsWith(answer.body);
    if (!right) this.#accuse(plan, 'not its body', text);
    if (answer.complete) this.#tally.whole += 1;
    else this.#tally.cut += 1;
    if (!answer.complete && plan.fault !== 'cut' && plan.fault !== 'reset')
      this.#accuse(plan, 'cut without a reason', text);
  }

  #accuse(plan: MixPlan, what: string, text: string): void {
    const { random: _, ...told } = plan;
    this.#tally.wrong.push(`${what}: ${JSON.stringify(told)} got ${JSON.stringify(text.slice(0, 400))}`);
  }
}

async function opened(port: number): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  socket.once('connect', resolve);
  socket.once('error', reject);
  await promise;
  // A reset is an end like any other.
  socket.on('error', () => undefined);
  return socket;
}

/** Writes the request of a plan in slices; one who leaves may do so before its end. */
async function send(socket: Socket, plan: MixPlan, random: () => number, leaves: boolean): Promise<void> {
  const { method, uploadBytes, uploadChunked, id } = plan;
  const number = id.slice(id.indexOf('-') + 1);
  const body = naming(id, uploadBytes);
  const framing =
    uploadBytes === 0
      ? '\r\n'
      : uploadChunked
        ? `Transfer-Encoding: chunked\r\n\r\n${chunked(body, random)}`
        : `Content-Length: ${uploadBytes}\r\n\r\n${body}`;
  const text = `${method} /m/${number} HTTP/1.1\r\nHost: a.test\r\n${framing}`;
  const pieces = slices(text, random() < 0.6 ? 1 : 5, random);
  const last = leaves && random() < 0.4 ? Math.floor(random() * pieces.length) : pieces.length;
  for (const piece of pieces.slice(0, last)) {
    if (socket.destroyed) return;
    socket.write(Buffer.from(piece, 'latin1'));
    await new Promise<void>((turn) => void setImmediate(turn));
  }
  if (last < pieces.length) socket.destroy();
}

/** What came so far, joined only when the answer may be whole. */
class Received {
  readonly #method: string;
  readonly #pieces: string[] = [];
  /** How many make the answer whole; -1: its last chunk tells, -2: not known yet. */
  #wanted = -2;
  bytes = 0;

  constructor(method: string) {
    this.#method = method;
  }

  text(): string {
    return this.#pieces.join('');
  }

  /** @returns whether the final answer is there */
  add(chunk: Buffer): boolean {
    this.#pieces.push(chunk.toString('latin1'));
    this.bytes += chunk.length;
    if (this.#wanted === -2) this.#wanted = wholeBytes(this.text(), this.#method);
    if (this.#wanted >= 0) return this.bytes >= this.#wanted;
    return this.#wanted === -1 && this.#pieces.slice(-8).join('').endsWith('0\r\n\r\n');
  }
}

/** Bytes of the whole answer that begins with `text`, as `Received` counts them. */
function wholeBytes(text: string, method: string): number {
  let at = 0;
  for (;;) {
    const end = text.indexOf('\r\n\r\n', at);
    if (end < 0) return -2;
    const head = text.slice(at, end);
    at = end + 4;
    if (head.startsWith('HTTP/1.1 1')) continue;
    if (method === 'HEAD' || /^HTTP\/1\.1 (204|304)/.test(head)) return at;
    const length = /\r\ncontent-length: (\d+)/i.exec(head);
    return length === null ? -1 : at + Number(length[1]);
  }
}
