/** The measuring tools are measured first: what they report about servers whose behaviour is known. */
import { afterEach, describe, expect, test } from 'vitest';

import { startFaultOrigin } from '../harness/fault-origin.ts';
import { completeConfig } from '../harness/gateway.ts';
import { arrivals, runOpenLoop } from '../harness/open-loop.ts';
import { startListener, startOrigin } from '../harness/origin.ts';
import { eventually, freePorts } from '../harness/ports.ts';
import { descendants, isAlive, startProcess } from '../harness/process.ts';
import { openRaw, rawExchange, readAnswers } from '../harness/raw.ts';
import { seededRandom } from '../../src/kernel/random.ts';

const ALL = [{ name: 'all', share: 1 }];

describe('the open-loop sender', () => {
  test('keeps its rate and its intervals are exponential', () => {
    const next = arrivals([{ seconds: 100, ratePerSecond: 100 }], seededRandom(3));
    const gaps: number[] = [];
    for (let last = 0, at = next(); at !== Infinity; last = at, at = next()) gaps.push(at - last);
    const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
    const variance = gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length;
    expect(gaps.length).toBeGreaterThan(9500);
    expect(gaps.length).toBeLessThan(10_500);
    expect(Math.sqrt(variance) / mean).toBeGreaterThan(0.95);
    expect(Math.sqrt(variance) / mean).toBeLessThan(1.05);
  });

  test('changes its rate from phase to phase', () => {
    const next = arrivals(
      [
        { seconds: 10, ratePerSecond: 100 },
        { seconds: 10, ratePerSecond: 10 },
      ],
      seededRandom(4),
    );
    let first = 0;
    let second = 0;
    for (let at = next(); at !== Infinity; at = next()) {
      if (at < 10_000) first += 1;
      else second += 1;
    }
    expect(first).toBeGreaterThan(900);
    expect(second).toBeGreaterThan(60);
    expect(second).toBeLessThan(140);
  });

  test('times from the intended moment: a server that stalls for 1.2 s is late for all who came meanwhile', async () => {
    let startedAt = 0;
    await using origin = await startListener((_, response) => {
      const sinceMs = performance.now() - startedAt;
      const waitMs = sinceMs > 500 && sinceMs < 1700 ? 1700 - sinceMs : 0;
      setTimeout(() => response.end('ok'), waitMs);
    });
    const result = await runOpenLoop({
      port: origin.port,
      classes: ALL,
      phases: [{ seconds: 3, ratePerSecond: 200 }],
      slaMs: 200,
      timeoutMs: 30_000,
      onStart: () => {
        startedAt = performance.now();
      },
    });
    // 1200 ms of 3000 stalled; all but the last 200 ms of those are over 200 ms: a third. The machine may make more late.
    expect(result.served).toBe(result.offered);
    expect(1 - result.goodputRatio).toBeGreaterThan(0.27);
    expect(1 - result.goodputRatio).toBeLessThan(0.6);
    expect(result.maxMs).toBeGreaterThan(1000);
  });

  test('counts answers by status, codes, classes and failures', async () => {
    await using origin = await startListener((request, response) => {
      const path = request.url ?? '';
      if (path === '/cut') request.socket.destroy();
      else if (path === '/shed') response.writeHead(503).end('{"code":"SPW_SHED_QUEUE_FULL"}');
      else if (path === '/broken') response.writeHead(500).end('no');
      else if (path !== '/hang') response.end(request.headers['x-class']);
    });
    const paths = ['/ok', '/shed', '/broken', '/cut', '/hang'];
    const result = await runOpenLoop({
      port: origin.port,
      classes: paths.map((path) => ({ name: path.slice(1), path, share: 1, headers: { 'x-class': 'a' } })),
      phases: [{ seconds: 1, ratePerSecond: 250 }],
      slaMs: 2000,
      timeoutMs: 2000,
      retryStale: false,
    });
    const { classes } = result;
    for (const path of paths) expect(classes[path.slice(1)]?.offered).toBeGreaterThan(25);
    expect(result.statuses).toEqual({
      200: classes['ok']?.offered,
      500: classes['broken']?.offered,
      503: classes['shed']?.offered,
    });
    expect(result.codes).toEqual({ SPW_SHED_QUEUE_FULL: classes['shed']?.refused });
    expect(result.failures).toEqual({ reset: classes['cut']?.failed, timeout: classes['hang']?.failed });
    expect(classes['ok']?.goodput).toBe(classes['ok']?.offered);
    const sums = result.bins.reduce((sum, bin) => sum + bin.served + bin.refused + bin.failed, 0);
    expect(sums).toBe(result.offered);
  });

  test.each([
    [
      'chunked',
      200,
      'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n1;x=y\r\nd\r\n0\r\nt: 1\r\n\r\n',
      'keep',
    ],
    ['interim', 204, 'HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n', 'keep'],
    ['until close', 200, 'HTTP/1.1 200 OK\r\n\r\nto the end', 'fin'],
  ] as const)('reads answers that are %s', async (_, status, text, ending) => {
    await using origin = await startFaultOrigin({ kind: 'answer', text, ending });
    const result = await runOpenLoop({
      port: origin.port,
      classes: ALL,
      phases: [{ seconds: 1, ratePerSecond: 100 }],
      slaMs: 100,
      timeoutMs: 30_000,
    });
    expect(result.offered).toBeGreaterThan(10);
    expect(result.statuses).toEqual({ [status]: result.offered });
    // Kept connections are used again, the others are not.
    if (ending === 'keep') expect(origin.connections()).toBeLessThan(result.offered);
    else expect(origin.connections()).toBe(result.offered);
  });

  test('sustains 4000 requests a second from one process', async () => {
    await using origin = await startOrigin({ slots: 10_000, meanMs: 0 });
    const before = process.cpuUsage();
    const result = await runOpenLoop({
      port: origin.port,
      classes: ALL,
      phases: [{ seconds: 3, ratePerSecond: 4000 }],
      slaMs: 250,
      timeoutMs: 60_000,
    });
    const { user, system } = process.cpuUsage(before);
    expect(result.offeredPerSecond).toBeGreaterThan(3800);
    expect(result.served).toBe(result.offered);
    // Its own work, whatever else the machine does meanwhile: at 250 µs a request, a core would be full.
    expect((user + system) / result.offered).toBeLessThan(250);
  });
});

