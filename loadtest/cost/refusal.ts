/**
 * F2: what a refusal costs, beside `node:http` answering alone: a 429 of a client far over its limit, and a shed request
 * of a service whose queue is full.
 *
 * A refusal is only counted where it was one: the gateway's own counters say how many answers carried which code, and the
 * few that did not are told. Those are charged to the refusals, so what is told is never less than what it was.
 */
import { createServer } from 'node:http';
import type { ServerResponse } from 'node:http';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';

import type { Gateway } from '../../test/harness/gateway.ts';
import { eventually } from '../../test/harness/ports.ts';
import { senderName } from '../flat-out.ts';
import type { Measured, MeasureContext } from '../measure.ts';
import { metric } from '../overload/metrics.ts';
import type { Row } from '../overload/rows.ts';
import { startAnswering, startTarget } from '../targets.ts';
import { median, ratios, spread } from '../turns.ts';
import { flatTurns, partsNote } from './flat-turns.ts';
import type { Contender, FlatTurns } from './flat-turns.ts';
import { startLogged } from './protected.ts';

const ROUNDS = 5;
const SECONDS = 4;
const WARM_UP_SECONDS = 5;
const LIMITED = 'a 429';
const SHED = 'a shed request';
const ALONE = 'node:http alone';
/** Places at the service and in its queue, all taken for the whole run. */
const FULL = { limit: 4, queue: 8 };
/** Reports of the workers reach the supervisor each second. */
const REPORT_MS = 1500;

const COMMON = `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
admin: { host: 127.0.0.1, port: __ADMIN__ }
shutdown: { delay: 0s, timeout: 1s }
workers: 1
limits: { enforcement: leased }
`;

function limitedYaml(originUrl: string): string {
  return `${COMMON}
clients: { keys: [{ key: loud, client: loud, tier: small }] }
tiers: { small: { rate: 1/m, burst: 1 } }
services: { shop: { instances: [${originUrl}], affinity: {} } }
routes: [{ path: /, service: shop }]
`;
}

function fullYaml(originUrl: string): string {
  return `${COMMON}
clients: { keys: [{ key: load, client: load, tier: gold }, { key: first, client: first, tier: gold }] }
tiers: { gold: { rate: 1000000/s, burst: 1000000, priority: default } }
services:
  shop:
    instances: [${originUrl}]
    affinity: {}
    sla: 10m
    timeout: { request: 20m, idle: 20m }
    shedding: { limit: ${FULL.limit}, queue: ${FULL.queue} }
routes: [{ path: /, service: shop }]
`;
}

/** An origin that answers nothing but probes until it is disposed of. */
async function startSilent(): Promise<
  AsyncDisposable & { readonly url: string; readonly held: () => number }
> {
  const held = new Set<ServerResponse>();
  const server = createServer((request, response) => {
    if (request.url === '/hold') held.add(response);
    else response.end();
  });
  const listening = Promise.withResolvers<void>();
  server.listen(0, '127.0.0.1', () => listening.resolve());
  await listening.promise;
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    held: () => held.size,
    [Symbol.asyncDispose]: async () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      server.close(() => resolve());
      server.closeAllConnections();
      return promise;
    },
  };
}

/** Callers that take every place of the service and of its queue and wait; answered ones come again. */
function fill(port: number): Disposable {
  const sockets = new Set<Socket>();
  let over = false;
  const one = (): void => {
    if (over) return;
    const socket = connect({ port, host: '127.0.0.1' });
    sockets.add(socket);
    socket.write('GET /hold HTTP/1.1\r\nhost: shop\r\nx-api-key: first\r\n\r\n');
    socket.on('data', () => socket.destroy());
    socket.on('error', () => undefined);
    socket.on('close', () => {
      sockets.delete(socket);
      setTimeout(one, 20);
    });
  };
  for (let caller = 0; caller < FULL.limit + FULL.queue; caller += 1) one();
  return {
    [Symbol.dispose]: () => {
      over = true;
      for (const socket of sockets) socket.destroy();
    },
  };
}

async function page(gateway: Gateway): Promise<string> {
  return String((await gateway.admin('/metrics')).body);
}

/** Of all requests that this gateway answered, the share of refusals with a code that begins so. */
export function refusedShare(metrics: string, prefix: string): number {
  const refused = [...new Set(metrics.match(/code="SPW_[A-Z_]+"/g))]
    .map((label) => label.slice(6, -1))
    .filter((code) => code.startsWith(prefix))
    .reduce((sum, code) => sum + metric(metrics, 'spillway_requests_total', { code }), 0);
  return refused / metric(metrics, 'spillway_requests_total');
}

export function refusalRows(turns: Pick<FlatTurns, 'cpuUs'>): Row[] {
  return [LIMITED, SHED].map((name) => ({
    what: `CPU of ${name} ÷ that of node:http answering alone`,
    unit: 'ratio',
    value: median(ratios(turns.cpuUs(name), turns.cpuUs(ALONE))),
    bound: { most: 1.7 },
    goal: { most: 1.4 },
  }));
}

export async function costOfRefusals(context: MeasureContext): Promise<Measured> {
  const rounds = context.rounds ?? ROUNDS;
  const seconds = context.seconds ?? (context.quick ? 2 : SECONDS);
  await using stack = new AsyncDisposableStack();
  const origin = stack.use(await startAnswering());
  const silent = stack.use(await startSilent());
  const alone = stack.use(await startTarget(ALONE, '', ''));
  const limited = stack.use(await startLogged(limitedYaml(`http://127.0.0.1:${origin.port}`)));
  const full = stack.use(await startLogged(fullYaml(silent.url)));
  stack.use(fill(full.gateway.port));
  await eventually('the service is full', async () => {
    const metrics = await page(full.gateway);
    return (
      metric(metrics, 'spillway_in_flight') >= FULL.limit &&
      metric(metrics, 'spillway_queue_depth') >= FULL.queue
    );
  });
  const requestOf = (key: string) => [{ path: '/item?id=1', headers: { 'x-api-key': key } }];
  const contenders: Contender[] = [
    { name: LIMITED, target: limited.target, requests: requestOf('loud') },
    { name: SHED, target: full.target, requests: requestOf('load') },
    { name: ALONE, target: alone, requests: requestOf('load') },
  ];
  const turns = await flatTurns('cost-refusal', contenders, {
    rounds,
    seconds,
    warmUpSeconds: context.quick ? 2 : WARM_UP_SECONDS,
  });
  await pause(REPORT_MS);
  const shares = {
    limited: refusedShare(await page(limited.gateway), 'SPW_RATE_'),
    shed: refusedShare(await page(full.gateway), 'SPW_SHED'),
  };
  const byRound = (name: string): string => spread(ratios(turns.cpuUs(name), turns.cpuUs(ALONE)), 3);
  return {
    rows: [
      ...refusalRows(turns),
      {
        what: 'refused of the client over its limit',
        unit: 'share',
        value: shares.limited,
        bound: { least: 0.999 },
      },
      {
        what: 'shed of the service that is full',
        unit: 'share',
        value: shares.shed,
        bound: { least: 0.999 },
      },
    ],
    figures: [turns.figures],
    notes: [
      `sent by ${senderName()}; ratios by round: ${LIMITED} ${byRound(LIMITED)}, ${SHED} ${byRound(SHED)}`,
      partsNote(LIMITED, turns.of(LIMITED)),
      partsNote(SHED, turns.of(SHED)),
    ],
    data: { turns: turns.data, shares },
  };
}
