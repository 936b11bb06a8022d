import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { readRequests, type StrictRequest } from './strict-parser.ts';

/**
 * An origin that is a socket and a memory: it keeps every byte, reads it with the strict parser and answers each complete
 * request with 200. Connections without a byte are kept apart, since a readiness probe makes them too.
 */

class OriginConnection {
  readonly socket: Socket;
  text = '';
  answered = 0;
  open = true;

  constructor(socket: Socket) {
    this.socket = socket;
  }
}

/** What the origin saw since the last `forget`. */
export interface Seen {
  readonly requests: readonly StrictRequest[];
  /** Connections that brought at least one byte. */
  readonly connections: number;
  /** Unfinished requests on connections that are still open. */
  readonly pending: number;
  /** What was not HTTP, and bytes over. */
  readonly faults: readonly string[];
  /** Bytes of requests that never got complete. */
  readonly partialBytes: number;
}

export class RawOrigin implements AsyncDisposable {
  readonly #server: Server;
  #connections: OriginConnection[] = [];
  readonly #waiting = new Set<() => void>();

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(): Promise<RawOrigin> {
    const server = createServer({ noDelay: true });
    const origin = new RawOrigin(server);
    server.on('connection', (socket) => {
      origin.#accept(socket);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return origin;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Forgets what was seen; idle connections stay usable. */
  forget(): void {
    this.#connections = this.#connections.filter(({ open }) => open);
    for (const connection of this.#connections) {
      connection.text = '';
      connection.answered = 0;
    }
  }

  seen(): Seen {
    const used = this.#connections.filter(({ text }) => text !== '');
    const readings = used.map((connection) => ({ connection, reading: readRequests(connection.text) }));
    return {
      requests: readings.flatMap(({ reading }) => reading.requests),
      connections: used.length,
      pending: readings.filter(({ connection, reading }) => connection.open && reading.rest !== '').length,
      faults: readings.map(({ reading }) => reading.fault).filter((fault) => fault !== ''),
      partialBytes: readings.reduce((sum, { reading }) => sum + reading.rest.length, 0),
    };
  }

  /** Waits until `condition` holds; resolves to false when it does not in time. */
  async until(condition: (seen: Seen) => boolean, timeoutMs = 1000): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const check = (): void => {
      if (condition(this.seen())) resolve(true);
    };
    this.#waiting.add(check);
    const timer = setTimeout(resolve, timeoutMs, false);
    check();
    const result = await promise;
    clearTimeout(timer);
    this.#waiting.delete(check);
    return result;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { socket } of this.#connections) socket.destroy();
    this.#server.close();
    if (this.#server.listening) await once(this.#server, 'close');
  }

  #accept(socket: Socket): void {
    const connection = new OriginConnection(socket);
    this.#connections.push(connection);
    socket.on('data', (chunk: Buffer) => {
      connection.text += chunk.toString('latin1');
      this.#answer(connection);
      this.#changed();
    });
    socket.on('error', () => {
      // Resets are part of what is tested; `close` follows.
    });
    socket.on('close', () => {
      connection.open = false;
      this.#changed();
    });
  }

  #answer(connection: OriginConnection): void {
    const { requests, fault } = readRequests(connection.text);
    if (fault !== '') {
      connection.socket.destroy();
      return;
    }
    for (; connection.answered < requests.length; connection.answered++) {
      connection.socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok');
    }
  }

  #changed(): void {
    for (const check of this.#waiting) check();
  }
}
