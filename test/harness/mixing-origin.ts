/**
 * An origin whose every answer names the request it belongs to, in framing, sizes, slicings and endings that the request's
 * number decides. Both sides of a test work the same plan out of the number, so each can tell to the byte what belongs to it.
 *
 * What follows an answer in the same write (`surplus`) is a whole answer of its own, so that a gateway which reads on
 * delivers it to somebody. It never comes later than its answer: nobody can tell an unasked answer from the next one.
 */
import { createServer } from 'node:net';
import type { Socket } from 'node:net';

import { seededRandom } from '../../src/kernel/random.ts';
import type { Random } from '../../src/kernel/random.ts';
import { listenBelow } from './ports.ts';

const METHODS = ['GET', 'GET', 'GET', 'HEAD', 'POST', 'PUT'] as const;
const FRAMINGS = ['length', 'length', 'chunked', 'chunked', 'close', 'old', 'none', 'unchanged'] as const;
/** Nothing, little, around the bounds of copying and of one buffer, and more than a socket takes at once. */
const SIZES = [0, 1, 20, 500, 8191, 8192, 8193, 16_384, 65_535, 65_536, 65_537, 300_000] as const;
/** More than the buffers of a connection hold, so that a caller who does not read for a moment stops the answer. */
const HUGE = 6_000_000;
const HUGE_SHARE = 0.01;
const UPLOADS = [0, 1, 300, 9000, 70_000, 200_000] as const;
const FAULTS = ['surplus', 'cut', 'reset', 'gone', 'early', 'silent-end'] as const;

export interface MixPlan {
  readonly id: string;
  readonly method: (typeof METHODS)[number];
  readonly framing: (typeof FRAMINGS)[number];
  readonly status: number;
  readonly bytes: number;
  /** Its caller does not read for a moment. */
  readonly slow: boolean;
  /** Of the request's body. */
  readonly uploadBytes: number;
  readonly uploadChunked: boolean;
  /** '': the instance does what it should. */
  readonly fault: '' | (typeof FAULTS)[number];
  readonly interims: number;
  readonly pieces: number;
  /** For whatever else is left to chance on either side. */
  readonly random: Random;
}

function oneOf<Item>(random: Random, items: readonly Item[]): Item {
  const item = items[Math.floor(random() * items.length)];
  if (item === undefined) throw new Error('nothing to choose from');
  return item;
}

/** What happens to request `number` of a run. */
export function mixPlan(seed: number, number: number): MixPlan {
  const random = seededRandom(seed * 1_000_003 + number);
  random();
  const method = oneOf(random, METHODS);
  const framing = oneOf(random, FRAMINGS);
  const huge = random() < HUGE_SHARE;
  const uploads = method === 'POST' || method === 'PUT';
  return {
    id: `r${seed}-${number}`,
    method,
    framing,
    status: framing === 'none' ? 204 : framing === 'unchanged' ? 304 : 200,
    bytes: framing === 'none' || framing === 'unchanged' ? 0 : huge ? HUGE : oneOf(random, SIZES),
    slow: huge,
    uploadBytes: uploads ? oneOf(random, UPLOADS) : 0,
    uploadChunked: random() < 0.5,
    fault: random() < 0.75 ? '' : oneOf(random, FAULTS),
    interims: random() < 0.2 ? 1 + Math.floor(random() * 3) : 0,
    pieces: random() < 0.5 ? 1 : huge ? HUGE / 6000 : 1 + Math.floor(random() * 12),
    random,
  };
}

/** `bytes` characters that name `id` again and again. */
export function naming(id: string, bytes: number): string {
  const unit = `[${id}]`;
  return unit.repeat(Math.ceil(bytes / unit.length)).slice(0, bytes);
}

/** The body of an answer as its caller should see it. */
export function bodyOfPlan(plan: MixPlan): string {
  return plan.method === 'HEAD' ? '' : naming(plan.id, plan.bytes);
}

