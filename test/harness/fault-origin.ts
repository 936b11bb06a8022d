/**
 * Origins that misbehave on demand: a raw TCP server with one behaviour at a time, changed by a switch.
 *
 * Every connection and every byte is kept, so that a test can say what reached the origin and in how many attempts.
 * `/ready` is always answered properly: probes are another subject. Faults are scripts of what is written and how the
 * connection ends; nothing here parses HTTP beyond the end of a request's head and its declared length.
 */
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';

import { listenBelow, listenOn } from './ports.ts';

/** What is done to a request whose head (and body of declared length) has arrived. */
export type Behaviour =
  | { readonly kind: 'answer'; readonly text: string; readonly ending?: Ending }
  /** Pieces in turn, `gapMs` apart; stops when the connection has gone. */
  | {
      readonly kind: 'drip';
      readonly pieces: () => Iterable<string>;
      readonly gapMs: number;
      readonly ending?: Ending;
    }
  | { readonly kind: 'silent' }
  | { readonly kind: 'close'; readonly how: 'fin' | 'reset' }
  /** Ends the second and later requests of a connection; the first is answered. */
  | { readonly kind: 'resetReused' }
  /** Answers when the head has come, drops the rest unread and ends. */
  | { readonly kind: 'early'; readonly text: string }
  /** Reads nothing at all after accepting. */
  | { readonly kind: 'stopReading' };

export type Ending = 'keep' | 'fin' | 'reset';

const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok';

function withHead(lines: readonly string[], body = ''): string {
  return `HTTP/1.1 ${lines.join('\r\n')}\r\n\r\n${body}`;
}

/** Many interim answers, then a final one. */
function* interims(count: number): Generator<string> {
  const hundred = 'HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n'.repeat(100);
  for (let sent = 0; sent < count; sent += 100) yield hundred;
  yield OK;
}

function* forever(piece: string): Generator<string> {
  for (;;) yield piece;
}

function* bytes(text: string): Generator<string> {
  yield* text;
}

const answer = (text: string, ending?: Ending): Behaviour =>
  ending === undefined ? { kind: 'answer', text } : { kind: 'answer', text, ending };

