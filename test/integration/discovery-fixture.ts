/**
 * What the tests of discovery share: instances that say who they are, a gateway that finds them, and what it says of its source.
 */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

import type { Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { ask, serviceOf } from './path-fixture.ts';
import { parseExposition } from './metrics-text.ts';

export interface NamedInstance extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  /** As the gateway names it. */
  readonly id: string;
}

/** An instance that answers every request with its own name; ready as long as it is there. */
export async function startNamed(host = '127.0.0.1', port = 0): Promise<NamedInstance> {
  const server = createServer((_request, response) => {
    response.end(`${host}:${(server.address() as AddressInfo).port}`);
  });
  server.listen(port, host);
  await once(server, 'listening');
  const { port: bound } = server.address() as AddressInfo;
  return {
    host,
    port: bound,
    id: `${host}:${bound}`,
    [Symbol.asyncDispose]: async () => {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

/** A gateway with one service `shop` that is found by `discovery`. */
export function discoveredYaml(discovery: string, more = ''): string {
  return `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
services:
  shop:
    discovery: ${discovery}
    readiness: { path: /ready, interval: 200ms, timeout: 200ms, rise: 1 }
    balancing: { slowStart: 0s }
    shedding: { mode: observe }
    ${more}
routes: [{ path: /, service: shop }]
`;
}

/** Who answers, by 40 requests; one that fails throws. */
async function whoAnswers(gateway: Gateway): Promise<readonly string[]> {
  const names = new Set<string>();
  for (let turn = 0; turn < 4; turn += 1) {
    // Some at once, or the nearest of two answers them all.
    const answers = await Promise.all(Array.from({ length: 10 }, async () => await ask(gateway.port)));
    for (const { status, body } of answers) {
      if (status !== 200) throw new Error(`${status}: ${String(body)}`);
      names.add(String(body));
    }
  }
  return [...names].sort();
}

/** Waits until exactly these answer; no request may fail meanwhile. */
export async function untilAnsweredBy(
  gateway: Gateway,
  instances: readonly NamedInstance[],
  timeoutMs = 30_000,
): Promise<void> {
  const wanted = instances
    .map(({ id }) => id)
    .sort()
    .join();
  let last = '';
  try {
    await eventually(
      `answers of ${wanted}`,
      async () => {
        last = (await whoAnswers(gateway)).join();
        return last === wanted;
      },
      timeoutMs,
      100,
    );
  } catch (error) {
    throw new Error(`answers came of ${last}`, { cause: error });
  }
}

/** How many instances take requests, none of which may fail; a fast one may answer all that we ask. */
export async function serving(gateway: Gateway): Promise<number> {
  const names = await whoAnswers(gateway);
  const ready = Object.entries(await statesOf(gateway)).filter(([, state]) => state === 'ready');
  const strangers = names.filter((name) => !ready.some(([id]) => id === name));
  if (strangers.length > 0) throw new Error(`answers of ${strangers.join()}`);
  return ready.length;
}

/** A figure of the source of `shop`. */
export async function figureOf(
  gateway: Gateway,
  name: 'age_seconds' | 'held' | 'faults_total',
  labels: Readonly<Record<string, string>> = {},
): Promise<number> {
  const { body } = await gateway.admin('/metrics');
  return parseExposition(String(body))
    .all(`spillway_discovery_${name}`)
    .filter(({ labels: own }) =>
      Object.entries({ service: 'shop', ...labels }).every(([key, value]) => own[key] === value),
    )
    .reduce((sum, { value }) => sum + value, 0);
}

export async function untilFault(gateway: Gateway, kind: string, more = 1): Promise<void> {
  const before = await figureOf(gateway, 'faults_total', { kind });
  await eventually(
    `${more} more faults of kind ${kind}`,
    async () => (await figureOf(gateway, 'faults_total', { kind })) >= before + more,
  );
}

/** State of each instance that is not gone. */
export async function statesOf(gateway: Gateway): Promise<Readonly<Record<string, string>>> {
  const { instances } = await serviceOf(gateway, 'shop');
  return Object.fromEntries(
    instances.filter(({ state }) => state !== 'gone').map(({ id, state }) => [id, state]),
  );
}
