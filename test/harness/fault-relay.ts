/**
 * A TCP relay in front of a good origin that breaks what TCP promises: one toxic at a time, changed by a switch, for
 * connections made from then on. What is relayed is never read.
 *
 * latency: everything comes later · down: connections are closed as they are accepted · bandwidth: so many bytes a second ·
 * slowClose: the end comes later than the last byte · timeout: nothing is relayed, nothing is closed · reset: RST once
 * so many bytes have come back · slicer: pieces of a byte or a few, each a packet · limit: FIN after so many bytes.
 * All toxics work on what the origin sends, except latency, which delays both ways, and timeout, which swallows both.
 */
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';

export type Toxic =
  | { readonly kind: 'none' | 'down' | 'timeout' }
  | { readonly kind: 'latency' | 'slowClose'; readonly ms: number }
  | { readonly kind: 'bandwidth'; readonly bytesPerSecond: number }
  | { readonly kind: 'reset' | 'limit'; readonly afterBytes: number }
  | { readonly kind: 'slicer'; readonly bytes: number };

export interface FaultRelay extends AsyncDisposable {
  readonly port: number;
  readonly url: string;
  /** Connections accepted so far. */
  readonly connections: () => number;
  readonly openConnections: () => number;
  /** Cuts what is open and changes what happens to the connections after it. */
  readonly set: (toxic: Toxic) => void;
}

/** Bandwidth is given out in portions this far apart. */
const PORTION_MS = 20;

class Relay {
  toxic: Toxic = { kind: 'none' };
  connections = 0;
  readonly sockets = new Set<Socket>();
  readonly #originPort: number;

  constructor(originPort: number) {
    this.#originPort = originPort;
  }

  accept(client: Socket): void {
    this.connections += 1;
    const { toxic } = this;
    this.#keep(client);
    if (toxic.kind === 'down') {
      client.destroy();
      return;
    }
    if (toxic.kind === 'timeout') {
      client.resume();
      client.once('end', () => client.destroy());
      return;
    }
    const origin = connect({ port: this.#originPort, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
    this.#keep(origin);
    client.once('close', () => origin.destroy());
    origin.once('error', () => client.destroy());
    void relay(client, origin, toxic.kind === 'latency' ? toxic : { kind: 'none' });
    void relay(origin, client, toxic);
  }

  #keep(socket: Socket): void {
    this.sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => this.sockets.delete(socket));
  }
}

/** Everything of one direction, in order. */
async function relay(from: Socket, to: Socket, toxic: Toxic): Promise<void> {
  let sent = 0;
  try {
    for await (const chunk of from as AsyncIterable<Buffer>) {
      if (toxic.kind === 'latency') await pause(toxic.ms);
      for (const piece of pieces(chunk, toxic)) {
        if (to.destroyed) return;
        if ((toxic.kind === 'reset' || toxic.kind === 'limit') && sent + piece.length >= toxic.afterBytes) {
          to.write(piece.subarray(0, toxic.afterBytes - sent), () => {
            if (toxic.kind === 'reset') to.resetAndDestroy();
            else to.end();
          });
          return;
        }
        sent += piece.length;
        if (!to.write(piece)) await once(to, 'drain');
        if (toxic.kind === 'bandwidth' || toxic.kind === 'slicer') await pause(gapMs(toxic));
      }
    }
    if (toxic.kind === 'slowClose') await pause(toxic.ms);
    to.end();
  } catch {
    to.destroy();
  }
}

function* pieces(chunk: Buffer, toxic: Toxic): Generator<Buffer> {
  const size =
    toxic.kind === 'slicer'
      ? toxic.bytes
      : toxic.kind === 'bandwidth'
        ? Math.max(1, Math.floor((toxic.bytesPerSecond * PORTION_MS) / 1000))
        : chunk.length;
  for (let at = 0; at < chunk.length; at += size) yield chunk.subarray(at, at + size);
}

function gapMs(toxic: Toxic): number {
  return toxic.kind === 'bandwidth' ? PORTION_MS : 1;
}

/** Starts a relay on 127.0.0.1 to a port of 127.0.0.1. */
export async function startFaultRelay(originPort: number): Promise<FaultRelay> {
  const relayed = new Relay(originPort);
  const server: Server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) =>
    relayed.accept(socket),
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const cut = (): void => {
    for (const socket of relayed.sockets) socket.destroy();
  };
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    connections: () => relayed.connections,
    openConnections: () => relayed.sockets.size,
    set: (toxic) => {
      relayed.toxic = toxic;
      cut();
    },
    [Symbol.asyncDispose]: async () => {
      server.close();
      cut();
      if (server.listening) await once(server, 'close');
    },
  };
}
