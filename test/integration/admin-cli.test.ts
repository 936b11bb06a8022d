import { spawn } from 'node:child_process';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { beforeEach, describe, expect, test } from 'vitest';
import { freePorts } from '../harness/ports.ts';
import type { ServiceView } from '../../src/io/admin-port.ts';
import { adminBench } from './admin-bench.ts';
import { serviceView } from './admin-port-double.ts';

const TOKEN = 'a-long-secret-token';
const PROGRAM = new URL('../../src/cli/program.ts', import.meta.url).href;
/** The command line as a process; `TTY` makes it believe in a terminal. */
const MAIN = `
  const { runCli } = await import(${JSON.stringify(PROGRAM)});
  const stdout = process.env.TTY === undefined ? undefined : { isTTY: true, rows: 40, columns: 120, write: (text) => process.stdout.write(text) };
  process.exit(await runCli(process.argv.slice(1), { run: async () => 0, stdout }));
`;

interface Ended {
  code: number | null;
  out: string;
  err: string;
}

interface Running {
  ended: Promise<Ended>;
  out: () => string;
  err: () => string;
  signal: (signal: NodeJS.Signals) => void;
  /** Resolves when `seen` holds, asked at each piece of output. */
  until: (seen: () => boolean) => Promise<void>;
}

function start(argv: readonly string[], env: Readonly<Record<string, string>>): Running {
  const child = spawn(process.execPath, ['--input-type=module', '-e', MAIN, '--', ...argv], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'], ...env },
  });
  let [out, err] = ['', ''];
  const watchers = new Set<() => void>();
  const told = (): void => {
    for (const watcher of watchers) watcher();
  };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
    told();
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text;
    told();
  });
  const ended = Promise.withResolvers<Ended>();
  child.once('close', (code) => {
    ended.resolve({ code, out, err });
  });
  return {
    ended: ended.promise,
    out: () => out,
    err: () => err,
    signal: (signal) => child.kill(signal),
    until: async (seen) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      const watcher = (): void => {
        if (seen()) resolve();
      };
      watchers.add(watcher);
      watcher();
      await promise;
      watchers.delete(watcher);
    },
  };
}

const bench = adminBench();

const here = (): Record<string, string> => {
  const { host, port } = bench.server.address;
  return { SPILLWAY_ADMIN: `http://${host}:${port}`, SPILLWAY_ADMIN_TOKEN: TOKEN };
};
const spillway = async (...argv: string[]): Promise<Ended> => await start(argv, here()).ended;

beforeEach(async () => {
  await bench.start({ token: TOKEN });
});

describe('status', () => {
  test('says in words how things are', async () => {
    const { code, out, err } = await spillway('status');
    expect([code, err]).toStrictEqual([0, '']);
    const lines = out.split('\n');
    expect(lines[0]).toBe('SLA met on 1 of 1 services; nothing is shed.');
    expect(out).toMatch(/^version +1\.2\.3 \(abc1234\)$/m);
    expect(out).toMatch(/^workers +2 of 2 ready, 1 restarts$/m);
    expect(out).toMatch(/^up since .*\(1m 1s\)$/m);
    expect(out).toMatch(/^shop +up +2\/2 +3 +31 +4 +closed$/m);
    expect(out).toMatch(/^shop +127\.0\.0\.1:9001 +v1 +ready +3 +0 +2$/m);
    expect(out).not.toContain('\u001b');
  });

  test('counts as ready who takes new sessions, and says who of them is new or warns', async () => {
    const inStates = (...states: string[]): ServiceView => ({
      ...serviceView(),
      instances: states.flatMap((state) => serviceView(0, 0, state).instances.slice(0, 1)),
    });
    bench.port.serviceViews = {
      started: inStates('warming', 'warming'),
      mixed: inStates('ready', 'degraded', 'warming', 'down'),
      drained: inStates('draining', 'gone'),
    };
    const { out } = await spillway('status');
    expect(out).toMatch(/^started +up +2\/2 \(2 warming\) /m);
    expect(out).toMatch(/^mixed +up +3\/4 \(1 warming, 1 degraded\) /m);
    expect(out).toMatch(/^drained +up +0\/1 /m);
  });

  test('--json is the document of the admin address', async () => {
    const { code, out } = await spillway('status', '--json');
    expect(code).toBe(0);
    expect(JSON.parse(out)).toStrictEqual(
      (await bench.ask('GET', '/v1/status', { headers: { authorization: `Bearer ${TOKEN}` } })).json,
    );
  });

  test('--admin and --token overrule the environment', async () => {
    const { host, port } = bench.server.address;
    const env = { SPILLWAY_ADMIN: 'http://127.0.0.1:1', SPILLWAY_ADMIN_TOKEN: 'wrong' };
    expect((await start(['status', '--admin', `${host}:${port}`, '--token', TOKEN], env).ended).code).toBe(0);
  });

  test('a wrong token is a failure that says what to do', async () => {
    const { code, out, err } = await start(['status'], { ...here(), SPILLWAY_ADMIN_TOKEN: 'wrong' }).ended;
    expect([code, out]).toStrictEqual([1, '']);
    expect(err).toContain('SPILLWAY_ADMIN_TOKEN');
    expect(err).not.toContain('wrong token value');
  });
});