describe('the origin of known capacity', () => {
  test('does slots ÷ mean requests a second, no more, and can be changed while it runs', async () => {
    await using origin = await startOrigin({ slots: 4, meanMs: 20, sigma: 0 });
    expect(origin.capacityPerSecond).toBe(200);
    const rate = async (): Promise<number> => {
      const before = (await origin.report()).answered;
      const startedAt = performance.now();
      await runOpenLoop({
        port: origin.port,
        classes: ALL,
        phases: [{ seconds: 1.5, ratePerSecond: 1000 }],
        slaMs: 100,
        timeoutMs: 500,
      });
      const report = await origin.report();
      expect(report.maxInService).toBeLessThanOrEqual(8);
      return ((report.answered + report.abandoned - before) / (performance.now() - startedAt)) * 1000;
    };
    expect(await rate()).toBeLessThan(220);
    expect((await origin.report()).maxInService).toBe(4);
    await origin.set({ slots: 8 });
    await rate();
    expect((await origin.report()).maxInService).toBe(8);
  });

  test('its readiness is a switch, and it counts work for callers who have left', async () => {
    await using origin = await startOrigin({ slots: 1, meanMs: 1000, sigma: 0 });
    expect((await fetch(`${origin.url}/ready`)).status).toBe(200);
    await origin.set({ ready: false });
    expect((await fetch(`${origin.url}/ready`)).status).toBe(503);
    const client = await openRaw(origin.port);
    client.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n');
    await eventually('it is worked on', async () => (await origin.report()).inService === 1);
    await client[Symbol.asyncDispose]();
    await fetch(origin.url);
    const report = await origin.report();
    expect(report).toMatchObject({ arrived: 2, answered: 1, abandoned: 1, probes: 2 });
    expect(report.busyAfterLeftMs).toBeGreaterThan(900);
  });
});

