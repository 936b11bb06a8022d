/**
 * slowhttptest against the gateway: slow heads, slow bodies, slow readers, many of each at once. Everybody else is served
 * meanwhile, and every one of them is shown out.
 */
import { execFile } from 'node:child_process';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify, stripVTControlCharacters } from 'node:util';

import { afterAll, beforeAll, expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { findExecutable } from '../harness/executable.ts';
import { eventually } from '../harness/ports.ts';
import { ask, startService } from '../integration/path-fixture.ts';
import type { Listening } from '../integration/path-fixture.ts';

const CONNECTIONS = 150;
/** Their tiny windows make them slow to connect, too. */
const READERS = 40;
/** Longer than any limit below and its two seconds. */
const LONGEST_S = 40;
const BIG = Buffer.alloc(16 * 1024 * 1024, 'x');

let origin: Listening;
let gateway: Gateway;

beforeAll(async () => {
  origin = await startService((request, response) => {
    request.on('error', () => undefined);
    request.resume();
    request.once('end', () => response.end(request.url === '/big' ? BIG : 'ok'));
  });
  gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1, limits: { headersTimeout: 4s } }]
workers: 1
shedding: { mode: off }
services:
  shop:
    instances: [${origin.url}]
    sla: 10s
    balancing: { maxConcurrencyPerInstance: 1000 }
    readiness: { path: /ready, interval: 600s, timeout: 10s }
routes: [{ path: /, service: shop }]
`);
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await origin[Symbol.asyncDispose]();
});

/** Runs the tool; it ends by itself when no connection of its is left. */
function attack(mode: readonly string[], path: string, connections = CONNECTIONS): Attack {
  const running = promisify(execFile)(
    findExecutable('slowhttptest'),
    [
      ...mode,
      `-c${connections}`,
      `-r${connections}`,
      `-l${LONGEST_S}`,
      '-p5',
      `-uhttp://127.0.0.1:${gateway.port}${path}`,
    ],
    { timeout: 60_000 },
  );
  const ended = running
    .catch((error: unknown) => error as { stdout: string })
    // Without the colours of a terminal.
    .then(({ stdout }) => stripVTControlCharacters(stdout));
  return { ended, stop: () => void running.child.kill('SIGKILL') };
}

interface Attack {
  /** What it said. */
  readonly ended: Promise<string>;
  readonly stop: () => void;
}

async function metrics(): Promise<string> {
  return String((await gateway.admin('/metrics')).body);
}

test('slow heads, bodies and readers are all shown out, and others are served meanwhile', async () => {
  const over = new AbortController();
  const others = (async (): Promise<number[]> => {
    const statuses: number[] = [];
    while (!over.signal.aborted) {
      statuses.push((await ask(gateway.port)).status);
      await pause(20);
    }
    return statuses;
  })();
  const readers = attack(
    ['-X', '-n', '1', '-z', '32', '-w', '512', '-y', '1024', '-k', '1'],
    '/big',
    READERS,
  );
  const outputs = await Promise.all([
    attack(['-H', '-i', '1'], '/').ended,
    attack(['-B', '-i', '1', '-s', '8192', '-x', '20'], '/up').ended,
  ]);
  // A reader that takes a minute for what it has learns of its end as late; the gateway has let go of it before.
  const reader = new RegExp(`aborted_total\\{service="shop",by="gateway",reason="rate"\\} ${READERS}\\n`);
  await eventually('all readers are cut', async () => reader.test(await metrics()), 40_000, 200);
  readers.stop();
  await readers.ended;
  over.abort();
  const statuses = await others;
  expect(new Set(statuses)).toEqual(new Set([200]));
  expect(statuses.length).toBeGreaterThan(50);
  for (const output of outputs) {
    // Not "Hit test time limit": the gateway closed them all.
    expect(output).toMatch(/Exit status:\s+No open connections left/);
  }
  await eventually('nothing is held for them', async () =>
    /in_flight\{service="shop"\} 0\n/.test(await metrics()),
  );
});
