/**
 * A million callers, each seen once: through a gateway without Redis, which so keeps their buckets itself (the supervisor's
 * memory) and what its worker remembers of them; and inside a process, where every map of the limiter is filled past its
 * cap. Heaps are compared after a collection, before and after. See stall-watch.ts for what a stall is.
 */
import { LoadConnection } from '../../test/harness/load-connection.ts';
import { startGateway } from '../../test/harness/gateway.ts';
import type { Measured, MeasureContext } from '../measure.ts';
import type { Row } from '../overload/rows.ts';
import { INSPECTED_ENV, Inspector } from '../soak/inspector.ts';
import { startAnswering } from '../targets.ts';
import { reportOf } from './child.ts';
import type { SprayReport } from './spray-child.ts';
import { watchStalls } from './stall-watch.ts';
import type { Stalls } from './stall-watch.ts';

const KEYS = 1_000_000;
/** Past every cap all the same but the supervisor's. */
const QUICK_KEYS = 120_000;
const WARM_UP_KEYS = 20_000;
const CONNECTIONS = 32;
const STALL_MOST_MS = 20;
const WORKER_MOST_MIB = 16;
const SUPERVISOR_MOST_MIB = 64;

/** A tier large enough that its buckets are worth a lease, and slow enough that they are not full again at once. */
function yaml(originUrl: string): string {
  return `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
admin: { host: 127.0.0.1, port: __ADMIN__ }
shutdown: { delay: 0s, timeout: 2s }
workers: 1
trust: { proxies: [127.0.0.0/8] }
tiers: { default: { rate: 60/h, burst: 1000 } }
limits: { global: { rate: 1000000/s, burst: 1000000 } }
shedding: { mode: off }
services: { shop: { instances: [${originUrl}] } }
routes:
  - { path: /, service: shop }
  - { path: /tight, service: shop, limits: { perClient: { rate: 1/h, burst: 1 } } }
`;
}

/** Every so many addresses one asks twice more, where one request an hour is allowed: its refusal is remembered too. */
const REFUSED_EVERY = 8;

function requestOf(path: string, at: number): Buffer {
  const address = `${20 + (at >>> 24)}.${(at >>> 16) & 255}.${(at >>> 8) & 255}.${at & 255}`;
  return Buffer.from(`GET ${path} HTTP/1.1\r\nhost: shop\r\nx-forwarded-for: ${address}\r\n\r\n`, 'latin1');
}

/** Who comes when: each address once, some of them twice more. */
function* sprayed(first: number, count: number): Generator<Buffer> {
  for (let at = first; at < first + count; at += 1) {
    yield requestOf('/', at);
    if (at % REFUSED_EVERY !== 0) continue;
    yield requestOf('/tight', at);
    yield requestOf('/tight', at);
  }
}

/** As fast as answers come. @returns answers by status */
async function sprayAddresses(port: number, first: number, count: number): Promise<Map<number, number>> {
  const statuses = new Map<number, number>();
  const done = Promise.withResolvers<void>();
  const requests = sprayed(first, count);
  const inFlight = new Map<LoadConnection, Buffer>();
  const send = (connection: LoadConnection, again?: Buffer): void => {
    const request = again ?? (requests.next().value as Buffer | undefined);
    if (request === undefined) {
      connection.destroy();
      if (inFlight.size === 0) done.resolve();
      return;
    }
    inFlight.set(connection, request);
    connection.send(request);
  };
  const open = (): LoadConnection =>
    new LoadConnection(port, '127.0.0.1', {
      answered: (connection, status, _code, reusable) => {
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
        inFlight.delete(connection);
        send(reusable ? connection : open());
      },
      // A connection that had served enough and ended as its next request came: on another one.
      failed: (connection, failure, untouched) => {
        const request = inFlight.get(connection);
        inFlight.delete(connection);
        if (untouched) send(open(), request);
        else done.reject(new Error(`a connection failed: ${failure}`));
      },
      gone: () => undefined,
    });
  for (let index = 0; index < CONNECTIONS; index += 1) send(open());
  try {
    await done.promise;
  } finally {
    for (const connection of inFlight.keys()) connection.destroy();
  }
  return statuses;
}

interface Kept {
  readonly heapMiB: number;
  readonly stalls: Stalls;
}

interface Sprayed {
  readonly worker: Kept;
  readonly supervisor: Kept;
  readonly refused: number;
  readonly others: number;
}

