/**
 * Free ports for children that cannot be handed a listening socket.
 *
 * A port is chosen below the kernel's ephemeral range, so that no outgoing connection of a test that runs at the same
 * time can take it between the check and the child's `listen`, and at random, so that two test runs on one machine
 * rarely meet; files of one run that vitest runs at the same time have ports of their own. Limits: it is a check, not a
 * reservation; who starts a child tries again on EADDRINUSE.
 */
import { createServer, connect } from 'node:net';
import type { Server } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';

/** Linux gives outgoing connections 32768 and up; half of this span and two test runs would often meet. */
const FIRST_PORT = 18_000;
const PORT_SPAN = 14_000;
/** Shares of the span: more than files run at once, and a test needs no thousand ports. */
const SHARES = 8;

/** Whether nobody listens on `port`, on any address of this machine. */
async function isFree(port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const server = createServer();
  server.once('error', () => resolve(false));
  server.listen({ port, host: '::', exclusive: true }, () => server.close(() => resolve(true)));
  return promise;
}

/** `count` different ports that are free now. */
export async function freePorts(count: number): Promise<readonly number[]> {
  const found = new Set<number>();
  const share = Number(process.env['VITEST_POOL_ID'] ?? 0) % SHARES;
  for (let tries = 0; found.size < count; tries += 1) {
    if (tries > 200) throw new Error('no free port found in 200 tries');
    const port = FIRST_PORT + SHARES * Math.floor((Math.random() * PORT_SPAN) / SHARES) + share;
    if (!found.has(port) && (await isFree(port))) found.add(port);
  }
  return [...found];
}

/**
 * Lets `server` listen on a port of 127.0.0.1 that it can leave and come back to: no outgoing connection can take it
 * meanwhile, and none to it can meet itself. Resolves with the port.
 */
export async function listenBelow(server: Server): Promise<number> {
  for (let tries = 1; ; tries += 1) {
    const [port = 0] = await freePorts(1);
    try {
      await listenOn(server, port);
      return port;
    } catch (error) {
      if (tries >= 10 || (error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    }
  }
}

/** Lets `server` listen on this port of 127.0.0.1. */
export async function listenOn(server: Server, port: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.listen(port, '127.0.0.1', resolve);
  try {
    await promise;
  } finally {
    server.off('error', reject);
  }
}

/** Whether a TCP connection to 127.0.0.1:`port` is accepted; one that nobody answers for ten seconds is not. */
export async function accepts(port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect({ port, host: '127.0.0.1', timeout: 10_000 });
  const end = (answer: boolean): void => {
    socket.destroy();
    resolve(answer);
  };
  socket.once('connect', () => end(true));
  socket.once('error', () => end(false));
  socket.once('timeout', () => end(false));
  return promise;
}

/**
 * Asks `condition` every `everyMs` until it holds; an error that names `what` when it does not within `timeoutMs`, which
 * guards against hanging: a slow machine may take its time.
 */
export async function eventually(
  what: string,
  condition: () => boolean | Promise<boolean>,
  timeoutMs = 30_000,
  everyMs = 20,
): Promise<void> {
  const until = performance.now() + timeoutMs;
  for (;;) {
    if (await condition()) return;
    if (performance.now() >= until) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await pause(everyMs);
  }
}
