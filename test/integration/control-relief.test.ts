/**
 * What a worker does about its own overload below the requests: idle connections go, new ones are closed as they come.
 * Real sockets; the pressure is given, and once it is real.
 */
import { connect, type Socket } from 'node:net';

import { describe, expect, test } from 'vitest';

import type { ListenerConfiguration } from '../../config/schema.ts';
import type { FrontGate } from '../../src/io/front-gate.ts';
import { bindSocket } from '../../src/io/listen-sockets.ts';
import { PressureRelief } from '../../src/io/pressure-relief.ts';
import { WorkerServer } from '../../src/io/servers.ts';
import { startGateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { openRaw } from '../harness/raw.ts';
import { sabotage } from './control-fixture.ts';
import { parseExposition } from './metrics-text.ts';
import { startService } from './path-fixture.ts';

const GET = 'GET / HTTP/1.1\r\nhost: a.test\r\n\r\n';

const LAST = 'GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n';

interface Bench extends AsyncDisposable {
  readonly port: number;
  readonly server: WorkerServer;
  readonly drops: string[];
}

/** A worker's server whose gate answers everything. */
async function startServer(): Promise<Bench> {
  const drops: string[] = [];
  const configuration = {
    maxConnections: 100,
    tls: null,
    limits: {
      headerBytes: 16_384,
      idleTimeout: 60_000,
      headersTimeout: 10_000,
      requestTimeout: 60_000,
    },
  } as ListenerConfiguration;
  const gate = {
    request: (_: unknown, res: { end(text: string): void }) => res.end('ok'),
    upgrade: () => undefined,
    connect: () => undefined,
    clientError: () => undefined,
    tlsClientError: () => undefined,
  } as unknown as FrontGate;
  const server = new WorkerServer('key', configuration, gate, (reason) => drops.push(reason));
  const bound = bindSocket('127.0.0.1', 0);
  await server.listen(bound.handle, 511);
  return {
    port: bound.port,
    server,
    drops,
    [Symbol.asyncDispose]: async () => {
      server.stopAccepting();
      server.closeAll();
      bound.close();
    },
  };
}

/** What a new connection is answered before its end. */
async function greeted(port: number): Promise<string> {
  const socket: Socket = connect(port, '127.0.0.1');
  let text = '';
  socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
  socket.on('error', () => undefined);
  socket.write(LAST);
  await eventually('the connection has ended', () => socket.closed, 10_000, 5);
  return text;
}

describe('pressure of the event loop', () => {
  test('from 0.95 on new connections are closed unread, those that are there are served; below 0.9 all are again', async () => {
    await using bench = await startServer();
    const relief = new PressureRelief();
    const apply = (loop: number): void => relief.apply({ loop, memory: 0 }, [bench.server], 0);
    apply(0.94);
    await using old = await openRaw(bench.port);
    old.write(GET);
    await old.untilAnswers(1);
    apply(0.95);
    expect(await greeted(bench.port)).toBe('');
    expect(await greeted(bench.port)).toBe('');
    old.write(GET);
    expect((await old.untilAnswers(2)).answers).toHaveLength(2);
    apply(0.91);
    expect(await greeted(bench.port)).toBe('');
    expect(bench.drops).toEqual(['pressure', 'pressure', 'pressure']);
    apply(0.89);
    await using young = await openRaw(bench.port);
    young.write(GET);
    expect((await young.untilAnswers(1)).answers[0]?.status).toBe(200);
    // Not at once again: 0.91 is no reason to begin.
    apply(0.91);
    young.write(GET);
    expect((await young.untilAnswers(2)).answers).toHaveLength(2);
    expect(bench.drops).toHaveLength(3);
  });

  test('reaches a server that was opened meanwhile', async () => {
    await using bench = await startServer();
    const relief = new PressureRelief();
    relief.apply({ loop: 0.97, memory: 0 }, [], 0);
    relief.apply({ loop: 0.97, memory: 0 }, [bench.server], 200);
    expect(await greeted(bench.port)).toBe('');
  });
});

describe('pressure of memory', () => {
  test('from 0.5 on a connection is idle for a second only, and who was idle before goes a second later', async () => {
    await using bench = await startServer();
    const relief = new PressureRelief();
    const apply = (memory: number, now: number): void =>
      relief.apply({ loop: 0, memory }, [bench.server], now);
    await using idle = await openRaw(bench.port);
    idle.write(GET);
    await idle.untilAnswers(1);
    apply(0.49, 0);
    apply(0.49, 5000);
    expect(idle.isClosed()).toBe(false);
    apply(0.5, 6000);
    apply(0.5, 6999);
    expect(idle.isClosed()).toBe(false);
    apply(0.5, 7000);
    await idle.untilClosed(5000);
    // Node tells the caller one second, and closes a second after that.
    await using next = await openRaw(bench.port);
    next.write(GET);
    await next.untilAnswers(1);
    expect(next.received()).toMatch(/Keep-Alive: timeout=1\r\n/);
    await next.untilClosed(5000);
    apply(0.39, 20_000);
    await using last = await openRaw(bench.port);
    last.write(GET);
    await last.untilAnswers(1);
    expect(last.received()).toMatch(/Keep-Alive: timeout=60\r\n/);
  });
});

describe('a gateway whose event loop is blocked', () => {
  const BLOCKED = `
if (isWorker) setTimeout(() => {
  const timer = setInterval(() => {
    for (const until = performance.now() + 150; performance.now() < until;);
    if (fs.existsSync(marker)) clearInterval(timer);
  }, 160);
}, 500);`;

  test.each(['enforce', 'observe'])('under %s', async (mode) => {
    await using origin = await startService((_request, response) => response.end('ok'));
    await using blocked = await sabotage(BLOCKED);
    const config = (sla: string): string => `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
log: { access: off }
shedding: { mode: ${mode} }
services: { shop: { instances: [${origin.url}], sla: ${sla}, readiness: { path: /ready, interval: 600s, timeout: 10s } } }
routes: [{ path: /, service: shop, priority: critical }]
`;
    await using gateway = await startGateway(config('5s'), { env: blocked.env });
    await using old = await openRaw(gateway.port);
    const metric = async (name: string, labels: Record<string, string>): Promise<number> => {
      const { body } = await gateway.admin('/metrics');
      return parseExposition(String(body)).value(name, labels) ?? 0;
    };
    // A tenth of an SLA of 5 s is tolerated: this lag is none, whatever it is called.
    expect(await metric('spillway_pressure_ratio', { signal: 'loop' })).toBe(0);
    await gateway.rewrite(config('250ms'));
    expect((await gateway.admin('/v1/reload', { method: 'POST' })).status).toBe(200);
    await eventually(
      'the pressure is at its most',
      async () => (await metric('spillway_pressure_ratio', { signal: 'loop' })) >= 0.95,
    );
    const [line] = await gateway.process.waitForLine(/^.*"msg":"pressure of the event loop is on".*$/m);
    expect(JSON.parse(line)).toMatchObject({ level: 40, from: 'off', to: 'on' });
    if (mode === 'enforce') {
      await eventually('they are closed unread', async () => (await greeted(gateway.port)) === '');
      const reason = 'pressure';
      await eventually(
        'that is counted',
        async () => (await metric('spillway_connections_closed_total', { reason })) > 0,
      );
    } else {
      await using other = await openRaw(gateway.port);
      other.write(GET);
      expect((await other.untilAnswers(1)).answers[0]?.status).toBe(200);
    }
    // Pressure is no reason to fail readiness, and a connection that was there is answered.
    await gateway.readyz(200);
    old.write(GET);
    expect((await old.untilAnswers(1)).answers).toHaveLength(1);
  });
});