/** A body as chunks, with extensions here and there. */
export function chunked(body: string, random: Random, end = '0\r\n\r\n'): string {
  let text = '';
  for (let at = 0; at < body.length;) {
    const size = Math.min(body.length - at, 1 + Math.floor(random() * random() * 40_000));
    text += `${size.toString(16)}${random() < 0.2 ? ';a="b"' : ''}\r\n${body.slice(at, at + size)}\r\n`;
    at += size;
  }
  return text + end;
}

/** `text` in so many pieces, cut anywhere. */
export function slices(text: string, pieces: number, random: Random): string[] {
  const cuts = Array.from({ length: pieces - 1 }, () => Math.floor(random() * text.length));
  const marks = [0, ...cuts.toSorted((left, right) => left - right), text.length];
  return marks.slice(1).map((mark, index) => text.slice(marks[index], mark));
}

const POISON = 'HTTP/1.1 200 OK\r\ncontent-length: 6\r\nx-id: poison\r\n\r\npoison';

/** The whole answer of a plan as it stands on the wire. */
function wireOf(plan: MixPlan): { readonly text: string; readonly ends: boolean } {
  const { framing, random, id } = plan;
  const body = bodyOfPlan(plan);
  const interim = `HTTP/1.1 103 Early Hints\r\nlink: <${id}>\r\n\r\n`.repeat(plan.interims);
  const start = `${interim}HTTP/1.${framing === 'old' ? 0 : 1} ${plan.status} Whatever\r\nX-Id: ${id}\r\n`;
  const kept = 'keep-alive: timeout=3\r\n';
  switch (framing) {
    case 'length':
      return { text: `${start}${kept}content-length: ${plan.bytes}\r\n\r\n${body}`, ends: false };
    case 'chunked': {
      const trailers = random() < 0.3 ? `0\r\nx-sum: ${id}\r\n\r\n` : '0\r\n\r\n';
      const coded = plan.method === 'HEAD' ? '' : chunked(body, random, trailers);
      return { text: `${start}${kept}Transfer-Encoding: chunked\r\n\r\n${coded}`, ends: false };
    }
    case 'close':
      return { text: `${start}connection: close\r\n\r\n${body}`, ends: true };
    case 'old':
      return { text: `${start}\r\n${body}`, ends: true };
    case 'none':
      return { text: `${start}${kept}\r\n`, ends: false };
    case 'unchanged':
      return { text: `${start}${kept}content-length: 12345\r\netag: "${id}"\r\n\r\n`, ends: false };
    default:
      return framing satisfies never;
  }
}

export interface MixingOrigin extends AsyncDisposable {
  readonly url: string;
  /** Requests whose bytes were not those that their caller sent. */
  readonly wrong: readonly string[];
  readonly openConnections: () => number;
}

/** Answers `/m/NUMBER` after the plan of that number, and `/ready`. */
export async function startMixingOrigin(seed: number): Promise<MixingOrigin> {
  const wrong: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => undefined);
    new Conversation(socket, seed, wrong).begin();
  });
  const port = await listenBelow(server);
  return {
    url: `http://127.0.0.1:${port}`,
    wrong,
    openConnections: () => sockets.size,
    [Symbol.asyncDispose]: async () => {
      const closed = Promise.withResolvers<void>();
      server.close(() => closed.resolve());
      for (const socket of sockets) socket.destroy();
      await closed.promise;
    },
  };
}

/** One connection: a strict reader of what the gateway sends, and what is answered. */
class Conversation {
  readonly #socket: Socket;
  readonly #seed: number;
  readonly #wrong: string[];
  #text = '';
  #answering = false;
  #answeredEarly = false;

  constructor(socket: Socket, seed: number, wrong: string[]) {
    this.#socket = socket;
    this.#seed = seed;
    this.#wrong = wrong;
  }