describe('processes', () => {
  const pids: number[] = [];
  afterEach(() => {
    for (const pid of pids.splice(0)) expect(isAlive(pid)).toBe(false);
  });

  test('disposal ends a child and what it started, also when it does not listen', async () => {
    const script = `
      const { spawn } = require('node:child_process');
      process.on('SIGTERM', () => process.exit(0));
      const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000); process.on("SIGTERM", () => {}); console.log("up")'], { stdio: ['ignore', 'inherit', 'inherit'] });
      setInterval(() => {}, 1000);`;
    {
      await using running = await startProcess(process.execPath, ['-e', script]);
      await running.waitForLine(/^up$/);
      pids.push(running.pid, ...descendants(running.pid));
      expect(pids).toHaveLength(2);
    }
  });

  test('waiting for a line that never comes fails with the output when the child ends', async () => {
    await using running = await startProcess(process.execPath, ['-e', 'console.log("only this")']);
    pids.push(running.pid);
    await expect(running.waitForLine(/never/)).rejects.toThrow('only this');
  });
});

describe('raw bytes', () => {
  test('the reader finds what belongs to no answer', () => {
    const ok = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok';
    expect(readAnswers(`${ok}${ok}junk`, true)).toMatchObject({
      answers: [
        { status: 200, body: 'ok' },
        { status: 200, body: 'ok' },
      ],
      rest: 'junk',
    });
    expect(readAnswers('HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nok', true).answers[0]?.complete).toBe(
      false,
    );
    const chunked = 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n';
    expect(readAnswers(chunked, true).answers[0]).toMatchObject({ body: 'ok', complete: false });
    expect(readAnswers(`${chunked}0\r\n\r\n`, false)).toMatchObject({
      answers: [{ complete: true }],
      rest: '',
    });
  });

  test('a fault origin does what its switch says, and counts what reached it', async () => {
    await using origin = await startFaultOrigin('none');
    const ask = 'GET / HTTP/1.1\r\nhost: a\r\n\r\n';
    expect((await rawExchange(origin.port, ask)).answers[0]?.body).toBe('ok');
    origin.set('resetBeforeByte');
    expect(await rawExchange(origin.port, ask)).toMatchObject({ answers: [], closed: true });
    origin.set('diesMidLength');
    expect((await rawExchange(origin.port, ask)).answers[0]?.complete).toBe(false);
    expect(
      (await rawExchange(origin.port, 'GET /ready HTTP/1.1\r\nhost: a\r\n\r\n')).answers[0]?.status,
    ).toBe(200);
    expect(origin.requests.map((each) => each.connection)).toEqual([1, 2, 3]);
    expect(origin.connections()).toBe(3);
    await origin.refuse();
    await expect(rawExchange(origin.port, ask)).rejects.toThrow('ECONNREFUSED');
    await origin.listen();
    expect((await rawExchange(origin.port, ask)).answers).toHaveLength(1);
  });
});

test('a configuration gets its ports, and the sections that a test did not write', async () => {
  expect(completeConfig('listeners: [{ port: __PORT__ }]\n', 1, 2)).toBe(
    'listeners: [{ port: 1 }]\nadmin: { host: 127.0.0.1, port: 2 }\nshutdown: { delay: 0s, timeout: 10s }\n',
  );
  expect(completeConfig('admin: { port: __ADMIN__ }\nshutdown: {}\n', 1, 2)).toBe(
    'admin: { port: 2 }\nshutdown: {}\n',
  );
  expect(new Set(await freePorts(5)).size).toBe(5);
});
