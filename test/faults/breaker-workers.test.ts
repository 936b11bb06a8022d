/**
 * One service, several workers, one breaker in effect: what one of them has found out the others need not find out again.
 * And what opens it besides failures.
 */
import { Agent, request as httpRequest } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';

import { afterAll, beforeAll, expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { startService } from '../integration/path-fixture.ts';
import type { Listening } from '../integration/path-fixture.ts';

const WORKERS = 4;
/** What opens a breaker by itself. */
const IN_A_ROW = 5;

/** Above two SLAs of the services that are asked for it. */
const SLOW_MS = 60;

let gateway: Gateway;
let failing: Listening;
let good: Listening;
let slow: Listening;
let hits = 0;

beforeAll(async () => {
  failing = await startService((_request, response) => {
    hits++;
    response.writeHead(500, { 'content-length': 0 }).end();
  });
  good = await startService((request, response) => {
    if (request.url === '/good/crash') request.socket.resetAndDestroy();
    else response.writeHead(200, { 'content-length': 0 }).end();
  });
  slow = await startService((_request, response) => {
    setTimeout(() => response.writeHead(200, { 'content-length': 0 }).end(), SLOW_MS);
  });
  const probes = 'readiness: { path: /ready, interval: 600s, timeout: 10s }';
  gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: ${WORKERS}
shedding: { mode: off }
trust: { proxies: [127.0.0.1], header: x-forwarded-for }
services:
  bad: { instances: [${failing.url}], breaker: { consecutive: ${IN_A_ROW}, open: 60s }, ${probes} }
  good: { instances: [${good.url}], breaker: { consecutive: ${IN_A_ROW}, open: 60s }, ${probes} }
  slow: { instances: [${slow.url}], sla: 25ms, breaker: { slow: 80%, open: 60s }, ${probes} }
  late: { instances: [${slow.url}], sla: 25ms, breaker: { open: 60s }, ${probes} }
routes:
  - { path: /, service: bad }
  - { path: /good, service: good }
  - { path: /slow, service: slow }
  - { path: /late, service: late }
`);
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await failing[Symbol.asyncDispose]();
  await good[Symbol.asyncDispose]();
  await slow[Symbol.asyncDispose]();
});

interface Answer {
  readonly status: number;
  readonly text: string;
  /** By the request's id. */
  readonly worker: string;
}

async function ask(agent: Agent, path: string, caller = '192.0.2.1'): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const headers = { 'x-forwarded-for': caller };
  const sent = httpRequest({ host: '127.0.0.1', port: gateway.port, path, agent, headers }, (message) => {
    const { statusCode: status = 0 } = message;
    const worker = String(message.headers['x-request-id']).split('-')[0] ?? '';
    let text = '';
    message.setEncoding('utf8');
    message.on('data', (piece: string) => (text += piece));
    message.once('end', () => resolve({ status, text, worker }));
  });
  sent.once('error', reject);
  sent.end();
  return await promise;
}

test('a breaker that opens in one worker is open in all of them', async () => {
  // A connection stays with its worker: one to each of them.
  const byWorker = new Map<string, Agent>();
  const agents: Agent[] = [];
  try {
    for (let turn = 0; turn < 500 && byWorker.size < WORKERS; turn++) {
      const agent = new Agent({ keepAlive: true, maxSockets: 1 });
      agents.push(agent);
      const { worker } = await ask(agent, '/good');
      if (!byWorker.has(worker)) byWorker.set(worker, agent);
    }
    const [first, ...others] = byWorker.values();
    if (first === undefined) throw new Error('no worker answers');
    expect(others.length).toBeGreaterThan(0);
    for (let turn = 0; turn < IN_A_ROW; turn++) expect((await ask(first, '/')).status).toBe(500);
    expect((await ask(first, '/')).text).toContain('SPW_CIRCUIT_OPEN');
    expect(hits).toBe(IN_A_ROW);
    for (const other of others) {
      // Fewer questions than would open its own, and time for the word to get there.
      let { text } = await ask(other, '/');
      for (let turn = 0; turn < IN_A_ROW - 2 && !text.includes('SPW_CIRCUIT_OPEN'); turn++) {
        await pause(500);
        ({ text } = await ask(other, '/'));
      }
      expect(text).toContain('SPW_CIRCUIT_OPEN');
    }
  } finally {
    for (const agent of agents) agent.destroy();
  }
});

test('a caller whose requests crash whatever answers them closes the service to nobody', async () => {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  try {
    for (let caller = 1; caller <= 20; caller++) {
      expect((await ask(agent, '/good', `192.0.2.${caller}`)).status).toBe(200);
    }
    for (let turn = 0; turn < 3 * IN_A_ROW; turn++) {
      expect((await ask(agent, '/good/crash', '192.0.2.66')).text).toContain('SPW_UPSTREAM_RESET');
    }
    expect((await ask(agent, '/good', '192.0.2.1')).status).toBe(200);
    // One after the other they are an outage.
    let last = '';
    for (let caller = 1; caller <= 20; caller++) {
      ({ text: last } = await ask(agent, '/good/crash', `192.0.2.${caller}`));
    }
    expect(last).toContain('SPW_CIRCUIT_OPEN');
  } finally {
    agent.destroy();
  }
});

test('answers later than two SLAs open the breaker where that is configured, and nowhere else', async () => {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  try {
    for (const [path, wanted] of [
      ['/slow', 'SPW_CIRCUIT_OPEN'],
      ['/late', ''],
    ] as const) {
      const statuses: number[] = [];
      let text = '';
      for (let turn = 0; turn < 25 && text === ''; turn++) {
        const answer = await ask(agent, path);
        statuses.push(answer.status);
        ({ text } = answer);
      }
      expect(text).toContain(wanted);
      expect(statuses.filter((status) => status === 200)).toHaveLength(wanted === '' ? 25 : 20);
    }
  } finally {
    agent.destroy();
  }
});