/** What each process of a gateway kept of `keys` callers. */
async function throughGateway(keys: number): Promise<Sprayed> {
  await using origin = await startAnswering();
  await using gateway = await startGateway(yaml(`http://127.0.0.1:${origin.port}`), {
    env: INSPECTED_ENV,
    discardStdout: true,
  });
  const inspector = new Inspector(gateway.logs);
  const pids = { worker: gateway.workerPids()[0] ?? 0, supervisor: gateway.pid };
  const heapMiB = async (pid: number): Promise<number> => {
    const sample = await inspector.heap(pid);
    if (sample === undefined) throw new Error(`process ${pid} does not answer`);
    return (sample.heapBytes + sample.externalBytes) / 2 ** 20;
  };
  await sprayAddresses(gateway.port, 0, WARM_UP_KEYS);
  // The last of a crowd may still be on their way through the processes.
  const before = { worker: await heapMiB(pids.worker), supervisor: await heapMiB(pids.supervisor) };
  for (const pid of Object.values(pids))
    await inspector.value(pid, `void (globalThis.stallsEnd = (${String(watchStalls)})())`);
  const statuses = await sprayAddresses(gateway.port, WARM_UP_KEYS, keys);
  const stalls = async (pid: number): Promise<Stalls> =>
    (await inspector.value(pid, 'globalThis.stallsEnd()')) as Stalls;
  const told = { worker: await stalls(pids.worker), supervisor: await stalls(pids.supervisor) };
  return {
    worker: { heapMiB: (await heapMiB(pids.worker)) - before.worker, stalls: told.worker },
    supervisor: { heapMiB: (await heapMiB(pids.supervisor)) - before.supervisor, stalls: told.supervisor },
    refused: statuses.get(429) ?? 0,
    others: [...statuses].reduce(
      (sum, [status, count]) => sum + (status === 200 || status === 429 ? 0 : count),
      0,
    ),
  };
}

function stallRow(what: string, { longestOwnMs }: Stalls): Row {
  return {
    what: `longest stall of ${what} event loop by its own running`,
    unit: 'ms',
    value: longestOwnMs,
    bound: { most: STALL_MOST_MS },
  };
}

export async function limitsKeys(context: MeasureContext): Promise<Measured> {
  const keys = context.quick ? QUICK_KEYS : KEYS;
  process.stderr.write(`limits-keys: ${keys} addresses through a gateway\n`);
  const { worker, supervisor, refused, others } = await throughGateway(keys);
  process.stderr.write(`limits-keys: ${keys} clients of each kind inside a process\n`);
  const inside = await reportOf<SprayReport>('spray-child.ts', [keys], ['--expose-gc']);
  const all = Math.max(...Object.values(inside.heapMiB));
  return {
    rows: [
      {
        what: `the worker's heap after ${keys} callers`,
        unit: 'MiB',
        value: worker.heapMiB,
        bound: { most: WORKER_MOST_MIB },
      },
      {
        what: "the supervisor's, which keeps the buckets",
        unit: 'MiB',
        value: supervisor.heapMiB,
        bound: { most: SUPERVISOR_MOST_MIB },
      },
      {
        what: "a worker's limiter with leases, holds and the share of an outage all full",
        unit: 'MiB',
        value: all,
        bound: { most: WORKER_MOST_MIB },
      },
      stallRow("the worker's", worker.stalls),
      stallRow("the supervisor's", supervisor.stalls),
      { what: 'answers that were neither 200 nor 429', unit: 'count', value: others, bound: { most: 0 } },
    ],
    figures: [
      {
        caption:
          'stalls in ms: by the clock, with what others on this machine took, and of that by its own running',
        head: ['', 'longest', 'its own', `its own over ${STALL_MOST_MS} ms`],
        rows: [
          ['worker', worker.stalls] as const,
          ['supervisor', supervisor.stalls] as const,
          ...Object.entries(inside.stalls),
        ].map(([name, { longestMs, longestOwnMs, over }]) => [
          name,
          longestMs.toFixed(1),
          longestOwnMs.toFixed(1),
          String(over),
        ]),
      },
      {
        caption: `heap of a limiter after ${keys} clients of each kind, one on top of the other`,
        head: ['', 'MiB'],
        rows: Object.entries(inside.heapMiB).map(([kind, heap]) => [kind, heap.toFixed(1)]),
      },
    ],
    notes: [
      `${refused} of the callers were refused, and remembered for that`,
      `inside, ten times as fast as a gateway decides, so that collecting garbage is most of each stall: ${Object.entries(
        inside.decisions,
      )
        .map(([name, count]) => `${name} ${count}`)
        .join('; ')}`,
    ],
    data: { worker, supervisor, inside },
  };
}
