import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { LineWriter, type AccessRecord } from '../../../src/io/access-line.ts';
import { AccessLog, REFUSALS_PER_SECOND, type AccessPolicy } from '../../../src/io/access-log.ts';

const ALL: AccessPolicy = { mode: 'all', ratio: 1 };
const MODULE = new URL('../../../src/io/access-log.ts', import.meta.url).href;

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'access-log-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

function served(more: Partial<AccessRecord> = {}): AccessRecord {
  return {
    wallMs: 1_700_000_000_123,
    requestId: 'abc-1',
    client: 'acme',
    tier: 'gold',
    route: '/shop',
    service: 'shop',
    instance: '127.0.0.1:9001',
    method: 'GET',
    path: '/shop/1',
    status: 200,
    code: '',
    durationMs: 12.34567,
    queueMs: 0,
    upstreamMs: 11,
    bytesIn: 0,
    bytesOut: 512,
    attempts: 1,
    priority: 'default',
    ...more,
  };
}
const refused = (more: Partial<AccessRecord> = {}): AccessRecord =>
  served({ status: 503, code: 'SPW_SHED_QUEUE_FULL', attempts: 0, instance: '', ...more });

/** Writes the records through a real file and returns its lines, parsed. */
async function logged(access: AccessPolicy, records: readonly AccessRecord[], random?: () => number) {
  const file = path.join(folder, 'access.log');
  const log = new AccessLog({ access, destination: file, ...(random === undefined ? {} : { random }) });
  for (const record of records) log.write(record);
  await log.end();
  const text = await readFile(file, 'utf8');
  const lines = text.split('\n').filter((line) => line !== '');
  return { lines: lines.map((line) => JSON.parse(line) as Record<string, unknown>), dropped: log.dropped };
}

test('a line tells what happened to one request, in milliseconds and bytes', async () => {
  const { lines } = await logged(ALL, [served()]);
  expect(lines).toStrictEqual([
    {
      level: 30,
      time: 1_700_000_000_123,
      requestId: 'abc-1',
      code: '',
      route: '/shop',
      service: 'shop',
      instance: '127.0.0.1:9001',
      tier: 'gold',
      priority: 'default',
      client: 'acme',
      method: 'GET',
      path: '/shop/1',
      status: 200,
      durationMs: 12.346,
      queueMs: 0,
      upstreamMs: 11,
      bytesIn: 0,
      bytesOut: 512,
      attempts: 1,
    },
  ]);
});

test('a query never reaches the log, even when a caller of the class forgets to cut it', () => {
  expect(new LineWriter().write(served({ path: '/login?password=hunter2' })).end()).not.toContain('hunter2');
});

test('refusals warn, failures of a service are errors', async () => {
  const { lines } = await logged(ALL, [
    refused(),
    served({ status: 504, code: 'SPW_UPSTREAM_TIMEOUT' }),
    served({ status: 500 }),
    served({ status: 499, code: 'SPW_CLIENT_CLOSED' }),
    served({ status: 404 }),
  ]);
  expect(lines.map((line) => line['level'])).toStrictEqual([40, 50, 50, 40, 30]);
});

test('of a flood of refusals 100 a second get a line and the rest is counted', async () => {
  const flood = Array.from({ length: 1000 }, () => refused({ wallMs: 5000 }));
  const next = Array.from({ length: 150 }, () => refused({ wallMs: 6000 }));
  const { lines, dropped } = await logged(ALL, [...flood, served({ wallMs: 5999 }), ...next]);
  expect(lines.filter((line) => line['status'] === 200)).toHaveLength(1);
  expect(lines).toHaveLength(2 * REFUSALS_PER_SECOND + 1);
  expect(dropped).toBe(1150 - 2 * REFUSALS_PER_SECOND);
});

test('failures of a service are never held to the rate of refusals', async () => {
  const failures = Array.from({ length: 300 }, () => served({ status: 502, code: 'SPW_UPSTREAM_RESET' }));
  const { lines, dropped } = await logged(ALL, failures);
  expect(lines).toHaveLength(300);
  expect(dropped).toBe(0);
});

test('`errors` keeps answers from 500 up and what the gateway said itself', async () => {
  const { lines } = await logged({ mode: 'errors', ratio: 0 }, [
    served(),
    served({ status: 404 }),
    served({ status: 500 }),
    refused({ status: 429, code: 'SPW_RATE_CLIENT' }),
  ]);
  expect(lines.map((line) => line['status'])).toStrictEqual([500, 429]);
});

test('`sampled` keeps its share of the good and all of the bad', async () => {
  const draws = [0.005, 0.5, 0.02, 0.009];
  const { lines } = await logged(
    { mode: 'sampled', ratio: 0.01 },
    [
      served({ requestId: 'a' }),
      served({ requestId: 'b' }),
      served({ requestId: 'c' }),
      served({ requestId: 'd' }),
      served({ requestId: 'e', status: 502 }),
    ],
    () => draws.shift() ?? 1,
  );
  expect(lines.map((line) => line['requestId'])).toStrictEqual(['a', 'd', 'e']);
});

test('`off` writes nothing, and a reload can switch it on', async () => {
  const file = path.join(folder, 'access.log');
  const log = new AccessLog({ access: { mode: 'off', ratio: 0 }, destination: file });
  log.write(served({ requestId: 'before' }));
  log.configure(ALL);
  log.write(served({ requestId: 'after' }));
  await log.end();
  const text = await readFile(file, 'utf8');
  expect(text).not.toContain('before');
  expect(text).toContain('after');
});