/** The named faults; the numbers are those of the rows of the design's table of upstream faults. */
const FAULTS = {
  none: answer(OK),
  silent: { kind: 'silent' },
  finBeforeByte: { kind: 'close', how: 'fin' },
  resetBeforeByte: { kind: 'close', how: 'reset' },
  resetReused: { kind: 'resetReused' },
  slowHead: {
    kind: 'drip',
    pieces: () => bytes(`HTTP/1.1 200 OK\r\nx-slow: ${'s'.repeat(200)}\r\n\r\n`),
    gapMs: 100,
  },
  headThenNothing: answer(withHead(['200 OK', 'content-length: 100'])),
  diesMidChunk: answer(withHead(['200 OK', 'transfer-encoding: chunked'], '400\r\nhalf of it'), 'fin'),
  diesMidLength: answer(withHead(['200 OK', 'content-length: 100'], 'half of it'), 'fin'),
  garbage: answer('SSH-2.0-OpenSSH_9.9\r\nno HTTP here\r\n\r\n'),
  lengthAndCoding: answer(
    withHead(['200 OK', 'content-length: 5', 'transfer-encoding: chunked'], '2\r\nok\r\n0\r\n\r\n'),
  ),
  twoLengths: answer(withHead(['200 OK', 'content-length: 2', 'content-length: 3'], 'oke')),
  hugeHead: answer(withHead(['200 OK', `x-huge: ${'h'.repeat(20 * 1024)}`, 'content-length: 2'], 'ok')),
  endlessHeaders: {
    kind: 'drip',
    pieces: () => forever(`HTTP/1.1 200 OK\r\nx-a: ${'e'.repeat(1000)}\r\n`),
    gapMs: 1,
  },
  nulInHeader: answer(withHead(['200 OK', 'x-nul: a\0b', 'content-length: 2'], 'ok')),
  bareLineFeed: answer('HTTP/1.1 200 OK\nx-a: b\ncontent-length: 2\n\nok'),
  foldedHeader: answer(withHead(['200 OK', 'x-a: b', ' folded', 'content-length: 2'], 'ok')),
  status999: answer(withHead(['999 What', 'content-length: 2'], 'ok')),
  unaskedUpgrade: answer(withHead(['101 Switching Protocols', 'connection: upgrade', 'upgrade: chat'])),
  gzipChunked: answer(withHead(['200 OK', 'transfer-encoding: gzip, chunked'], '2\r\nok\r\n0\r\n\r\n')),
  secondAnswer: answer(OK + withHead(['200 OK', 'content-length: 8'], 'smuggled')),
  earlyHints: answer(`HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n${OK}`),
  tenThousandInterims: { kind: 'drip', pieces: () => interims(10_000), gapMs: 0 },
  noContentWithBody: answer(withHead(['204 No Content', 'content-length: 5'], 'extra')),
  notModifiedWithLength: answer(withHead(['304 Not Modified', 'content-length: 100', 'etag: "a"'])),
  untilClose: answer('HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\nto the end', 'fin'),
  untilReset: answer('HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\nto the end', 'reset'),
  hopByHop: answer(
    withHead(
      [
        '200 OK',
        'connection: close, x-mine',
        'x-mine: 1',
        'keep-alive: timeout=9',
        'proxy-connection: close',
        'x-kept: 1',
        'content-length: 2',
      ],
      'ok',
    ),
    'fin',
  ),
  unavailable: answer(withHead(['503 Service Unavailable', 'retry-after: 7', 'content-length: 4'], 'busy')),
  proxyAuthenticate: answer(withHead(['407 Who', 'proxy-authenticate: Basic', 'content-length: 2'], 'no')),
  unauthorized: answer(withHead(['401 Who', 'www-authenticate: Basic', 'content-length: 2'], 'no')),
  innerLocation: answer(withHead(['302 Found', 'location: /inner?q=1', 'content-length: 0'])),
  twoCookies: answer(
    withHead(
      ['200 OK', 'set-cookie: a=1', 'set-cookie: b=2', 'x-latin: caf\u00e9', 'content-length: 2'],
      'ok',
    ),
  ),
  html: answer(withHead(['500 Oops', 'content-type: text/html', 'content-length: 13'], '<h1>Oops</h1>')),
  stopReading: { kind: 'stopReading' },
} as const satisfies Readonly<Record<string, Behaviour>>;

export type FaultName = keyof typeof FAULTS;

export interface SeenRequest {
  /** Number of its connection, from 1. */
  readonly connection: number;
  /** Head and body as they came, latin-1. */
  readonly text: string;
}

export interface FaultOrigin extends AsyncDisposable {
  readonly port: number;
  readonly url: string;
  /** Requests that arrived whole, `/ready` apart. */
  readonly requests: readonly SeenRequest[];
  /** Connections on which anything but `/ready` was asked, or nothing at all. */
  readonly connections: () => number;
  readonly openConnections: () => number;
  readonly set: (fault: FaultName | Behaviour) => void;
  /** Stops listening and cuts every connection: from now on connecting is refused. */
  readonly refuse: () => Promise<void>;
  /** Listens again on the same port. */
  readonly listen: () => Promise<void>;
}

/** The length of the whole request at the start of `text`, or -1 while it has not arrived. */
function requestLength(text: string): number {
  const end = text.indexOf('\r\n\r\n');
  if (end < 0) return -1;
  const head = text.slice(0, end);
  const length = /\r\ncontent-length: *(\d+)/i.exec(head);
  if (length !== null) {
    const total = end + 4 + Number(length[1]);
    return text.length >= total ? total : -1;
  }
  if (!/\r\ntransfer-encoding: *chunked/i.test(head)) return end + 4;
  const last = text.indexOf('\r\n0\r\n\r\n', end);
  return last < 0 ? -1 : last + 7;
}

