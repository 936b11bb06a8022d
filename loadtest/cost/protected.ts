/**
 * The gateway with every protection on, one worker: tiers and limits decided from leases, shedding, affinity, metrics, and
 * an access log of a line a request into a pipe that is read. Its reader counts the lines, so that a run can show that
 * they were written.
 */
import { execFileSync, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { startGateway } from '../../test/harness/gateway.ts';
import type { Gateway, GatewayOptions } from '../../test/harness/gateway.ts';
import type { FlatOutRequest } from '../flat-out.ts';
import { gatewayTarget } from '../targets.ts';
import type { Target } from '../targets.ts';

export const KEY = 'load';

/** Nobody sends so much: what is measured is the decision, not its answer. */
const PLENTY = 'rate: 1000000/s, burst: 1000000';

export function protectedYaml(originUrl: string, workers = 1): string {
  return `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
admin: { host: 127.0.0.1, port: __ADMIN__ }
shutdown: { delay: 0s, timeout: 5s }
workers: ${workers}
clients: { keys: [{ key: ${KEY}, client: load, tier: gold }] }
tiers: { gold: { ${PLENTY}, priority: critical } }
limits: { enforcement: leased, global: { ${PLENTY} } }
services:
  shop:
    instances: [${originUrl}]
    readiness: { path: /ready }
    affinity: {}
routes: [{ path: /, service: shop, limits: { perClient: { ${PLENTY} } } }]
`;
}

/** A pipe with a reader that counts lines; whoever opens it for writing must close it again. */
interface CountingPipe {
  readonly writeFd: number;
  /** Settles when every writer has closed it. */
  readonly lines: Promise<number>;
}

function countingPipe(folder: string): CountingPipe {
  const fifo = join(folder, 'access-log');
  execFileSync('mkfifo', [fifo]);
  const reader = spawn('wc', ['-l', fifo], { stdio: ['ignore', 'pipe', 'inherit'] });
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  let told = '';
  reader.stdout.setEncoding('utf8').on('data', (text: string) => (told += text));
  reader.once('error', reject);
  reader.once('close', () => resolve(Number.parseInt(told, 10)));
  // Waits until the reader has opened it too.
  return { writeFd: openSync(fifo, 'w'), lines: promise };
}

export interface LoggedGateway extends AsyncDisposable {
  readonly gateway: Gateway;
  readonly target: Target;
  /** Ends the gateway; the lines that it wrote to its standard output. */
  readonly finish: () => Promise<number>;
}

/** A gateway whose access log is read and counted. */
export async function startLogged(yaml: string, options: GatewayOptions = {}): Promise<LoggedGateway> {
  const folder = await mkdtemp(join(tmpdir(), 'spillway-log-'));
  const { writeFd, lines } = countingPipe(folder);
  let gateway: Gateway;
  try {
    gateway = await startGateway(yaml, { ...options, stdoutFd: writeFd });
  } finally {
    closeSync(writeFd);
  }
  const dispose = async (): Promise<void> => {
    await gateway[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  };
  let ended: Promise<void> | undefined;
  const end = (): Promise<void> => (ended ??= dispose());
  return {
    gateway,
    target: gatewayTarget(gateway),
    finish: async () => {
      await end();
      return lines;
    },
    [Symbol.asyncDispose]: end,
  };
}

/** As many callers with sessions of their own as there are connections. */
const SESSIONS = 64;
const PATH = '/item?id=1';

/** The request of a caller who comes for the first time: it has no session yet, so the answer begins one. */
export const FIRST_VISIT: FlatOutRequest = { path: PATH, headers: { 'x-api-key': KEY } };

/** Requests of callers who have been here before, each with the session it was given then. */
export async function returningCallers(port: number): Promise<readonly FlatOutRequest[]> {
  const callers: FlatOutRequest[] = [];
  for (let caller = 0; caller < SESSIONS; caller += 1) {
    const response = await fetch(`http://127.0.0.1:${port}${PATH}`, { headers: FIRST_VISIT.headers });
    await response.arrayBuffer();
    const cookie = response.headers.getSetCookie()[0]?.split(';', 1)[0];
    if (response.status !== 200 || cookie === undefined)
      throw new Error(`a first visit got ${response.status} and ${cookie ?? 'no session'}`);
    callers.push({ path: PATH, headers: { ...FIRST_VISIT.headers, cookie } });
  }
  return callers;
}