describe('no gateway', () => {
  test.each([
    ['status'],
    ['top'],
    ['reload'],
    ['roll'],
    ['explain', 'x'],
    ['drain', 'shop/127.0.0.1:9001', '--wait'],
    ['undrain', 'shop/a:1'],
  ])('%s exits with 5 where nobody listens', async (...argv) => {
    const env = here();
    await bench.server.close();
    const { code, out, err } = await start(argv, env).ended;
    expect([code, out]).toStrictEqual([5, '']);
    expect(err).toMatch(
      /^spillway: no gateway reached at http:\/\/127\.0\.0\.1:\d+: nobody listens there\n$/,
    );
  });

  test('healthcheck exits with 1, since a container knows 0 and 1 only', async () => {
    const env = here();
    await bench.server.close();
    expect((await start(['healthcheck'], env).ended).code).toBe(1);
  });

  test('somebody else at the address is no gateway', async () => {
    const other = createServer((_, res) => res.end('<html>hello</html>'));
    await new Promise<void>((resolve) => {
      other.listen(0, '127.0.0.1', resolve);
    });
    const { port } = other.address() as AddressInfo;
    const { code, err } = await start(['status'], { SPILLWAY_ADMIN: `http://127.0.0.1:${port}` }).ended;
    expect(code).toBe(5);
    expect(err).toContain('not the admin address of a Spillway');
    other.close();
  });
});

describe('roll', () => {
  test('says how many workers are new', async () => {
    const { code, out } = await spillway('roll');
    expect([code, out]).toStrictEqual([0, 'rolled: 2 workers\n']);
    expect(bench.port.calls).toStrictEqual([['roll', 'admin 127.0.0.1']]);
  });

  test('a worker that could not be replaced is exit 1, with the reason', async () => {
    bench.port.rollView = { rolled: 1, failed: ['the new process 7 ended: exit code 1'] };
    const { code, out, err } = await spillway('roll');
    expect([code, out]).toStrictEqual([1, '']);
    expect(err).toBe('spillway: Not all workers were replaced: the new process 7 ended: exit code 1.\n');
  });
});