class FaultServer {
  readonly requests: SeenRequest[] = [];
  readonly sockets = new Set<Socket>();
  behaviour: Behaviour;
  connections = 0;
  readonly server: Server;
  port = 0;

  constructor(behaviour: Behaviour) {
    this.behaviour = behaviour;
    this.server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#accept(socket));
  }

  async listen(): Promise<void> {
    if (this.port === 0) this.port = await listenBelow(this.server);
    else await listenOn(this.server, this.port);
  }

  async refuse(): Promise<void> {
    const closed = Promise.withResolvers<void>();
    this.server.close(() => closed.resolve());
    for (const socket of this.sockets) socket.destroy();
    await closed.promise;
  }

  #accept(socket: Socket): void {
    this.connections += 1;
    const number = this.connections;
    let served = 0;
    let probed = false;
    let text = '';
    this.sockets.add(socket);
    socket.on('close', () => this.sockets.delete(socket));
    socket.on('error', () => undefined);
    socket.on('end', () => socket.end());
    if (this.behaviour.kind === 'stopReading') {
      socket.pause();
      return;
    }
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
      if (this.behaviour.kind === 'early' && text.includes('\r\n\r\n') && !text.startsWith('GET /ready ')) {
        this.requests.push({ connection: number, text });
        socket.removeAllListeners('data').resume();
        socket.end(Buffer.from(this.behaviour.text, 'latin1'));
        return;
      }
      for (let length = requestLength(text); length > 0; length = requestLength(text)) {
        const request = text.slice(0, length);
        text = text.slice(length);
        if (/^[A-Z]+ \/ready /.test(request)) {
          if (!probed && served === 0) this.connections -= 1;
          probed = true;
          socket.write(OK);
          continue;
        }
        served += 1;
        this.requests.push({ connection: number, text: request });
        void this.#misbehave(socket, served);
      }
    });
  }

  async #misbehave(socket: Socket, served: number): Promise<void> {
    const { behaviour } = this;
    switch (behaviour.kind) {
      case 'answer':
        socket.write(Buffer.from(behaviour.text, 'latin1'), () => end(socket, behaviour.ending ?? 'keep'));
        return;
      case 'drip':
        for (const piece of behaviour.pieces()) {
          if (socket.destroyed || socket.writableEnded) return;
          await writeAfter(socket, piece, behaviour.gapMs);
        }
        end(socket, behaviour.ending ?? 'keep');
        return;
      case 'close':
        end(socket, behaviour.how);
        return;
      case 'resetReused':
        if (served === 1) socket.write(OK);
        else end(socket, 'reset');
        return;
      case 'early':
      case 'silent':
      case 'stopReading':
        return;
    }
  }
}

function end(socket: Socket, how: Ending): void {
  if (how === 'fin') socket.end();
  if (how === 'reset') socket.resetAndDestroy();
}

/** Writes after a pause; resolves when the bytes have left, or the connection has gone. */
async function writeAfter(socket: Socket, piece: string, gapMs: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const write = (): void => {
    socket.write(Buffer.from(piece, 'latin1'), () => resolve());
  };
  if (gapMs === 0) write();
  else setTimeout(write, gapMs);
  return promise;
}

/** Starts a misbehaving origin on 127.0.0.1. */
export async function startFaultOrigin(fault: FaultName | Behaviour = 'none'): Promise<FaultOrigin> {
  const resolved = (each: FaultName | Behaviour): Behaviour =>
    typeof each === 'string' ? FAULTS[each] : each;
  const server = new FaultServer(resolved(fault));
  await server.listen();
  return {
    port: server.port,
    url: `http://127.0.0.1:${server.port}`,
    requests: server.requests,
    connections: () => server.connections,
    openConnections: () => server.sockets.size,
    set: (next) => {
      server.behaviour = resolved(next);
    },
    refuse: () => server.refuse(),
    listen: () => server.listen(),
    [Symbol.asyncDispose]: async () => {
      if (server.server.listening) await server.refuse();
    },
  };
}
