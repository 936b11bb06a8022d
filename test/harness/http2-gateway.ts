/**
 * A gateway with one TLS listener, a certificate of its own, and callers of HTTP/2 by Node's client.
 */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:http2';
import type {
  ClientHttp2Session,
  ClientHttp2Stream,
  IncomingHttpHeaders,
  OutgoingHttpHeaders,
} from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { startGateway } from './gateway.ts';
import type { Gateway, GatewayOptions } from './gateway.ts';

/** What the certificate of these gateways is good for. */
const CERTIFICATE_NAMES = 'DNS:localhost,DNS:a.test,DNS:*.b.test,IP:127.0.0.1';

export interface Http2Gateway extends AsyncDisposable {
  readonly gateway: Gateway;
  readonly port: number;
  /** The certificate, PEM. */
  readonly ca: string;
  readonly certificateFile: string;
  readonly keyFile: string;
  /** A session of Node's client, closed with the gateway. */
  readonly session: (authority?: string) => Promise<ClientHttp2Session>;
  /** Processor seconds and resident bytes of its one worker. */
  readonly worker: () => { readonly pid: number; readonly residentBytes: number };
}

export interface Http2GatewayOptions extends GatewayOptions {
  /** Inside `limits: { … }` of the listener. */
  readonly limits?: string;
  /** Inside `shop: { … }`, after its instances. */
  readonly service?: string;
  /** The address of an instance of a second service, `gone`. */
  readonly gone?: string;
  /** More lines of `routes`. */
  readonly routes?: readonly string[];
  /** More sections. */
  readonly more?: string;
  readonly workers?: number;
}

export async function startHttp2Gateway(
  instances: readonly string[],
  options: Http2GatewayOptions = {},
): Promise<Http2Gateway> {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-http2-'));
  const [certificateFile, keyFile] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  const names = ['-subj', '/CN=localhost', '-addext', `subjectAltName=${CERTIFICATE_NAMES}`];
  execFileSync('openssl', ['req', '-x509', ...kind, ...names, '-keyout', keyFile, '-out', certificateFile], {
    stdio: 'ignore',
  });
  const ca = readFileSync(certificateFile, 'utf8');
  const yaml = [
    'listeners:',
    '  - port: __PORT__',
    '    host: 127.0.0.1',
    `    tls: { certificates: [{ cert: ${certificateFile}, key: ${keyFile} }] }`,
    `    limits: { ${options.limits ?? ''} }`,
    `workers: ${options.workers ?? 1}`,
    'services:',
    `  shop: { instances: [${instances.join(', ')}], readiness: { path: /ready }${options.service === undefined ? '' : `, ${options.service}`} }`,
    ...(options.gone === undefined ? [] : [`  gone: { instances: [${options.gone}] }`]),
    'routes:',
    '  - { path: /, service: shop }',
    ...(options.routes ?? []).map((route) => `  - ${route}`),
    options.more ?? '',
  ].join('\n');
  const gateway = await startGateway(yaml, options);
  const sessions = new Set<ClientHttp2Session>();
  return {
    gateway,
    port: gateway.port,
    ca,
    certificateFile,
    keyFile,
    session: async (authority = 'localhost') => {
      const session = connect(`https://${authority}:${gateway.port}`, {
        ca,
        lookup: (_name, _options, done) => done(null, [{ address: '127.0.0.1', family: 4 }]),
      } as Parameters<typeof connect>[1]);
      sessions.add(session);
      // Ends are told by the streams; a session that is cut on purpose must not end the test's process.
      session.on('error', () => undefined);
      await once(session, 'connect');
      return session;
    },
    worker: () => {
      const [pid = 0] = gateway.workerPids();
      const pages = Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1]);
      return { pid, residentBytes: pages * 4096 };
    },
    [Symbol.asyncDispose]: async () => {
      for (const session of sessions) session.destroy();
      await gateway[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export interface StreamAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** Flat, as they came. */
  readonly rawHeaders: readonly string[];
  readonly body: Buffer;
  readonly trailers: IncomingHttpHeaders;
  /** Statuses of the interim answers before it. */
  readonly interim: readonly number[];
  /** The code the stream ended with. */
  readonly code: number;
}

export interface StreamRequest {
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: Buffer | string;
}

/** One request from its head to the end of its stream. Rejects when no answer came at all. */
export async function askStream(
  session: ClientHttp2Session,
  { headers = {}, body }: StreamRequest = {},
): Promise<StreamAnswer> {
  const fields = { ':path': '/', ...(body === undefined ? {} : { ':method': 'POST' }), ...headers };
  const stream = session.request(fields, body === undefined ? {} : { endStream: false });
  if (body !== undefined) stream.end(body);
  return await answerOf(stream);
}

/** Collects whatever comes on a stream until it is closed. */
export async function answerOf(stream: ClientHttp2Stream): Promise<StreamAnswer> {
  const interim: number[] = [];
  const chunks: Buffer[] = [];
  let answered: { headers: IncomingHttpHeaders; rawHeaders: readonly string[] } | undefined;
  let trailers: IncomingHttpHeaders = {};
  let failure: Error | undefined;
  stream.on('headers', (head) => interim.push(Number(head[':status'])));
  stream.on('response', (headers, _flags, rawHeaders) => {
    answered = { headers, rawHeaders: rawHeaders as unknown as readonly string[] };
  });
  stream.on('trailers', (fields) => {
    trailers = fields;
  });
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  stream.on('error', (error) => {
    failure = error;
  });
  if (!stream.destroyed) {
    const { promise, resolve } = Promise.withResolvers<void>();
    stream.once('close', resolve);
    await promise;
  }
  if (answered === undefined) throw failure ?? new Error('no answer');
  return {
    status: Number(answered.headers[':status']),
    ...answered,
    body: Buffer.concat(chunks),
    trailers,
    interim,
    code: stream.rstCode ?? 0,
  };
}

/** The problem+json of a refusal. */
export function problemOf({ body }: StreamAnswer): { readonly code: string; readonly status: number } {
  return JSON.parse(body.toString('utf8')) as { code: string; status: number };
}
