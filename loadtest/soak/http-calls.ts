/**
 * Calls of well-behaved HTTP/1 clients, through `node:http`: kept-alive and short connections, over TLS, uploads with a length and
 * without, downloads. Each answer is compared byte by byte with what was to come.
 */
import { Agent as HttpAgent, request as httpRequest } from 'node:http';
import type { ClientRequest, IncomingMessage, RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { TLSSocket } from 'node:tls';

import { digestOf, FILLER, fillerOf, SMALL_BYTES } from './body.ts';
import { connectionFault, CUT, failed, OK, refusal } from './outcomes.ts';
import type { CallersSettings, Outcome } from './outcomes.ts';

/** Longer than anything that a caller waits for by design; who waits longer has been forgotten. */
export const PATIENCE_MS = 30_000;
/** Idle at most; a caller who finds none free opens another, or he would wait in his own process. */
const KEPT_ALIVE = 24;
/**
 * Addresses that callers come from, as a trusted proxy tells: each has limits of its own. As many as the
 * warming up makes known: what a gateway remembers of an address is to be no growth.
 */
const ADDRESSES = 3000;
const COOKIES = 200;

export interface CallTools {
  readonly settings: CallersSettings;
  readonly random: () => number;
  readonly ca: Buffer;
  readonly agent: HttpAgent;
  /** Session cookies that were given out. */
  readonly cookies: string[];
  readonly metCertificate: (serial: string) => void;
  readonly metProtocol: (name: string) => void;
}

export type Call = (tools: CallTools) => Promise<Outcome>;

export function keepAliveAgent(): HttpAgent {
  // Idle longer than the gateway keeps a connection, so that it is the gateway who ends it.
  return new HttpAgent({
    keepAlive: true,
    maxFreeSockets: KEPT_ALIVE,
    timeout: 300_000,
  });
}

export function below(random: () => number, limit: number): number {
  return Math.floor(random() * limit);
}

/** Headers of an anonymous caller from one of many addresses, now and then with a session. */
export function anonymous({ random, cookies }: CallTools): Record<string, string> {
  const address = below(random, ADDRESSES);
  const fields: Record<string, string> = {
    'x-forwarded-for': `10.${address >> 16}.${(address >> 8) & 255}.${address & 255}`,
  };
  const cookie = cookies[below(random, 2 * COOKIES)];
  if (cookie !== undefined) fields['cookie'] = cookie;
  return fields;
}

interface Read {
  readonly status: number;
  readonly bytes: number;
  /** The body, of small answers and refusals. */
  readonly text: string;
}

const TEXT_MOST = 4096;

/** Sends `pieces` as the body and reads the whole answer. */
async function exchange(
  tools: CallTools,
  open: (options: RequestOptions) => ClientRequest,
  options: RequestOptions,
  pieces: readonly Buffer[] = [],
): Promise<Read | Outcome> {
  const { promise, resolve } = Promise.withResolvers<Read | Outcome>();
  const request = open({ host: '127.0.0.1', ...options });
  const patience = setTimeout(() => {
    resolve(failed('silent'));
    request.destroy();
  }, PATIENCE_MS);
  request.once('error', (error) =>
    resolve(connectionFault(error, request.reusedSocket || (request.socket?.bytesRead ?? 0) > 0)),
  );
  request.once('response', (response: IncomingMessage) => {
    const cookie = response.headers['set-cookie']?.[0]?.split(';', 1)[0];
    if (cookie !== undefined) tools.cookies[below(tools.random, COOKIES)] = cookie;
    let bytes = 0;
    let text = '';
    response.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= TEXT_MOST) text += chunk.toString('latin1');
    });
    response.once('error', () => resolve(CUT));
    response.once('close', () =>
      resolve(response.complete ? { status: response.statusCode ?? 0, bytes, text } : CUT),
    );
  });
  for (const piece of pieces) request.write(piece);
  request.end();
  const read = await promise;
  clearTimeout(patience);
  return read;
}

function judged(read: Read | Outcome, wanted: (read: Read) => boolean): Outcome {
  if (!('status' in read)) return read;
  if (read.status !== 200) return refusal(read.status, read.text);
  return wanted(read) ? OK : failed('wrong');
}

function isSmall({ bytes, text }: Read): boolean {
  return bytes === SMALL_BYTES && text === FILLER.toString('latin1', 0, SMALL_BYTES);
}

const PATHS = ['/item', '/moved/item', '/guest/item', '/item?ms=20'];

function somePath(random: () => number): string {
  return PATHS[below(random, PATHS.length)] ?? '/item';
}

export async function keepAlive(tools: CallTools): Promise<Outcome> {
  const { settings, random, agent } = tools;
  const options = { port: settings.port, path: somePath(random), agent, headers: anonymous(tools) };
  return judged(await exchange(tools, httpRequest, options), isSmall);
}

export async function short(tools: CallTools): Promise<Outcome> {
  const { settings, random } = tools;
  const headers = { ...anonymous(tools), connection: 'close' };
  const options = { port: settings.port, path: somePath(random), agent: false, headers };
  return judged(await exchange(tools, httpRequest, options), isSmall);
}

/** One client that asks for twice what it may: half of its answers are 429. */
export async function greedy(tools: CallTools): Promise<Outcome> {
  const { settings, agent } = tools;
  const options = { port: settings.port, path: '/item', agent, headers: { 'x-api-key': 'greedy' } };
  return judged(await exchange(tools, httpRequest, options), isSmall);
}

/** A handshake each; the certificate is verified, and its serial number noted. */
export async function overTls(tools: CallTools): Promise<Outcome> {
  const { settings, random, ca } = tools;
  const open = (options: RequestOptions): ClientRequest => {
    const request = httpsRequest({ ...options, servername: 'localhost', ca });
    request.once('socket', (socket) =>
      socket.once('secureConnect', () =>
        tools.metCertificate((socket as TLSSocket).getPeerCertificate().serialNumber),
      ),
    );
    return request;
  };
  const headers = { ...anonymous(tools), connection: 'close' };
  const options = { port: settings.tlsPort, path: somePath(random), agent: false, headers };
  return judged(await exchange(tools, open, options), isSmall);
}

const UPLOAD_MOST = 256 * 1024;

async function upload(
  tools: CallTools,
  framing: (bytes: number) => Record<string, string>,
): Promise<Outcome> {
  const { settings, random, agent } = tools;
  const pieces = fillerOf(1 + below(random, UPLOAD_MOST));
  const bytes = pieces.reduce((sum, { length }) => sum + length, 0);
  const headers = { 'x-api-key': 'load', 'content-type': 'application/octet-stream', ...framing(bytes) };
  const options = { port: settings.port, method: 'POST', path: '/upload', agent, headers };
  const wanted = digestOf(pieces);
  return judged(await exchange(tools, httpRequest, options, pieces), ({ text }) => text === wanted);
}

export function uploadWithLength(tools: CallTools): Promise<Outcome> {
  return upload(tools, (bytes) => ({ 'content-length': String(bytes) }));
}

export function uploadChunked(tools: CallTools): Promise<Outcome> {
  return upload(tools, () => ({ 'transfer-encoding': 'chunked' }));
}

export async function download(tools: CallTools): Promise<Outcome> {
  const { settings, random, agent } = tools;
  const bytes = 1 + below(random, 1 << 20);
  const headers = { 'x-api-key': 'load' };
  const options = { port: settings.port, path: `/large?bytes=${bytes}`, agent, headers };
  return judged(await exchange(tools, httpRequest, options), (read) => read.bytes === bytes);
}