describe('reload', () => {
  test('prints what changed', async () => {
    const { code, out } = await spillway('reload');
    expect([code, out]).toStrictEqual([0, 'reloaded:\n  services.shop.sla: 250ms → 300ms\n']);
    expect(bench.port.calls).toStrictEqual([['reload', 'admin 127.0.0.1']]);
  });

  test('a broken file is exit 3 with all its faults', async () => {
    bench.port.reloadView = {
      ok: false,
      changes: [],
      refused: 'faults',
      faults: ['spillway.yaml:3:5: error: a', 'spillway.yaml:4:1: error: b'],
      warnings: [],
    };
    const { code, out, err } = await spillway('reload');
    expect([code, out]).toStrictEqual([3, '']);
    expect(err.split('\n').slice(0, 2)).toStrictEqual([
      'spillway.yaml:3:5: error: a',
      'spillway.yaml:4:1: error: b',
    ]);
  });

  test('a valid file that could not be put in force is exit 1, with the reason', async () => {
    bench.port.reloadView = {
      ok: false,
      changes: [],
      refused: 'not-serving',
      faults: ['the gateway is shutting down'],
      warnings: [],
    };
    const { code, out, err } = await spillway('reload');
    expect([code, out]).toStrictEqual([1, '']);
    expect(err).toBe(
      'the gateway is shutting down\nspillway: No reload now: the gateway is shutting down.\n',
    );
  });
});

describe('drain', () => {
  test('returns at once, and undrain takes it back', async () => {
    expect(await spillway('drain', 'shop/127.0.0.1:9001', '--ttl', '10m')).toMatchObject({
      code: 0,
      out: 'shop/127.0.0.1:9001: draining\n',
    });
    expect(await spillway('undrain', 'shop/[::1]:9002')).toMatchObject({
      code: 0,
      out: 'shop/[::1]:9002: enabled\n',
    });
    expect(bench.port.calls.map((call) => call.slice(1, 5))).toStrictEqual([
      ['shop', '127.0.0.1:9001', 'drain', 600_000],
      ['shop', '[::1]:9002', 'enable', undefined],
    ]);
  });

  test('an unknown service or instance is exit 1 and named', async () => {
    expect(await spillway('drain', 'none/127.0.0.1:9001')).toMatchObject({
      code: 1,
      out: '',
      err: 'spillway: There is no service "none".\n',
    });
    expect(await spillway('drain', 'shop/1.2.3.4:5')).toMatchObject({
      code: 1,
      err: 'spillway: Service "shop" has no instance "1.2.3.4:5".\n',
    });
  });

  test('--wait returns when requests and sessions are gone, not before', async () => {
    bench.port.serviceViews = { shop: serviceView(3, 2, 'draining') };
    const running = start(['drain', 'shop/127.0.0.1:9001', '--wait', '--json'], here());
    await running.until(() => running.err().includes('3 in flight, 2 sessions'));
    bench.port.serviceViews = { shop: serviceView(1, 1, 'draining', { streams: 1, drainLeftMs: 61_001 }) };
    await running.until(() =>
      running.err().includes('1 in flight (1 of them a stream), 1 session, 1m 2s left at most'),
    );
    // Sessions that were counted there and are served elsewhere by now are nobody to wait for.
    bench.port.serviceViews = { shop: serviceView(0, 2, 'draining', { sessionsLeft: 1, drainLeftMs: 900 }) };
    await running.until(() => running.err().includes('0 in flight, 1 session, 1s left at most'));
    expect(running.out()).toBe('');
    bench.port.serviceViews = { shop: serviceView(0, 2, 'draining', { sessionsLeft: 0, drainLeftMs: 0 }) };
    const { code, out } = await running.ended;
    expect(code).toBe(0);
    expect(JSON.parse(out)).toStrictEqual({
      service: 'shop',
      instance: '127.0.0.1:9001',
      command: 'drain',
      ttlMs: null,
      idle: true,
    });
  });

  test('--wait fails when somebody enables the instance again, or the time is over', async () => {
    bench.port.serviceViews = { shop: serviceView(3, 2, 'draining') };
    const running = start(['drain', 'shop/127.0.0.1:9001', '--wait'], here());
    await running.until(() => running.err().includes('3 in flight'));
    bench.port.serviceViews = { shop: serviceView(3, 2, 'ready') };
    const enabled = await running.ended;
    expect(enabled.code).toBe(1);
    expect(enabled.err).toContain('was enabled again');
    bench.port.serviceViews = { shop: serviceView(3, 2, 'draining') };
    const late = await spillway('drain', 'shop/127.0.0.1:9001', '--timeout', '600ms');
    expect(late.code).toBe(1);
    expect(late.err).toContain('is not idle in time');
  });
});

