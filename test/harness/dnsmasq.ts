/**
 * A real name server for tests: dnsmasq on a free port of 127.0.0.1, with the records of the test and a ttl of one second.
 * It knows the zone `test` and nothing else, so a name that is not there does not exist.
 */
import { createSocket } from 'node:dgram';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';

import { findExecutable } from './executable.ts';
import { eventually, freePorts } from './ports.ts';
import { startProcess } from './process.ts';
import type { RunningProcess } from './process.ts';

export interface Records {
  /** `name` → addresses. */
  readonly hosts?: Readonly<Record<string, readonly string[]>>;
  /** `name,target,port,priority,weight`, as dnsmasq writes them. */
  readonly services?: readonly string[];
}

export class NameServer implements AsyncDisposable {
  readonly port: number;
  readonly #folder: string;
  #process: RunningProcess | undefined = undefined;

  private constructor(port: number, folder: string) {
    this.port = port;
    this.#folder = folder;
  }

  static async start(records: Records): Promise<NameServer> {
    const [port = 0] = await freePorts(1);
    const server = new NameServer(port, await mkdtemp(join(tmpdir(), 'spillway-dns-')));
    await server.serve(records);
    return server;
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** Serves other records, after a moment without any. */
  async serve({ hosts = {}, services = [] }: Records): Promise<void> {
    await this.kill();
    const file = join(this.#folder, 'hosts');
    const lines = Object.entries(hosts).flatMap(([name, addresses]) =>
      addresses.map((address) => `${address} ${name}\n`),
    );
    await writeFile(file, lines.join(''));
    this.#process = await startProcess(findExecutable('dnsmasq'), [
      '--keep-in-foreground',
      '--log-facility=-',
      `--user=${userInfo().username}`,
      '--conf-file=/dev/null',
      '--pid-file',
      `--port=${this.port}`,
      '--listen-address=127.0.0.1',
      '--bind-interfaces',
      '--no-resolv',
      '--no-hosts',
      '--local-ttl=1',
      '--local=/test/',
      `--addn-hosts=${file}`,
      ...services.map((service) => `--srv-host=${service}`),
    ]);
    await eventually('the name server answers', async () => await answers(this.port));
  }

  /** Every question is refused by the kernel from now on. */
  async kill(): Promise<void> {
    await this.#process?.kill();
    this.#process = undefined;
  }

  /** Questions vanish from now on. */
  pause(): void {
    this.#process?.signal('SIGSTOP');
  }

  resume(): void {
    this.#process?.signal('SIGCONT');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/** A name server that answers every question with this code: 2 = SERVFAIL, 3 = no such name, 5 = refused. */
export async function startRefusingServer(code: number, port: number): Promise<AsyncDisposable> {
  const socket = createSocket('udp4');
  socket.on('message', (question, { port: to, address }) => {
    const answer = Buffer.from(question);
    answer.writeUInt16BE(0x8180 | code, 2);
    socket.send(answer, to, address);
  });
  const bound = Promise.withResolvers<void>();
  socket.once('error', bound.reject);
  socket.bind(port, '127.0.0.1', bound.resolve);
  await bound.promise;
  return {
    [Symbol.asyncDispose]: async () => {
      const closed = Promise.withResolvers<void>();
      socket.close(closed.resolve);
      await closed.promise;
    },
  };
}

/** Whether the server answers a question at all. */
async function answers(port: number): Promise<boolean> {
  const socket = createSocket('udp4');
  const answered = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => answered.resolve(false), 200);
  socket.on('error', () => answered.resolve(false));
  socket.on('message', () => answered.resolve(true));
  // "Which address has `test`?"
  socket.connect(port, '127.0.0.1', () => {
    socket.send(Buffer.from('00010100000100000000000004746573740000010001', 'hex'), () => undefined);
  });
  try {
    return await answered.promise;
  } finally {
    clearTimeout(timer);
    socket.close();
  }
}
