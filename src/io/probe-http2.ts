import http2, { type IncomingHttpHeaders } from 'node:http2';
import type { Socket } from 'node:net';

/**
 * One GET over HTTP/2, on a connection of its own that was made for it; for probes, which must not depend on a pool.
 */

/** Code of the error for an instance that speaks something else. */
export const NO_HTTP2 = 'NO_HTTP2';

export interface Http2News {
  head(status: number, headers: IncomingHttpHeaders): void;
  chunk(chunk: Buffer): void;
  end(): void;
  failed(error: NodeJS.ErrnoException): void;
}

export function askHttp2(
  socket: Socket,
  request: { readonly scheme: string; readonly authority: string; readonly path: string },
  fields: Readonly<Record<string, string>>,
  news: Http2News,
): void {
  const { scheme, authority, path } = request;
  const session = http2.connect(`${scheme}://${authority}`, {
    createConnection: () => socket,
    settings: { enablePush: false },
  });
  let spoken = false;
  let ended = false;
  session.once('remoteSettings', () => {
    spoken = true;
  });
  const fail = (error: NodeJS.ErrnoException): void => {
    if (ended) return;
    ended = true;
    // Whoever answers our preface with something else has said what he does not speak.
    const unspoken = !spoken && error.code === 'ERR_HTTP2_ERROR';
    news.failed(unspoken ? Object.assign(new Error('no HTTP/2'), { code: NO_HTTP2 }) : error);
  };
  session.on('error', fail);
  const stream = session.request({ ...fields, ':path': path, ':authority': authority, ':scheme': scheme });
  stream.on('error', fail);
  stream.on('response', (headers) => {
    news.head(headers[':status'] ?? 0, headers);
  });
  stream.on('data', (chunk: Buffer) => {
    news.chunk(chunk);
  });
  stream.on('end', () => {
    if (stream.rstCode !== 0) return;
    ended = true;
    news.end();
  });
  stream.on('close', () => {
    fail(Object.assign(new Error('stream closed'), { code: 'ECONNRESET' }));
  });
}
