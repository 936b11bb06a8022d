import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import {
  createServer as createTcpServer,
  type AddressInfo,
  type Server as TcpServer,
  type Socket,
} from 'node:net';
import { Prober, type ProbeTarget } from '../../src/io/prober.ts';
import { seededRandom } from '../../src/kernel/random.ts';
import type { Evidence } from '../../src/kernel/evidence.ts';

/** A prober whose evidence can be waited for. */

export interface Seen {
  readonly id: string;
  readonly evidence: Evidence;
  readonly utilization: number;
  readonly at: number;
}

export class Watch implements Disposable {
  readonly prober: Prober;
  readonly seen: Seen[] = [];
  #wake: (() => void)[] = [];

  /** @param onEvidence true = it does not believe it */
  constructor(onEvidence: (id: string, evidence: Evidence, now: number) => boolean = () => false) {
    this.prober = new Prober({
      now: () => performance.now(),
      random: seededRandom(1),
      onEvidence: (_service, id, evidence, now, utilization) => {
        this.seen.push({ id, evidence, utilization, at: now });
        const isDoubted = onEvidence(id, evidence, now);
        for (const wake of this.#wake.splice(0)) wake();
        return isDoubted;
      },
    });
  }

  /** Resolves with the first evidence, past or to come, that fits. */
  async until(fits: (seen: Seen) => boolean): Promise<Seen> {
    for (;;) {
      const found = this.seen.find(fits);
      if (found !== undefined) return found;
      await new Promise<void>((resolve) => {
        this.#wake.push(resolve);
      });
    }
  }

  async count(count: number): Promise<readonly Seen[]> {
    await this.until(() => this.seen.length >= count);
    return this.seen.slice(0, count);
  }

  /** Probes one target and gives its first evidence in short; a stall of this process is none. */
  async first(target: ProbeTarget): Promise<string> {
    this.prober.configure([target]);
    const { evidence } = await this.until(({ evidence: { reason } }) => reason !== 'our own loop was late');
    return `${evidence.kind}: ${evidence.reason}`;
  }

  [Symbol.dispose](): void {
    this.prober.stop();
  }
}

export function target(url: string, more: Partial<ProbeTarget> = {}): ProbeTarget {
  return {
    service: 'shop',
    id: new URL(url).host,
    url,
    path: '/ready',
    intervalMs: 1000,
    timeoutMs: 10_000,
    ...more,
  };
}

export interface Origin extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  readonly sockets: Set<Socket>;
}

export async function httpOrigin(listener: RequestListener, port = 0): Promise<Origin> {
  return listening(createServer(listener), port);
}

export async function tcpOrigin(listener: (socket: Socket) => void): Promise<Origin> {
  const server = createTcpServer((socket) => {
    listener(socket);
    socket.resume(); // unread, it would not see the other side leave
  });
  return listening(server, 0);
}

export async function listening(server: Server | TcpServer, port: number, scheme = 'http'): Promise<Origin> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  const bound = (server.address() as AddressInfo).port;
  return {
    url: `${scheme}://127.0.0.1:${bound}`,
    port: bound,
    sockets,
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** A port on which nothing listens. */
export async function closedPort(): Promise<string> {
  await using origin = await tcpOrigin(() => undefined);
  return origin.url;
}
