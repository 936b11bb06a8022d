/**
 * A log reader that stands still costs log lines and nothing else: no request, no answer of the admin address, no signal.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startGateway, type Gateway } from '../harness/gateway.ts';
import { startListener } from '../harness/origin.ts';
import { eventually } from '../harness/ports.ts';
import { ask } from '../integration/path-fixture.ts';

/** Some 450 bytes each: several times what a pipe holds. */
const LINES = 1500;
const TIMEOUT_MS = 2000;

let folder = '';
/** Never read. */
let reader = -1;
let gateway: Gateway;
const origins = new AsyncDisposableStack();

beforeAll(async () => {
  const origin = origins.use(await startListener((_, response) => response.end('ok')));
  folder = mkdtempSync(join(tmpdir(), 'spillway-stalled-'));
  const fifo = join(folder, 'log');
  execFileSync('mkfifo', [fifo]);
  reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
  // As a shell makes it: writing waits while the pipe is full.
  const writer = openSync(fifo, constants.O_WRONLY);
  // Whatever the machine does meanwhile, nothing is refused but for the log.
  gateway = await startGateway(
    `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
shutdown: { delay: 0s, timeout: ${TIMEOUT_MS}ms }
workers: 2
shedding: { mode: off }
services: { shop: { instances: [${origin.url}], sla: 10s, readiness: { interval: 600s, timeout: 10s } } }
routes: [{ path: /, service: shop }]
`,
    { stdoutFd: writer },
  );
  closeSync(writer);
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await origins.disposeAsync();
  closeSync(reader);
  rmSync(folder, { recursive: true });
});

test('requests, operators and signals are served while nobody reads the log', async () => {
  for (let turn = 0; turn < LINES / 10; turn++) {
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => ask(gateway.port, { path: `/${'x'.repeat(200)}` })),
    );
    for (const { status } of answers) expect(status).toBe(200);
  }
  const { body } = await gateway.admin('/v1/services');
  const [instance] = (body as { services: { shop: { instances: { id: string }[] } } }).services.shop
    .instances;
  // Each of these is a line of the supervisor's own, on the same full pipe.
  for (let turn = 0; turn < 8; turn++)
    for (const command of ['drain', 'enable']) {
      const { status } = await gateway.admin(`/v1/services/shop/instances/${instance?.id ?? ''}/${command}`, {
        method: 'POST',
        signal: AbortSignal.timeout(20_000),
      });
      expect(status).toBe(200);
    }
  expect(
    (await gateway.admin('/v1/reload', { method: 'POST', signal: AbortSignal.timeout(20_000) })).status,
  ).toBe(200);
  expect((await gateway.admin('/livez', { signal: AbortSignal.timeout(20_000) })).status).toBe(200);
  await eventually('the request is served', async () => (await ask(gateway.port)).status === 200);
  // It ends by itself, without the SIGKILL that `stop` would resort to.
  expect(await gateway.stop()).toMatchObject({ code: 0, signal: null });
});