describe('explain, healthcheck and top', () => {
  test('explain prints a record, or says that it is forgotten', async () => {
    expect(await spillway('explain', 'req-1')).toMatchObject({
      code: 0,
      out: 'requestId  req-1\ndecision   shed\ncode       SPW_SHED_QUEUE_FULL\n',
    });
    expect(JSON.parse((await spillway('explain', 'req-1', '--json')).out)).toStrictEqual({
      requestId: 'req-1',
      decision: 'shed',
      code: 'SPW_SHED_QUEUE_FULL',
    });
    const forgotten = await spillway('explain', 'req/2?');
    expect(forgotten.code).toBe(1);
    expect(forgotten.err).toContain('remembers');
  });

  test('explain shows people a time and short figures, and programs what it got', async () => {
    const record = { wallMs: 1_795_249_579_856, durationMs: 30.006766999998945, limits: { waitMs: 12 } };
    bench.port.explain = async () => record;
    expect((await spillway('explain', 'req-1')).out).toBe(
      'time           2026-11-21T08:26:19.856Z\ndurationMs     30.007\nlimits.waitMs  12\n',
    );
    expect(JSON.parse((await spillway('explain', 'req-1', '--json')).out)).toStrictEqual(record);
  });

  test('healthcheck needs no token and follows readiness', async () => {
    const env = { SPILLWAY_ADMIN: here()['SPILLWAY_ADMIN'] ?? '' };
    expect(await start(['healthcheck'], env).ended).toMatchObject({ code: 0, out: 'ready\n' });
    bench.port.readiness = () => ({
      ready: false,
      checks: [{ name: 'workers', ok: false, detail: '0 of 2 listen' }],
    });
    const unready = await start(['healthcheck'], env).ended;
    expect(unready.code).toBe(1);
    expect(unready.err).toContain('workers');
  });

  test('top is one table where there is no terminal', async () => {
    const { code, out } = await spillway('top');
    expect(code).toBe(0);
    expect(out).toContain('SLA met on 1 of 1 services');
    expect(out).toMatch(/^shop +up +- +- +- +3 +31 +4 +closed$/m);
    // Mode, baseline, p50, p95, slowdown, who waits, their wait, shares refused, why the limit is what it is.
    expect(out).toMatch(
      /^shop +enforce +42 +63 +120 +1\.5 +0\/1\/3\/0 +1\.5 +0% +0% +0% +somebody waited and answers were quick: raised$/m,
    );
    expect(out).toMatch(/^shop +127\.0\.0\.1:9001 +v1 +ready +3 +0 +2$/m);
    expect(out).not.toContain('\u001b');
  });

  test('top on a terminal draws again with rates, and Ctrl-C leaves the terminal as it was', async () => {
    const running = start(['top'], { ...here(), TTY: '1' });
    // The double counts ten requests at each look: the second picture has a rate.
    await running.until(() => /shop +up +[1-9]\d* +0 +0 /.test(running.out()));
    running.signal('SIGINT');
    const { code, out } = await running.ended;
    expect(code).toBe(0);
    expect(out.startsWith('\u001b[?1049h')).toBe(true);
    expect(out.endsWith('\u001b[?25h\u001b[?1049l')).toBe(true);
  });

  test('top outlives a restart of the gateway and says so', async () => {
    await bench.server.close();
    // A port that no outgoing connection takes while nobody listens there.
    const [port = 0] = await freePorts(1);
    await bench.start({ token: TOKEN, port });
    const running = start(['top'], { ...here(), TTY: '1' });
    await running.until(() => running.out().includes('SERVICE'));
    await bench.server.close();
    await running.until(() => running.out().includes('no gateway reached'));
    await bench.start({ token: TOKEN, port });
    const before = running.out().length;
    await running.until(() => running.out().slice(before).includes('\u001b[HSpillway 1.2.3'));
    running.signal('SIGINT');
    expect((await running.ended).code).toBe(0);
  });
});
