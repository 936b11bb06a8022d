/**
 * An instance of the soaked service, as a process of its own that can be killed and started again on the same port. It answers
 * small and large, at once and in drips, echoes uploads as their length and hash, and speaks SSE and WebSocket.
 */
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { WebSocketServer } from 'ws';

import { FILLER, SMALL_BYTES } from './body.ts';

export interface InstanceSettings {
  readonly port: number;
}

const SMALL = FILLER.subarray(0, SMALL_BYTES);

function small(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'text/plain', 'content-length': SMALL.length });
  response.end(SMALL);
}

/** So many bytes of the filler, with their length, no faster than they are taken. */
function large(response: ServerResponse, bytes: number): void {
  response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': bytes });
  let left = bytes;
  const more = (): void => {
    while (left > 0) {
      const piece = FILLER.subarray(0, Math.min(left, FILLER.length));
      left -= piece.length;
      if (!response.write(piece)) {
        response.once('drain', more);
        return;
      }
    }
    response.end();
  };
  more();
}

/** `count` events, or for ever; one each `everyMs`. */
function events(response: ServerResponse, everyMs: number, count: number): void {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  let sent = 0;
  const timer = setInterval(() => {
    sent += 1;
    response.write(`id: ${sent}\ndata: ${'e'.repeat(40)}\n\n`);
    if (sent < count) return;
    clearInterval(timer);
    response.end();
  }, everyMs);
  response.once('close', () => clearInterval(timer));
}

async function echoDigest(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const hash = createHash('sha1');
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  const text = `${bytes} ${hash.digest('hex')}`;
  response.writeHead(200, { 'content-type': 'text/plain', 'content-length': text.length }).end(text);
}

function answer(request: IncomingMessage, response: ServerResponse): void {
  const url = new URL(request.url ?? '/', 'http://instance');
  const number = (name: string, otherwise: number): number => Number(url.searchParams.get(name) ?? otherwise);
  if (request.method === 'POST') {
    echoDigest(request, response).catch(() => response.destroy());
    return;
  }
  request.resume();
  switch (url.pathname) {
    case '/ready':
      response.writeHead(200, { 'content-length': 0 }).end();
      return;
    case '/large':
      large(response, number('bytes', 1 << 20));
      return;
    case '/events':
      events(response, number('everyMs', 200), number('count', Infinity));
      return;
    default:
      setTimeout(small, number('ms', 2), response);
  }
}

function serve({ port }: InstanceSettings): void {
  const server = createServer({ keepAliveTimeout: 10_000 }, answer);
  const sockets = new WebSocketServer({ server, path: '/ws', perMessageDeflate: false });
  sockets.on('connection', (socket) => {
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
    socket.on('error', () => socket.terminate());
  });
  server.on('clientError', (_, socket) => socket.destroy());
  server.listen({ port, host: '127.0.0.1', backlog: 1024 }, () => process.send?.('listening'));
  process.once('disconnect', () => process.exit(0));
  // Ctrl-C reaches the whole process group: the parent decides when an instance ends.
  process.on('SIGINT', () => undefined);
}

serve(JSON.parse(process.argv[2] ?? '{"port":0}') as InstanceSettings);
