import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { INSPECTED_ENV, Inspector } from '../../loadtest/soak/inspector.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { startEcho } from '../harness/origin.ts';
import type { InProcessOrigin } from '../harness/origin.ts';
import { eventually, freePorts } from '../harness/ports.ts';
import { openRaw } from '../harness/raw.ts';

let origin: InProcessOrigin;
let gateway: Gateway;
let extraPort = 0;

/** Walking the heap holds up the worker's event loop: no reason to refuse at an SLA of ten seconds. */
function yaml(more: string): string {
  return `
listeners:
  - { port: __PORT__, host: 127.0.0.1 }
${more}
workers: 1
services: { shop: { instances: [${origin.url}], readiness: { path: /ready }, sla: 10s } }
routes: [{ path: /item, service: shop }]
`;
}

async function reload(more: string): Promise<void> {
  await gateway.rewrite(yaml(more));
  expect((await gateway.admin('/v1/reload', { method: 'POST' })).status).toBe(200);
}

beforeAll(async () => {
  origin = await startEcho();
  [extraPort = 0] = await freePorts(1);
  gateway = await startGateway(yaml(''), { env: INSPECTED_ENV });
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await origin.close();
});

describe('what a reload took out', () => {
  test('a listener leaves no server, no front gate and no snapshot behind, although a connection idled on it', async () => {
    const inspector = new Inspector(gateway.logs);
    const [worker = 0] = gateway.workerPids();
    const living = async (): Promise<readonly number[]> => {
      const classes = (await inspector.census(worker, true))?.classes;
      return ['WorkerServer', 'FrontGate', 'Snapshot'].map((name) => classes?.[name] ?? 0);
    };
    const before = await living();
    expect(before).toEqual([1, 1, 1]);
    for (let round = 0; round < 3; round += 1) {
      await reload(`  - { port: ${extraPort}, host: 127.0.0.1, limits: { idleTimeout: 500ms } }`);
      await using connection = await openRaw(extraPort);
      connection.write('GET /nowhere HTTP/1.1\r\nhost: localhost\r\n\r\n');
      const { answers } = await connection.untilAnswers(1);
      expect(answers[0]?.status).toBe(404);
      await reload('');
      await connection.untilClosed();
    }
    await eventually(
      'only what is configured is left',
      async () => String(await living()) === String(before),
      20_000,
      500,
    );
  });

  test('refused bodies whose callers leave hold no request, and with it no old snapshot', async () => {
    const inspector = new Inspector(gateway.logs);
    const [worker = 0] = gateway.workerPids();
    const held = async (): Promise<number> => {
      const census = await inspector.census(worker, true);
      return census === undefined ? Infinity : (census.classes['Exchange'] ?? 0);
    };
    for (let caller = 0; caller < 20; caller += 1) {
      await using connection = await openRaw(gateway.port);
      // Refused at the head; the rest of the body would be read and thrown away, and never comes.
      connection.write('POST /nowhere HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5000\r\n\r\nbegin');
      expect((await connection.untilAnswers(1)).answers[0]?.status).toBe(404);
      connection.socket.resetAndDestroy();
    }
    await eventually('at most the last exchange is left', async () => (await held()) <= 1, 20_000, 500);
  });
});
