/**
 * Small services for the demo: real processes with real sockets and little capacity, so that overload can be seen.
 *
 * Each serves `SLOTS` requests at a time, about `WORK_MS` each: some 400 requests/s an instance; who comes beyond waits
 * without bound, as in most services without a gateway before them. A caller that leaves frees its place.
 * They leave Ctrl-C to the supervisor and end when their parent's IPC channel closes, however the parent ended.
 *
 * `GET /` (and any other path): JSON · `/slow?ms=N`: takes N ms of a slot · `/ready`: health+json · `/events`: an event a
 * second · `/echo`: the request's body back.
 */
import { fork, type ChildProcess } from 'node:child_process';
import type { IncomingMessage, ServerResponse } from 'node:http';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { createServer } from './node-http.ts';

export interface DemoInstances {
  /** `http://127.0.0.1:port` of each. */
  readonly urls: readonly string[];
  /** Ends them all; resolves when their processes are gone. */
  stop(): Promise<void>;
}

/** Half: a demo under `autocannon -c 10` sheds at once; double: a laptop's CPU ends before the slots do. */
const SLOTS = 8;
const WORK_MS = 20;
/** Without `ms`, `/slow` is slow enough that a second `curl` typed behind it meets it. */
const SLOW_MS = 500;
const LONGEST_MS = 60_000;
const EVENT_EVERY_MS = 1000;
/** Longer than any gateway keeps an idle connection, so that only the gateway closes them. */
const KEEP_ALIVE_MS = 75_000;
/** A child that has not said its port by then will not. */
const START_MS = 10_000;
/** A child that has not ended by then is killed. */
const STOP_MS = 2000;
/** First argument of a child; a path of this file alone could also be a test runner's. */
const CHILD = 'demo-instance';

/**
 * Forks `count` instances, each on a free port of 127.0.0.1.
 * @throws Error when one cannot start; the others are ended then.
 */
export async function startDemoInstances(count: number): Promise<DemoInstances> {
  const children = Array.from({ length: count }, () =>
    fork(fileURLToPath(import.meta.url), [CHILD], {
      execArgv: [],
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    }),
  );
  const stop = async (): Promise<void> => {
    await Promise.all(children.map(async (child) => await stopped(child)));
  };
  try {
    const ports = await Promise.all(children.map(async (child) => await portOf(child)));
    return { urls: ports.map((port) => `http://127.0.0.1:${port}`), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function portOf(child: ChildProcess): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const timer = setTimeout(() => {
    reject(new Error(`a demo instance said nothing for ${START_MS} ms`));
  }, START_MS);
  child.once('message', (port) => {
    resolve(Number(port));
  });
  child.once('error', reject);
  child.once('exit', (code, signal) => {
    reject(new Error(`a demo instance ended at its start (${code ?? signal})`));
  });
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
  }
}

async function stopped(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  child.once('exit', () => {
    resolve();
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
  if (child.connected) child.disconnect();
  await promise;
  clearTimeout(timer);
}

/** Places to work in; whoever finds none waits in turn. */
class Slots {
  #free = SLOTS;
  readonly #waiting = new Set<() => void>();

  get busy(): number {
    return SLOTS - this.#free;
  }
  get waiting(): number {
    return this.#waiting.size;
  }

  /** Calls `begin` when a slot is free. @returns a function that gives the slot, or the place in the line, back. */
  take(begin: () => void): () => void {
    let state: 'waiting' | 'working' | 'gone' = 'waiting';
    const enter = (): void => {
      state = 'working';
      this.#free -= 1;
      begin();
    };
    if (this.#free > 0) enter();
    else this.#waiting.add(enter);
    return () => {
      if (state === 'waiting') this.#waiting.delete(enter);
      if (state === 'working') this.#release();
      state = 'gone';
    };
  }

  #release(): void {
    this.#free += 1;
    for (const next of this.#waiting) {
      this.#waiting.delete(next);
      next();
      return;
    }
  }
}

/** The child's whole life. */
function serve(): void {
  const slots = new Slots();
  const server = createServer({ keepAliveTimeout: KEEP_ALIVE_MS }, (req, res) => {
    const url = new URL(req.url ?? '/', 'http://demo');
    const name = `demo-${portOfServer()}`;
    if (url.pathname === '/ready') sendReadiness(res, name, slots);
    else if (url.pathname === '/events') sendEvents(res, name);
    else if (url.pathname === '/echo') echo(req, res);
    else work(req, res, slots, name, url);
  });
  const portOfServer = (): number => {
    const address = server.address();
    return address === null || typeof address === 'string' ? 0 : address.port;
  };
  // Ctrl-C reaches the whole process group; the supervisor drains and then closes the channel.
  process.on('SIGINT', () => undefined);
  process.once('disconnect', () => {
    server.close();
    server.closeAllConnections();
  });
  server.listen(0, '127.0.0.1', () => process.send?.(portOfServer()));
}

function work(req: IncomingMessage, res: ServerResponse, slots: Slots, instance: string, url: URL): void {
  const ms = url.pathname === '/slow' ? slowness(url.searchParams.get('ms')) : WORK_MS;
  const arrivedMs = performance.now();
  let timer: NodeJS.Timeout | undefined;
  const giveBack = slots.take(() => {
    const waitedMs = Math.round(performance.now() - arrivedMs);
    timer = setTimeout(() => {
      const { headers, method } = req;
      sendJson(res, 'application/json', {
        instance,
        method,
        path: url.pathname,
        workedMs: ms,
        waitedMs,
        requestId: headers['x-request-id'] ?? null,
        client: headers['x-spillway-client'] ?? null,
        tier: headers['x-spillway-tier'] ?? null,
      });
    }, ms);
  });
  res.once('close', () => {
    clearTimeout(timer);
    giveBack();
  });
  req.resume();
}

function slowness(text: string | null): number {
  const ms = text === null || text === '' ? SLOW_MS : Number(text);
  return Number.isFinite(ms) ? Math.min(Math.max(ms, 0), LONGEST_MS) : SLOW_MS;
}

function sendReadiness(res: ServerResponse, serviceId: string, slots: Slots): void {
  const slotsCheck = { status: 'pass', observedValue: slots.busy, observedUnit: 'slots' };
  const queueCheck = { status: 'pass', observedValue: slots.waiting, observedUnit: 'requests' };
  const checks = { 'demo:slots': [slotsCheck], 'demo:waiting': [queueCheck] };
  sendJson(res, 'application/health+json', { status: 'pass', description: serviceId, checks });
}

function sendEvents(res: ServerResponse, instance: string): void {
  res.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  let id = 0;
  const send = (): void => {
    id += 1;
    res.write(`id: ${id}\ndata: ${JSON.stringify({ instance, id })}\n\n`);
  };
  send();
  const timer = setInterval(send, EVENT_EVERY_MS);
  res.once('close', () => {
    clearInterval(timer);
  });
}

function echo(req: IncomingMessage, res: ServerResponse): void {
  res.writeHead(200, { 'content-type': req.headers['content-type'] ?? 'application/octet-stream' });
  req.pipe(res);
}

function sendJson(res: ServerResponse, type: string, body: object): void {
  const text = `${JSON.stringify(body)}\n`;
  res.writeHead(200, {
    'content-type': type,
    'content-length': Buffer.byteLength(text),
    'cache-control': 'no-store',
  });
  res.end(text);
}

if (
  process.argv[2] === CHILD &&
  process.argv[1] === fileURLToPath(import.meta.url) &&
  process.send !== undefined
)
  serve();
