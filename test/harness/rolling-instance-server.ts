/**
 * The process behind `rolling-instance.ts`: `slots` requests are worked on at a time, each for a lognormal time around
 * `meanMs`, the rest wait first in, first out. Every answer names the process in `x-instance`, so that a caller sees when
 * its session has moved. Told what to do over IPC only; it ends with its parent.
 */
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';

import { seededRandom } from '../../src/kernel/random.ts';
import type { RollingCommand, RollingMessage, RollingSettings } from './rolling-instance.ts';

const PROBE = '/ready';
const BODY = 'ok';

function tell(message: RollingMessage): void {
  if (process.connected) process.send?.(message);
}

function serve(initial: RollingSettings): void {
  let settings = initial;
  const random = seededRandom(initial.seed);
  const waiting: ServerResponse[] = [];
  let busy = 0;
  let draining = false;
  let closing = false;

  const serviceMs = (): number => {
    const { meanMs, sigma } = settings;
    if (meanMs === 0) return 0;
    const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    return meanMs * Math.exp(sigma * normal - (sigma * sigma) / 2);
  };
  const fields = (length: number): Record<string, string | number> => ({
    'content-length': length,
    'x-instance': `${process.pid}${settings.version}`,
    ...(draining && settings.drain === 'notice' ? { 'x-drain': '1' } : {}),
    // Or the connection would stay when its last answer has gone.
    ...(closing ? { connection: 'close' } : {}),
  });
  const begin = (): void => {
    while (busy < settings.slots) {
      const response = waiting.shift();
      if (response === undefined) return;
      busy += 1;
      setTimeout(() => {
        busy -= 1;
        response.writeHead(settings.status, fields(BODY.length)).end(BODY);
        begin();
      }, serviceMs());
    }
  };
  const take = (request: IncomingMessage, response: ServerResponse): void => {
    if (request.url === PROBE) {
      const refuses = draining && settings.drain === 'unready';
      response.writeHead(refuses ? 503 : settings.probeStatus, fields(0)).end();
      return;
    }
    request.resume();
    request.once('end', () => {
      const id = request.headers['x-id'];
      if (request.method === 'POST' && typeof id === 'string') tell({ type: 'executed', id });
      waiting.push(response);
      begin();
    });
  };

  const server = createServer({ keepAliveTimeout: 60_000 }, take);
  const close = (): void => {
    closing = true;
    server.close(() => process.exit(0));
    server.closeIdleConnections();
  };
  server.listen({ port: settings.port, host: '127.0.0.1', backlog: 4096 }, () => {
    const address = server.address();
    if (typeof address === 'object' && address !== null) tell({ type: 'listening', port: address.port });
  });
  process.on('message', (command: RollingCommand) => {
    const { type: _, id, ...changes } = command;
    settings = { ...settings, ...changes };
    begin();
    tell({ type: 'done', id });
  });
  process.once('disconnect', () => process.exit(0));
  process.on('SIGINT', () => undefined);
  process.on('SIGTERM', () => {
    if (draining) return;
    draining = true;
    if (settings.drain === 'abrupt') close();
    else setTimeout(close, settings.drainMs);
  });
}

serve(JSON.parse(process.argv[2] ?? '{}') as RollingSettings);
