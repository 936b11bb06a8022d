/**
 * The process behind `rolling-instance.ts`: `slots` requests are worked on at a time, each for a lognormal time around
 * `meanMs`, the rest wait first in, first out. Every answer names the process in `x-instance`, so that a caller sees when
 * its session has moved. Told what to do over IPC only; it ends with its parent.
 */
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

import { seededRandom } from '../../src/kernel/random.ts';
import type { RollingCommand, RollingMessage, RollingSettings } from './rolling-instance.ts';

const PROBE = '/ready';
const BODY = 'ok';

function tell(message: RollingMessage): void {
  if (process.connected) process.send?.(message);
}

/** A page that names five parts of its own version, and these; of other versions it has none. */
function pageOf(target: string, version: string): readonly [status: number, body: string] {
  const [path = ''] = target.split('?');
  const parts = Array.from({ length: 5 }, (_, index) => `/assets/${index}-${version}.js`);
  if (!path.startsWith('/assets/')) return [200, `${version}\n${parts.join('\n')}`];
  return parts.includes(path) ? [200, path] : [404, 'not here'];
}

function serve(initial: RollingSettings): void {
  let settings = initial;
  const random = seededRandom(initial.seed);
  const waiting: ServerResponse[] = [];
  let busy = 0;
  let draining = false;
  /** Of each connection: when it ends its half. */
  const halfCloses = new WeakMap<Socket, NodeJS.Timeout>();

  const serviceMs = (): number => {
    const { meanMs, sigma } = settings;
    if (meanMs === 0) return 0;
    const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    return meanMs * Math.exp(sigma * normal - (sigma * sigma) / 2);
  };
  const fields = (length: number): Record<string, string | number> => ({
    'content-length': length,
    'x-instance': `${process.pid}${settings.version}`,
    'x-service': settings.service,
    ...(draining && settings.drain === 'notice' ? { 'x-drain': '1' } : {}),
    // Or the connection would stay when its last answer has gone.
    ...(settings.listening ? {} : { connection: 'close' }),
  });
  const begin = (): void => {
    while (busy < settings.slots) {
      const response = waiting.shift();
      if (response === undefined) return;
      busy += 1;
      setTimeout(() => {
        busy -= 1;
        const [status, body] = settings.page
          ? pageOf(response.req.url ?? '', settings.version)
          : ([settings.status, BODY] as const);
        response.writeHead(status, fields(body.length)).end(body);
        halfCloseLater(response.req.socket);
        begin();
      }, serviceMs());
    }
  };
  const halfCloseLater = (socket: Socket): void => {
    const { halfCloseMs } = settings;
    if (halfCloseMs > 0)
      halfCloses.set(
        socket,
        setTimeout(() => socket.end(), halfCloseMs),
      );
  };
  const probed = (response: ServerResponse): void => {
    const { probeStatus, failingCheck, drain } = settings;
    if (probeStatus === 0) return;
    if (failingCheck !== '') {
      const document = JSON.stringify({
        status: 'fail',
        checks: { [`${failingCheck}:up`]: [{ status: 'fail' }] },
      });
      response
        .writeHead(503, { ...fields(document.length), 'content-type': 'application/health+json' })
        .end(document);
      return;
    }
    response.writeHead(draining && drain === 'unready' ? 503 : probeStatus, fields(0)).end();
  };
  const take = (request: IncomingMessage, response: ServerResponse): void => {
    clearTimeout(halfCloses.get(request.socket));
    if (request.url === PROBE) {
      probed(response);
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
    settings = { ...settings, listening: false };
    server.close();
    server.closeIdleConnections();
  };
  const leave = (): void => {
    server.once('close', () => process.exit(0));
    close();
  };
  const listen = (): void => {
    server.listen({ host: settings.host, port: settings.port, backlog: 4096 });
  };
  server.on('listening', () => {
    const address = server.address();
    if (typeof address !== 'object' || address === null) return;
    settings = { ...settings, listening: true, port: address.port };
    tell({ type: 'listening', port: address.port });
  });
  process.on('message', (command: RollingCommand) => {
    const { type: _, id, ...changes } = command;
    const { listening: before } = settings;
    settings = { ...settings, ...changes };
    if (before && !settings.listening) close();
    if (!before && settings.listening) listen();
    begin();
    tell({ type: 'done', id });
  });
  process.once('disconnect', () => process.exit(0));
  process.on('SIGINT', () => undefined);
  process.on('SIGTERM', () => {
    if (draining) return;
    draining = true;
    if (settings.drain === 'abrupt') leave();
    else setTimeout(leave, settings.drainMs);
  });
  listen();
}

serve(JSON.parse(process.argv[2] ?? '{}') as RollingSettings);
