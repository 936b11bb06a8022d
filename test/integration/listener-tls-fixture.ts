/**
 * TLS as its clients meet it: openssl as it stands, and connections of Node of which a test sees certificate, session and
 * the worker that answered.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls';

/** Runs `openssl s_client` against the port; resolves with all it said. `input` is what it sends, then it ends. */
export async function openssl(port: number, args: readonly string[], input = 'Q\n'): Promise<string> {
  const child = spawn('openssl', ['s_client', '-connect', `127.0.0.1:${port}`, ...args]);
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      said += chunk.toString('latin1');
    });
  }
  // It may be gone already when it is spoken to.
  child.stdin.on('error', () => undefined);
  child.stdin.write(input);
  const guard = setTimeout(() => child.kill(), 20_000);
  await once(child, 'close');
  clearTimeout(guard);
  return said;
}

/** A connection whose handshake is over; an error when there is none. */
export async function secure(port: number, options: ConnectionOptions): Promise<TLSSocket> {
  const socket = connect({ host: '127.0.0.1', port, ...options });
  await once(socket, 'secureConnect');
  return socket;
}

/** A request on a connection of its own, with the session that a later one may resume. */
export async function begunSession(
  port: number,
  options: ConnectionOptions,
): Promise<{ readonly served: Served; readonly session: Buffer }> {
  const socket = connect({ host: '127.0.0.1', port, ...options });
  // With 1.2 it is there before the handshake is over, with 1.3 some time after it.
  const sessionCame = once(socket, 'session') as Promise<[Buffer]>;
  await once(socket, 'secureConnect');
  const served = await request(socket, true);
  const [session] = await sessionCame;
  socket.destroy();
  return { served, session };
}

const REQUEST = 'GET / HTTP/1.1\r\nhost: a.test\r\n';

export interface Served {
  readonly status: number;
  /** The worker's mark in its request ids. */
  readonly worker: string;
  readonly text: string;
}

/** One request on the connection; it ends with it unless it shall stay. An error when it is cut. */
export async function request(socket: TLSSocket, stays = false): Promise<Served> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let text = '';
  const take = (chunk: Buffer): void => {
    text += chunk.toString('latin1');
    if (text.includes('\r\n\r\n') && text.endsWith('ok')) resolve(text);
  };
  const fail = (error?: Error): void => reject(error ?? new Error(`cut: ${JSON.stringify(text)}`));
  socket.on('data', take);
  socket.once('error', fail);
  socket.once('end', fail);
  socket.write(`${REQUEST}${stays ? '' : 'connection: close\r\n'}\r\n`);
  try {
    await promise;
  } finally {
    socket.off('data', take);
    socket.off('end', fail);
    socket.off('error', fail);
    if (!stays) socket.destroy();
  }
  const worker = /^x-request-id: ([^-]+)-/im.exec(text)?.[1] ?? '';
  return { status: Number(text.slice(9, 12)), worker, text };
}

/** The common name of the certificate that is shown to a new connection. */
export async function shownName(port: number, options: ConnectionOptions): Promise<string> {
  const socket = await secure(port, options);
  const { subject } = socket.getPeerCertificate();
  socket.destroy();
  return String(subject.CN);
}

export function pem(path: string): string {
  return readFileSync(path, 'latin1');
}