test('beyond 8 MiB of waiting lines are dropped and counted, and what was taken is whole', async () => {
  // Nothing is written before this turn of the event loop ends, so every line waits.
  const record = served({ path: `/${'x'.repeat(900)}` });
  const count = 12_000;
  const { lines, dropped } = await logged(
    ALL,
    Array.from({ length: count }, () => record),
  );
  expect(dropped).toBeGreaterThan(1000);
  expect(lines).toHaveLength(count - dropped);
});

test('a path that cannot be opened costs the lines and not the worker', async () => {
  const log = new AccessLog({ access: ALL, destination: path.join(folder, 'none', 'access.log') });
  log.write(served());
  await log.end();
  log.write(served());
  expect(log.dropped).toBe(1);
});

const WRITER = `
  const { AccessLog } = await import(${JSON.stringify(MODULE)});
  const log = new AccessLog({ access: { mode: 'all', ratio: 1 }, destination: 1 });
  const record = ${JSON.stringify(served())};
  for (let turn = 0; turn < 60; turn += 1) {
    for (let n = 0; n < 50; n += 1) {
      log.write({ ...record, requestId: process.argv[1] + '-' + (turn * 50 + n), path: '/' + 'x'.repeat((turn * 37 + n * 11) % 900) });
    }
    log.flush();
    await new Promise((resolve) => setImmediate(resolve));
  }
  await log.end();
`;

/** Output of a shell script, standard output only. */
async function shell(script: string, env: Readonly<Record<string, string>>): Promise<{ out: string }> {
  const child = spawn('sh', ['-c', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...env },
  });
  let out = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    out += chunk;
  });
  const { promise, resolve } = Promise.withResolvers<void>();
  child.once('close', () => {
    resolve();
  });
  await promise;
  return { out };
}

const start = (name: string): string => `"$NODE" --input-type=module -e "$WRITER" ${name}`;

test('workers that share a pipe with a slow reader never mix their lines', async () => {
  // The pipe is full before its reader begins, so that every writer has to wait in the middle of its work.
  const { out } = await shell(
    `( ${start('a')} & ${start('b')} & ${start('c')} & wait ) | ( sleep 0.5; cat )`,
    {
      NODE: process.execPath,
      WRITER,
    },
  );
  const ids = out
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => (JSON.parse(line) as { requestId: string }).requestId);
  expect(new Set(ids).size).toBe(3 * 3000);
  expect(ids).toHaveLength(3 * 3000);
});

test('a reader that leaves does not end the writer', async () => {
  const { out } = await shell(
    `{ ( "$NODE" --input-type=module -e "$WRITER" a; echo "exit $?" >&3 ) 3>&4 | head -c 0; } 4>&1`,
    { NODE: process.execPath, WRITER },
  );
  expect(out).toBe('exit 0\n');
});

const FLOOD = `
  const { AccessLog } = await import(${JSON.stringify(MODULE)});
  const log = new AccessLog({ access: { mode: 'all', ratio: 1 }, destination: 1 });
  const record = ${JSON.stringify(served({ path: `/${'x'.repeat(900)}` }))};
  for (let n = 0; n < 12_000; n += 1) log.write({ ...record, requestId: String(n) });
  log.flush();
  console.error(log.dropped);
  await log.end();
`;

test('a reader that stands still stops nobody: 8 MiB wait, the rest is counted, and all that waited arrives whole', async () => {
  // The reader begins when the writer has told its figures, so the writer met a full pipe for most of its
  // lines, and would have stood still for ever if it waited for it.
  const { out } = await shell(
    `mkfifo "$DIR/told"; { "$NODE" --input-type=module -e "$WRITER" 2>"$DIR/told"; } | { read told < "$DIR/told"; echo "$told"; cat; }`,
    { NODE: process.execPath, WRITER: FLOOD, DIR: folder },
  );
  const [told = '', ...lines] = out.split('\n').filter((line) => line !== '');
  const dropped = Number(told);
  expect(dropped).toBeGreaterThan(1000);
  expect(lines).toHaveLength(12_000 - dropped);
  expect(lines.map((line) => Number((JSON.parse(line) as { requestId: string }).requestId))).toStrictEqual(
    lines.map((_, index) => index),
  );
});

const LEAVER = `
  const { AccessLog } = await import(${JSON.stringify(MODULE)});
  const log = new AccessLog({ access: { mode: 'all', ratio: 1 }, destination: 1 });
  const record = ${JSON.stringify(served({ path: `/${'x'.repeat(900)}` }))};
  for (let n = 0; n < 200; n += 1) log.write({ ...record, requestId: String(n) });
  await log.end();
  console.error(log.dropped);
`;

test('a reader that stands still does not keep the writer from ending, and what is left is counted', async () => {
  // `cat` begins when the writer has gone: whoever waited for it would never end.
  const { out } = await shell(
    `mkfifo "$DIR/told"; { "$NODE" --input-type=module -e "$WRITER" 2>"$DIR/told"; } | { read told < "$DIR/told"; echo "$told"; cat; }`,
    { NODE: process.execPath, WRITER: LEAVER, DIR: folder },
  );
  const [told = '', ...lines] = out.split('\n').filter((line) => line !== '');
  expect(Number(told)).toBeGreaterThan(100);
  expect(lines).toHaveLength(200 - Number(told));
});
