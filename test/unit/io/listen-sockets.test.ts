/**
 * The bound socket that outlives every worker: bound once, listened on by whoever has the handle, and honest about why
 * an address cannot be had.
 */
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, expect, test } from 'vitest';
import { bindSocket, listenFault, portIsFree } from '../../../src/io/listen-sockets.ts';
import type { BoundSocket } from '../../../src/io/listen-sockets.ts';

async function serve(socket: BoundSocket, text: string): Promise<Server> {
  const server = createServer((_, response) => {
    response.setHeader('connection', 'close');
    response.end(text);
  });
  const listening = once(server, 'listening');
  server.listen(socket.handle);
  await listening;
  return server;
}

async function close(server: Server): Promise<void> {
  const closed = once(server, 'close');
  server.close();
  await closed;
}

async function refused(port: number): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1' });
  const { promise, resolve } = Promise.withResolvers<string>();
  socket.once('connect', () => resolve('connected'));
  socket.once('error', (error) => resolve((error as NodeJS.ErrnoException).code ?? ''));
  const outcome = await promise;
  socket.destroy();
  return outcome;
}

function codeOf(bind: () => unknown): string {
  try {
    bind();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    expect(message).toMatch(/^cannot listen on .+:\d+: /);
    expect(message.endsWith(`(${code})`)).toBe(true);
    return code ?? '';
  }
  return 'bound';
}

describe('a bound socket', () => {
  test('on port 0 knows the port it got, and two of them are different', () => {
    const sockets = [bindSocket('127.0.0.1', 0), bindSocket('127.0.0.1', 0)];
    const [first, second] = sockets.map(({ port }) => port);
    expect(first).toBeGreaterThan(0);
    expect(second).toBeGreaterThan(0);
    expect(first).not.toBe(second);
    for (const socket of sockets) socket.close();
  });

  test('is served by whoever listens on its handle', async () => {
    const socket = bindSocket('127.0.0.1', 0);
    const server = await serve(socket, 'served');
    expect(await (await fetch(`http://127.0.0.1:${socket.port}`)).text()).toBe('served');
    await close(server);
    socket.close();
  });

  test('does not accept before anybody listens', async () => {
    const socket = bindSocket('127.0.0.1', 0);
    expect(await refused(socket.port)).toBe('ECONNREFUSED');
    socket.close();
  });

  test('on :: is reached over IPv4 as well, or is IPv4 where there is nothing else', async () => {
    const socket = bindSocket('::', 0);
    const server = await serve(socket, 'both');
    expect(await (await fetch(`http://127.0.0.1:${socket.port}`)).text()).toBe('both');
    await close(server);
    socket.close();
  });
});

describe('an address that cannot be had', () => {
  test('because it is taken says so, and is free again when its socket is closed', async () => {
    const socket = bindSocket('127.0.0.1', 0);
    const { port } = socket;
    const server = await serve(socket, 'taken');
    expect(codeOf(() => bindSocket('127.0.0.1', port))).toBe('EADDRINUSE');
    expect(portIsFree('127.0.0.1', port)).toBe(false);
    await close(server);
    socket.close();
    // The operating system lets go when the handle is really closed, at the end of the turn.
    await new Promise((resolve) => void setImmediate(resolve));
    expect(portIsFree('127.0.0.1', port)).toBe(true);
  });

  test('because this machine does not have it says so', () => {
    expect(codeOf(() => bindSocket('203.0.113.1', 0))).toBe('EADDRNOTAVAIL');
  });

  test.each([
    ['EADDRINUSE', '127.0.0.1', 8080, '127.0.0.1:8080: the port is in use (EADDRINUSE)'],
    ['EADDRNOTAVAIL', '203.0.113.1', 80, '203.0.113.1:80: this machine has no such address (EADDRNOTAVAIL)'],
    ['EACCES', '::', 80, '[::]:80: no permission for ports below 1024 (EACCES)'],
    ['EACCES', '::1', 8080, '[::1]:8080: no permission (EACCES)'],
    ['EAFNOSUPPORT', '::1', 80, '[::1]:80: this machine has no addresses of this kind (EAFNOSUPPORT)'],
    ['EMFILE', '::1', 80, '[::1]:80: EMFILE'],
  ])('is named with the reason: %s on %s:%i', (code, host, port, words) => {
    expect(listenFault(code, host, port)).toBe(`cannot listen on ${words}`);
  });

  test('is not taken by having been asked for', async () => {
    const socket = bindSocket('127.0.0.1', 0);
    const { port } = socket;
    socket.close();
    for (let turn = 0; turn < 3; turn++) {
      await new Promise((resolve) => void setImmediate(resolve));
      expect(portIsFree('127.0.0.1', port)).toBe(true);
    }
  });
});
