import { fork } from 'node:child_process';
import http from 'node:http';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startDemoInstances, type DemoInstances } from '../../../src/io/demo-instance.ts';

let demo: DemoInstances;
beforeAll(async () => {
  demo = await startDemoInstances(2);
});
afterAll(async () => {
  await demo.stop();
});

const first = (): string => demo.urls[0] ?? '';

test('each instance has an address of its own and says who answered', async () => {
  expect(new Set(demo.urls).size).toBe(2);
  const names = await Promise.all(
    demo.urls.map(async (url) => ((await (await fetch(url)).json()) as { instance: string }).instance),
  );
  expect(new Set(names).size).toBe(2);
});

test('an answer tells the path and what the gateway said of the caller', async () => {
  const headers = { 'x-request-id': 'r-1', 'x-spillway-client': 'grace', 'x-spillway-tier': 'gold' };
  const answer = await fetch(`${first()}/shop/1?x=1`, { headers });
  expect(await answer.json()).toMatchObject({
    method: 'GET',
    path: '/shop/1',
    requestId: 'r-1',
    client: 'grace',
    tier: 'gold',
  });
});

test('readiness is a health document with checks', async () => {
  const answer = await fetch(`${first()}/ready`);
  expect(answer.headers.get('content-type')).toBe('application/health+json');
  expect(await answer.json()).toMatchObject({
    status: 'pass',
    checks: { 'demo:slots': [{ status: 'pass' }] },
  });
});

test('echo gives a large body back as it came', async () => {
  const body = Buffer.alloc(1_000_000, 'spillway ');
  const answer = await fetch(`${first()}/echo`, {
    method: 'POST',
    body,
    headers: { 'content-type': 'text/plain' },
  });
  expect(Buffer.from(await answer.arrayBuffer()).equals(body)).toBe(true);
  expect(answer.headers.get('content-type')).toBe('text/plain');
});

test('events come one by one', async () => {
  const answer = await fetch(`${first()}/events`);
  expect(answer.headers.get('content-type')).toBe('text/event-stream');
  const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  while (!text.includes('id: 2')) text += (await reader?.read())?.value ?? '';
  expect(text).toMatch(/^id: 1\ndata: \{.*\}\n\nid: 2\n/);
  await reader?.cancel();
});

test('more than eight at once wait, and who leaves makes room', async () => {
  const leavers = Array.from({ length: 8 }, () =>
    http.get(`${first()}/slow?ms=30000`).on('error', () => undefined),
  );
  await busySlots(8);
  const waiting = fetch(`${first()}/`);
  await waitingRequests(1);
  for (const request of leavers) request.destroy();
  const { waitedMs } = (await (await waiting).json()) as { waitedMs: number };
  expect(waitedMs).toBeLessThan(20_000);
  await busySlots(0);
});

test('a caller that leaves the line leaves no gap in it', async () => {
  const holders = Array.from({ length: 8 }, () =>
    http.get(`${first()}/slow?ms=30000`).on('error', () => undefined),
  );
  await busySlots(8);
  const impatient = http.get(`${first()}/`).on('error', () => undefined);
  await waitingRequests(1);
  impatient.destroy();
  await waitingRequests(0);
  for (const request of holders) request.destroy();
  await busySlots(0);
  expect((await fetch(first())).status).toBe(200);
});

async function check(name: string): Promise<number> {
  const answer = (await (await fetch(`${first()}/ready`)).json()) as {
    checks: Record<string, { observedValue: number }[]>;
  };
  return answer.checks[name]?.[0]?.observedValue ?? -1;
}
/** The test's own time limit is the bound. */
async function busySlots(count: number): Promise<void> {
  while ((await check('demo:slots')) !== count);
}
async function waitingRequests(count: number): Promise<void> {
  while ((await check('demo:waiting')) !== count);
}

test('Ctrl-C is left to the supervisor; the end of the channel ends the instance', async () => {
  const file = new URL('../../../src/io/demo-instance.ts', import.meta.url).pathname;
  const child = fork(file, ['demo-instance'], {
    execArgv: [],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const port = await new Promise<number>((resolve) => {
    child.once('message', (message) => {
      resolve(Number(message));
    });
  });
  // An open connection must not hold it back either.
  const events = await fetch(`http://127.0.0.1:${port}/events`);
  child.kill('SIGINT');
  expect((await fetch(`http://127.0.0.1:${port}/ready`)).status).toBe(200);
  const exit = new Promise<number | null>((resolve) => {
    child.once('exit', resolve);
  });
  child.disconnect();
  expect(await exit).toBe(0);
  await expect(events.text()).rejects.toThrow();
});

test('stop returns when every process is gone', async () => {
  const own = await startDemoInstances(1);
  const url = own.urls[0] ?? '';
  expect((await fetch(`${url}/ready`)).status).toBe(200);
  await own.stop();
  await expect(fetch(`${url}/ready`)).rejects.toThrow();
  await own.stop();
});
