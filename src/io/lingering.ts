import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Exchange } from './exchange.ts';
import type { WorkerContext } from './worker-context.ts';
import { WheelEntry } from './wheel.ts';

/**
 * Ending a connection whose request body nobody will read.
 *
 * The answer is written, our side is closed, and what the caller still sends is read and thrown away, at most 64 KiB or
 * half a second of it; only then is the socket destroyed. Closed at once, the unread bytes would make the kernel answer
 * with a reset, and a reset lets the caller's system throw away an answer that it had already received (RFC 9112 §9.6).
 */

const DISCARD_BYTES = 64 * 1024;
const DISCARD_MS = 500;

class Discard extends WheelEntry {
  readonly #exchange: Exchange;
  readonly #socket: Socket;
  readonly #destroySoon: () => void;
  #bytes = 0;

  constructor(exchange: Exchange) {
    super();
    this.#exchange = exchange;
    this.#socket = exchange.req.socket;
    this.#destroySoon = this.#socket.destroySoon.bind(this.#socket);
  }

  start(): void {
    const { req, worker } = this.#exchange;
    // Node destroys the socket of a last response as soon as it is flushed; here that moment only ends our side.
    this.#socket.destroySoon = this.#halfClose;
    worker.wheel.arm(this, worker.now() + DISCARD_MS);
    req.on('data', this.#count);
    req.once('end', this.#ended);
    this.#socket.once('close', this.#stop);
    req.resume();
  }

  override expired(): void {
    this.#over();
  }

  readonly #halfClose = (): void => {
    this.#socket.end();
  };

  readonly #count = (chunk: Buffer): void => {
    this.#bytes += chunk.length;
    // Read no more, and end later all the same: a caller in the middle of a write has to find its answer before a reset.
    if (this.#bytes > DISCARD_BYTES) this.#exchange.req.pause();
  };

  readonly #stop = (): void => {
    this.#exchange.worker.wheel.disarm(this);
  };

  /** The body is in, but another request may come behind it. */
  readonly #ended = (): void => {
    const { worker } = this.#exchange;
    this.#finish(() => endInOrder(this.#socket, worker));
  };

  readonly #over = (): void => {
    this.#exchange.req.pause();
    this.#finish(this.#destroySoon);
  };

  #finish(destroySoon: () => void): void {
    this.#stop();
    this.#exchange.req.off('data', this.#count);
    this.#exchange.req.off('end', this.#ended);
    this.#socket.destroySoon = destroySoon;
    // An answer still being written ends the connection itself, since it says `connection: close`.
    if (this.#exchange.res.writableFinished) destroySoon();
  }
}

/** Destroys a socket a moment after our side was closed: what still comes must not turn into a reset at once. */
class Linger extends WheelEntry {
  readonly #socket: Duplex;

  constructor(socket: Duplex) {
    super();
    this.#socket = socket;
  }

  override expired(): void {
    this.#socket.destroy();
  }
}

/** Our side of the socket has ended, or ends now; the rest follows when the caller closes, or half a second later. */
export function lingerOn(socket: Duplex, worker: WorkerContext): void {
  const linger = new Linger(socket);
  worker.wheel.arm(linger, worker.now() + DISCARD_MS);
  socket.once('close', () => {
    worker.wheel.disarm(linger);
  });
}

/** Ends the connection of a last answer in order, with what may still come behind the request that was answered. */
export function closeInOrder(exchange: Exchange): void {
  const { req, worker } = exchange;
  const { socket } = req;
  if (socket.destroyed) return;
  if (!req.complete) {
    new Discard(exchange).start();
    return;
  }
  const end = (): void => {
    endInOrder(socket, worker);
  };
  socket.destroySoon = end;
}

function endInOrder(socket: Socket, worker: WorkerContext): void {
  socket.end();
  lingerOn(socket, worker);
}

/** Ends a connection at once, with a reset where the kernel takes one: what it still holds for a slow reader goes too. */
export function resetConnection(socket: Duplex): void {
  // What TLS speaks through; when that is gone the TLS socket closes too.
  const tcp = (socket as { _parent?: Duplex })._parent ?? socket;
  if ('resetAndDestroy' in tcp) (tcp as Socket).resetAndDestroy();
  else tcp.destroy();
}

/** Reads and drops what is left of a request body beside an answer that says `connection: close`. */
export function discardRest(exchange: Exchange): void {
  if (exchange.req.complete || exchange.req.socket.destroyed) return;
  new Discard(exchange).start();
}
