/**
 * An instance whose kernel accepts no more connections: the queue is full and the process never takes one out of it. On
 * Linux further SYNs are dropped, as by a host that is gone behind a firewall. Until `block` it serves, so that probes find
 * it ready.
 */
import { connect } from 'node:net';
import type { Socket } from 'node:net';

import { startProcess } from './process.ts';

/** Listens with the shortest queue, says where, and once told never comes back to its event loop. */
const CHILD = `
  const server = require('node:http').createServer((_, response) => {
    response.writeHead(200, { 'content-length': 2, connection: 'close' }).end('ok');
  });
  server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
    console.log('port ' + server.address().port);
  });
  process.on('disconnect', () => process.exit());
  process.on('message', () => {
    require('node:fs').writeSync(1, 'blocked\\n');
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  });
`;

export interface FullBacklog extends AsyncDisposable {
  readonly url: string;
  /** From now on nobody is accepted, and new connections are not even answered. */
  readonly block: () => Promise<void>;
}

/** A backlog of one holds two connections; a few more make sure whatever the kernel's rounding. */
const FILLERS = 8;

export async function startFullBacklog(): Promise<FullBacklog> {
  const running = await startProcess(process.execPath, ['-e', CHILD], { ipc: true });
  const port = Number((await running.waitForLine(/port (\d+)/))[1]);
  const fillers: Socket[] = [];
  return {
    url: `http://127.0.0.1:${port}`,
    block: async () => {
      running.child.send('block');
      await running.waitForLine(/blocked/);
      for (let index = 0; index < FILLERS; index += 1) {
        const socket = connect({ port, host: '127.0.0.1' });
        socket.on('error', () => undefined);
        fillers.push(socket);
      }
    },
    [Symbol.asyncDispose]: async () => {
      for (const socket of fillers) socket.destroy();
      await running.kill();
      await running[Symbol.asyncDispose]();
    },
  };
}
