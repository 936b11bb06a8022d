/**
 * Instances that speak HTTP/2 by Node's own server, in clear text or behind TLS. A request for `/ready` is granted and
 * not told; everything else is the test's.
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http2 from 'node:http2';
import type {
  Http2SecureServer,
  Http2Server,
  Http2Stream,
  IncomingHttpHeaders,
  ServerHttp2Session,
  ServerHttp2Stream,
  Settings,
} from 'node:http2';
import type { AddressInfo } from 'node:net';

import type { CertificateFiles } from './certificates.ts';

export interface SeenStream {
  readonly stream: ServerHttp2Stream;
  readonly headers: IncomingHttpHeaders;
  /** Flat, as they came, pseudo-fields among them. */
  readonly rawHeaders: readonly string[];
  /** What its connection agreed on. */
  readonly alpn: string | undefined;
}

export interface H2Origin extends AsyncDisposable {
  readonly port: number;
  readonly url: string;
  readonly server: Http2Server | Http2SecureServer;
  /** Sessions on which something else than `/ready` was asked. */
  readonly sessions: ReadonlySet<ServerHttp2Session>;
  /** Every stream seen, `/ready` apart. */
  readonly seen: readonly SeenStream[];
}

export interface H2OriginOptions {
  readonly tls?: CertificateFiles;
  /** Behind TLS: ask for a certificate of this authority. */
  readonly clientCa?: string;
  readonly settings?: Settings;
}

export async function startH2Origin(
  answer: (seen: SeenStream) => void,
  { tls, clientCa, settings = {} }: H2OriginOptions = {},
): Promise<H2Origin> {
  const server =
    tls === undefined
      ? http2.createServer({ settings })
      : http2.createSecureServer({
          settings,
          cert: readFileSync(tls.cert),
          key: readFileSync(tls.key),
          ...(clientCa === undefined
            ? {}
            : { requestCert: true, rejectUnauthorized: true, ca: readFileSync(clientCa) }),
        });
  const all = new Set<ServerHttp2Session>();
  const sessions = new Set<ServerHttp2Session>();
  const seen: SeenStream[] = [];
  server.on('session', (session: ServerHttp2Session) => {
    all.add(session);
    session.on('error', () => undefined);
    session.on('close', () => all.delete(session));
  });
  server.on('sessionError', () => undefined);
  server.on('stream', (stream: ServerHttp2Stream, headers, _flags, rawHeaders) => {
    stream.on('error', () => undefined);
    if (headers[':path'] === '/ready') {
      stream.respond({ ':status': 200 }, { endStream: true });
      return;
    }
    if (stream.session !== undefined) sessions.add(stream.session as ServerHttp2Session);
    const alpn = stream.session?.alpnProtocol;
    const entry = { stream, headers, alpn, rawHeaders: rawHeaders as unknown as readonly string[] };
    seen.push(entry);
    answer(entry);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    port,
    url: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    server,
    sessions,
    seen,
    [Symbol.asyncDispose]: async () => {
      for (const session of all) session.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

/**
 * Resets a stream as any server but Node's would: `close` alone sends END_STREAM first, and half a message looks whole.
 */
export function reset(stream: Http2Stream, code: number): void {
  stream.end = () => stream;
  stream.close(code);
}

/** Answers 200 with what was asked, as JSON: method, path, authority, fields and the body's text. */
export function echoStream({ stream, headers, rawHeaders }: SeenStream): void {
  const chunks: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  stream.on('end', () => {
    const told = {
      method: headers[':method'],
      path: headers[':path'],
      authority: headers[':authority'],
      scheme: headers[':scheme'],
      rawHeaders,
      body: Buffer.concat(chunks).toString('latin1'),
    };
    const text = JSON.stringify(told);
    stream.respond({
      ':status': 200,
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(text),
    });
    stream.end(headers[':method'] === 'HEAD' ? undefined : text);
  });
}

export interface EchoedStream {
  readonly method: string;
  readonly path: string;
  readonly authority: string;
  readonly scheme: string;
  readonly rawHeaders: readonly string[];
  readonly body: string;
}
