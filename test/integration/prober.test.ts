import type { IncomingMessage, ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import { eventually } from '../harness/ports.ts';
import { closedPort, httpOrigin, target, tcpOrigin, Watch } from './prober-watch.ts';

describe('a probe', () => {
  it('without a path is a connect, and reads nothing', async () => {
    await using origin = await tcpOrigin(() => undefined);
    using watch = new Watch();
    expect(await watch.first(target(origin.url, { path: null }))).toBe('pass: ');
  });

  it('of a closed port is refused, with a path and without', async () => {
    const url = await closedPort();
    for (const path of [null, '/ready']) {
      using watch = new Watch();
      expect(await watch.first(target(url, { path }))).toBe('absent: connection refused');
      expect(watch.seen[0]?.evidence.refused).toBe(true);
    }
  });

  it('hears an explicit no, and more of it within a quarter of a second after a change', async () => {
    let status = 200;
    await using origin = await httpOrigin((_request, response) => response.writeHead(status).end());
    using watch = new Watch();
    watch.prober.configure([target(origin.url, { intervalMs: 3000 })]);
    await watch.until(({ evidence }) => evidence.kind === 'pass');
    status = 503;
    const no = await watch.until(({ evidence }) => evidence.kind === 'explicit');
    expect(no.evidence.reason).toBe('status 503');
    const next = await watch.until(({ at }) => at > no.at);
    expect(next.at - no.at).toBeLessThan(1500); // 250 ms, on a busy machine; by its interval, three seconds
    const third = await watch.until(({ at }) => at > next.at);
    expect(third.at - next.at).toBeGreaterThan(1500);
  });

  it('of an instance that accepts and never answers is silent after its timeout', async () => {
    await using origin = await tcpOrigin(() => undefined);
    using watch = new Watch();
    const startedAt = performance.now();
    expect(await watch.first(target(origin.url, { timeoutMs: 300 }))).toBe('absent: timeout');
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(299);
    expect(watch.seen.at(-1)?.evidence.refused).toBe(false);
  });

  it('of one that sends half an answer is silent, unless its status is a no by itself', async () => {
    for (const [status, result] of [
      [200, 'absent: timeout'],
      [503, 'explicit: status 503'],
    ] as const) {
      await using origin = await httpOrigin((_request, response) => {
        response.writeHead(status, { 'content-length': '100' }).write('half');
      });
      using watch = new Watch();
      expect(await watch.first(target(origin.url, { timeoutMs: 200 }))).toBe(result);
    }
  });

  it('of one that resets, or hangs up in the middle, is silence', async () => {
    await using resetting = await tcpOrigin((socket) => socket.once('data', () => socket.resetAndDestroy()));
    using first = new Watch();
    expect(await first.first(target(resetting.url))).toBe('absent: connection reset');
    await using leaving = await tcpOrigin((socket) => {
      socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf'));
    });
    using second = new Watch();
    expect(await second.first(target(leaving.url))).toBe('absent: connection reset');
  });

  it('of one that speaks something else is silence', async () => {
    await using origin = await tcpOrigin((socket) => socket.end('SSH-2.0-OpenSSH_9.7\r\n'));
    using watch = new Watch();
    expect(await watch.first(target(origin.url))).toBe('absent: not HTTP');
  });

  it('follows no redirect', async () => {
    const asked: (string | undefined)[] = [];
    await using origin = await httpOrigin((request, response) => {
      asked.push(request.url);
      response.writeHead(302, { location: '/elsewhere' }).end();
    });
    using watch = new Watch();
    expect(await watch.first(target(origin.url))).toBe('absent: status 302');
    expect(asked).toEqual(['/ready']);
  });

  it('reads 64 KiB and no more', async () => {
    let sent = 65_536;
    await using origin = await httpOrigin((_request, response) => response.end('x'.repeat(sent)));
    using watch = new Watch();
    watch.prober.configure([target(origin.url)]);
    const [whole] = await watch.count(1);
    expect(whole?.evidence.kind).toBe('pass');
    sent++;
    const long = await watch.until(({ evidence }) => evidence.kind !== 'pass');
    expect(long.evidence.reason).toBe('answer longer than 64 KiB');
  });

  it('reads documents, notices and names', async () => {
    const answers: Record<string, (answer: ServerResponse) => void> = {
      '/health': (answer) => {
        answer.setHeader('content-type', 'application/health+json');
        answer.end('{"status":"warn","checks":{"cache:hits":[{"status":"fail"}]}}');
      },
      '/spring': (answer) => {
        answer.writeHead(503, { 'content-type': 'application/vnd.spring-boot.actuator.v3+json' });
        answer.end('{"status":"DOWN","components":{"db":{"status":"DOWN"}}}');
      },
      '/drain?now=1': (answer) => answer.writeHead(503, { 'x-drain': '1' }).end(),
      '/busy': (answer) => answer.writeHead(429).end(),
      '/name': (answer) => answer.writeHead(200, { 'x-service': 'stock' }).end(),
      '/with%20space': (answer) => answer.end(),
    };
    await using origin = await httpOrigin((request, response) => answers[request.url ?? '']?.(response));
    const expectation = { requiredChecks: [], optionalChecks: [], identity: 'shop' };
    for (const [path, result] of [
      ['/health', 'warn: check cache failing'],
      ['/spring', 'explicit: status 503, check db failing'],
      ['/drain?now=1', 'drain: the instance says that it drains'],
      ['/busy', 'void: status 429'],
      ['/with space', 'pass: '],
    ] as const) {
      using watch = new Watch();
      expect(await watch.first(target(origin.url, { path }))).toBe(result);
    }
    using watch = new Watch();
    expect(await watch.first(target(origin.url, { path: '/name', expectation }))).toBe(
      'explicit: another service answers at this address',
    );
  });

  it('hears what the answer tells of the load, if the instance is in use by it', async () => {
    const field = { 'endpoint-load-metrics': 'TEXT application_utilization=1.2' };
    const health = { 'content-type': 'application/health+json' };
    await using origin = await httpOrigin(({ url }, response) => {
      if (url === '/warns') response.writeHead(200, { ...field, ...health }).end('{"status":"warn"}');
      else if (url === '/drains') response.writeHead(503, { ...field, 'x-drain': '1' }).end();
      else if (url === '/silent') response.writeHead(200).end();
      else if (url === '/half') response.writeHead(200, { ...field, 'content-length': '100' }).write('half');
      else response.writeHead(Number(url?.slice(1)), field).end();
    });
    for (const [path, kind, utilization] of [
      ['/200', 'pass', 1.2],
      ['/429', 'void', 1.2],
      ['/warns', 'warn', 1.2],
      ['/drains', 'drain', 1.2],
      ['/silent', 'pass', -1],
      ['/503', 'explicit', -1],
      ['/404', 'absent', -1],
      ['/half', 'absent', -1],
    ] as const) {
      using watch = new Watch();
      await watch.first(target(origin.url, { path, timeoutMs: path === '/half' ? 200 : 10_000 }));
      expect([path, watch.seen.at(-1)?.evidence.kind, watch.seen.at(-1)?.utilization]).toEqual([
        path,
        kind,
        utilization,
      ]);
    }
    using watch = new Watch();
    const expectation = { requiredChecks: [], optionalChecks: [], identity: 'shop' };
    await watch.first(target(origin.url, { path: '/200', expectation }));
    expect(watch.seen.at(-1)).toMatchObject({ evidence: { kind: 'explicit' }, utilization: -1 });
  });

  it('has a connection of its own each time, and leaves none behind', async () => {
    const requests: IncomingMessage[] = [];
    await using origin = await httpOrigin((request, response) => {
      requests.push(request);
      response.end();
    });
    using watch = new Watch();
    watch.prober.configure([target(origin.url, { intervalMs: 50 })]);
    await watch.count(5);
    expect(new Set(requests.map(({ socket }) => socket)).size).toBe(requests.length);
    expect(requests[0]?.headers).toMatchObject({ connection: 'close', 'user-agent': 'spillway-probe' });
    watch.prober.stop();
    await eventually('all connections are closed', () => origin.sockets.size === 0);
  });
});