  begin(): void {
    this.#socket.on('data', (chunk: Buffer) => {
      this.#text += chunk.toString('latin1');
      if (this.#answering) this.#accuse('bytes behind a request without an answer');
      else this.#read();
    });
  }

  #accuse(what: string): void {
    this.#wrong.push(`${what}: ${JSON.stringify(this.#text.slice(0, 300))}`);
    this.#text = '';
    this.#socket.destroy();
  }

  #read(): void {
    const end = this.#text.indexOf('\r\n\r\n');
    if (end < 0) {
      if (!/^(GET|HEAD|POST|PUT|$)/.test(this.#text.slice(0, 4).trimEnd()) && this.#text.length >= 4)
        this.#accuse('no request');
      return;
    }
    const head = this.#text.slice(0, end);
    const line = /^([A-Z]+) \/(ready|m\/(\d+)) HTTP\/1\.1\r\n/.exec(head);
    if (line === null) return this.#accuse('no request');
    if (line[2] === 'ready') {
      this.#text = this.#text.slice(end + 4);
      this.#socket.write('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n');
      return;
    }
    const plan = mixPlan(this.#seed, Number(line[3]));
    if (line[1] !== plan.method) return this.#accuse(`not ${plan.method}`);
    if (plan.fault === 'early' && plan.uploadBytes > 0 && !this.#answeredEarly) {
      // Goes on reading: another request that comes before this one's body is whole would be found in it.
      this.#answeredEarly = true;
      void this.#answer(plan);
    }
    const rest = this.#text.slice(end + 4);
    const read = bodyIn(head, rest);
    if (read === undefined) return;
    if (read.body !== naming(plan.id, plan.uploadBytes)) return this.#accuse(`not the body of ${plan.id}`);
    if (this.#answeredEarly) {
      // The next one may have been asked as soon as the answer was there.
      this.#answeredEarly = false;
      this.#text = rest.slice(read.length);
      this.#read();
      return;
    }
    if (rest.length > read.length) return this.#accuse('bytes behind a request without an answer');
    this.#text = '';
    this.#answering = true;
    void this.#answer(plan);
  }

  async #answer(plan: MixPlan): Promise<void> {
    const { random, fault } = plan;
    const socket = this.#socket;
    const { text, ends } = wireOf(plan);
    if (fault === 'gone') return void (random() < 0.5 ? socket.end() : socket.resetAndDestroy());
    // What comes in one write arrives in one piece on a loopback; beyond its segments nobody could hold anything.
    if (fault === 'surplus' && !ends && text.length < 4000) {
      socket.write(Buffer.from(text + POISON, 'latin1'));
      this.#answering = false;
      return;
    }
    const cut = fault === 'cut' || fault === 'reset';
    const shown = cut ? text.slice(0, Math.floor(random() * text.length)) : text;
    const pieces = slices(shown, plan.pieces, random).filter((piece) => piece !== '');
    for (const [index, piece] of pieces.entries()) {
      if (socket.destroyed) return;
      // Whoever has read the last byte may ask again at once, unless that byte said that nothing follows.
      const isLast = index === pieces.length - 1;
      if (isLast && !ends && !cut) this.#answering = false;
      // In one step: behind an answer that looks like any other, the next request may come before another.
      if (isLast && fault === 'silent-end') socket.end(Buffer.from(piece, 'latin1'));
      else await written(socket, piece);
    }
    if (fault === 'reset') socket.resetAndDestroy();
    else if (ends || cut) socket.end();
  }
}

/** A request's body once it is whole, and how much of `rest` it is. */
function bodyIn(head: string, rest: string): { readonly body: string; readonly length: number } | undefined {
  const length = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1] ?? 0);
  if (!/\r\ntransfer-encoding: chunked/i.test(head))
    return rest.length < length ? undefined : { body: rest.slice(0, length), length };
  let body = '';
  let at = 0;
  for (;;) {
    const end = rest.indexOf('\r\n', at);
    const size = Number.parseInt(rest.slice(at, end), 16);
    if (end < 0 || !(end + 4 + size <= rest.length)) return undefined;
    if (size === 0) return { body, length: end + 4 };
    body += rest.slice(end + 2, end + 2 + size);
    at = end + 4 + size;
  }
}

/** Resolves a turn after the bytes have left, so that the next ones come in a read of their own. */
async function written(socket: Socket, piece: string): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  socket.write(Buffer.from(piece, 'latin1'), () => resolve());
  await promise;
  await new Promise<void>((turn) => void setImmediate(turn));
}
