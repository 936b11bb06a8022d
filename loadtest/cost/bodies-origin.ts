/**
 * An origin of big bodies: `/down?bytes=N&framing=length|chunked` sends so much, anything else takes what comes and answers
 * with how much it was. A process of its own; tells its port over IPC and ends with its parent.
 */
import { createServer } from 'node:http';
import type { ServerResponse } from 'node:http';

const PIECE = Buffer.alloc(256 * 1024, 'x');

function send(response: ServerResponse, bytes: number): void {
  let left = bytes;
  const more = (): void => {
    while (left > 0) {
      const piece = PIECE.subarray(0, Math.min(left, PIECE.length));
      left -= piece.length;
      if (!response.write(piece) && left > 0) {
        response.once('drain', more);
        return;
      }
    }
    response.end();
  };
  more();
}

const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://origin');
  if (pathname === '/down') {
    const bytes = Number(searchParams.get('bytes'));
    response.writeHead(200, searchParams.get('framing') === 'length' ? { 'content-length': bytes } : {});
    send(response, bytes);
    return;
  }
  let taken = 0;
  request.on('data', (piece: Buffer) => (taken += piece.length));
  request.on('end', () => response.end(String(taken)));
});
server.listen({ port: 0, host: '127.0.0.1' }, () => {
  const address = server.address();
  process.send?.({ port: typeof address === 'object' ? address?.port : undefined });
});
process.once('disconnect', () => process.exit(0));
process.on('SIGINT', () => undefined);
