/**
 * Origins for tests and load: `startOrigin` is a process of known capacity (see origin-server.ts), `startEcho` an
 * in-process server that answers with what it received, for tests about what is forwarded.
 */
import { createServer } from 'node:http';
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';

import { startProcess } from './process.ts';
import type { Exit } from './process.ts';

export interface OriginSettings {
  readonly slots: number;
  /** Mean time a request is worked on; 0 answers at once. */
  readonly meanMs: number;
  /** Spread of the lognormal; 0.5 gives p99 = 2.8 × mean. */
  readonly sigma: number;
  /** The time is exponential, as in the simulations of balancing: p99 = 4.6 × mean. */
  readonly exponential: boolean;
  /** Ends the connection of every request but a probe's, without an answer. */
  readonly hangsUp: boolean;
  readonly ready: boolean;
  readonly status: number;
  readonly bodyBytes: number;
  readonly port: number;
  readonly seed: number;
}

type Changes = Partial<Omit<OriginSettings, 'port' | 'seed'>>;

export type OriginCommand =
  | { readonly type: 'report'; readonly id: number }
  | ({ readonly type: 'set'; readonly id: number } & Changes);

export interface OriginReport {
  readonly arrived: number;
  readonly answered: number;
  /** Worked on although the caller had left. */
  readonly abandoned: number;
  readonly probes: number;
  readonly busyMs: number;
  readonly busyAfterLeftMs: number;
  readonly inService: number;
  readonly maxInService: number;
  readonly queued: number;
  /** Requests by target, of the first hundred targets. */
  readonly byPath: Readonly<Record<string, number>>;
}

type OriginMessage =
  | { readonly type: 'listening'; readonly port: number }
  | { readonly type: 'report'; readonly id: number; readonly report: OriginReport };

export interface Origin extends AsyncDisposable {
  readonly port: number;
  readonly url: string;
  readonly pid: number;
  /** Requests a second that it can do; Infinity with a mean of 0. */
  readonly capacityPerSecond: number;
  readonly report: () => Promise<OriginReport>;
  /** Changes slots, time, readiness or status while it runs; resolves when it holds. */
  readonly set: (changes: Changes) => Promise<OriginReport>;
  readonly stop: () => Promise<Exit>;
  readonly kill: () => Promise<Exit>;
}

const DEFAULTS: OriginSettings = {
  slots: 20,
  meanMs: 50,
  sigma: 0.5,
  exponential: false,
  hangsUp: false,
  ready: true,
  status: 200,
  bodyBytes: 129,
  port: 0,
  seed: 7,
};

/** Starts an origin process on 127.0.0.1 and waits until it listens. */
export async function startOrigin(settings: Partial<OriginSettings> = {}): Promise<Origin> {
  const full = { ...DEFAULTS, ...settings };
  const script = fileURLToPath(new URL('origin-server.ts', import.meta.url));
  const running = await startProcess(process.execPath, [script, JSON.stringify(full)], { ipc: true });
  const listening = Promise.withResolvers<number>();
  const pending = new Map<number, (report: OriginReport) => void>();
  let lastId = 0;
  running.child.on('message', (message: OriginMessage) => {
    if (message.type === 'listening') listening.resolve(message.port);
    else {
      pending.get(message.id)?.(message.report);
      pending.delete(message.id);
    }
  });
  void running.exited.then(() => listening.reject(new Error(`the origin ended:\n${running.output()}`)));
  const port = await listening.promise;
  const ask = async (command: Changes | undefined): Promise<OriginReport> => {
    lastId += 1;
    const id = lastId;
    const { promise, resolve, reject } = Promise.withResolvers<OriginReport>();
    pending.set(id, resolve);
    void running.exited.then(() => reject(new Error('the origin has ended')));
    const message: OriginCommand =
      command === undefined ? { type: 'report', id } : { type: 'set', id, ...command };
    running.child.send(message);
    return promise;
  };
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    pid: running.pid,
    capacityPerSecond: full.meanMs === 0 ? Infinity : (full.slots / full.meanMs) * 1000,
    report: () => ask(undefined),
    set: (changes) => ask(changes),
    stop: () => running.stop(),
    kill: () => running.kill(),
    [Symbol.asyncDispose]: () => running[Symbol.asyncDispose](),
  };
}

export interface EchoedRequest {
  readonly method: string;
  readonly url: string;
  /** Name, value, name, value, as they came. */
  readonly rawHeaders: readonly string[];
  readonly bodyText: string;
}

export interface InProcessOrigin extends AsyncDisposable {
  readonly server: Server;
  readonly port: number;
  readonly url: string;
  /** Every request seen, `/ready` apart. */
  readonly requests: readonly EchoedRequest[];
  readonly close: () => Promise<void>;
}

/** An in-process origin with a listener of the test's own. */
export async function startListener(
  listener: RequestListener,
  port = 0,
): Promise<Omit<InProcessOrigin, 'requests'>> {
  const server = createServer({ keepAliveTimeout: 60_000 }, listener);
  const listening = Promise.withResolvers<void>();
  server.once('error', (error) => listening.reject(error));
  server.listen(port, '127.0.0.1', () => listening.resolve());
  await listening.promise;
  const bound = (server.address() as AddressInfo).port;
  const close = async (): Promise<void> => {
    const { promise, resolve } = Promise.withResolvers<void>();
    server.close(() => resolve());
    server.closeAllConnections();
    return promise;
  };
  return { server, port: bound, url: `http://127.0.0.1:${bound}`, close, [Symbol.asyncDispose]: close };
}

/** An in-process origin that answers 200 with `{method, url, rawHeaders, bodyText}` as JSON and remembers it. */
export async function startEcho(port = 0): Promise<InProcessOrigin> {
  const requests: EchoedRequest[] = [];
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    if (request.url === '/ready') {
      response.writeHead(200, { 'content-length': 0 }).end();
      return;
    }
    const seen: EchoedRequest = {
      method: request.method ?? '',
      url: request.url ?? '',
      rawHeaders: request.rawHeaders,
      bodyText: Buffer.concat(chunks).toString('utf8'),
    };
    requests.push(seen);
    const text = JSON.stringify(seen);
    response.writeHead(200, {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(text),
    });
    response.end(request.method === 'HEAD' ? undefined : text);
  };
  const origin = await startListener((request, response) => {
    // A caller that leaves in mid-body ends the loop with an error: nobody is left to answer.
    answer(request, response).catch(() => response.destroy());
  }, port);
  return { ...origin, requests };
}
