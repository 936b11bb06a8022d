import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FleetControl } from '../../src/io/fleet-control.ts';
import { Meter } from '../../src/io/meter.ts';
import { FIRST_LOOKS, type ProbeTarget } from '../../src/io/prober.ts';
import { seededRandom } from '../../src/kernel/random.ts';
import { Fleet } from '../../src/upstreams/fleet.ts';
import { loaded } from '../unit/config/load-text.ts';
import { policyOf } from '../unit/upstreams/fleet-model.ts';
import { freePorts } from '../harness/ports.ts';
import { closedPort, httpOrigin, listening, target, tcpOrigin, Watch } from './prober-watch.ts';

/** Nothing of this process runs meanwhile. */
function block(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}

/** Lets everything run that is due. */
async function tick(): Promise<void> {
  await new Promise((resolve) => {
    setTimeout(resolve, 5);
  });
}

function many(count: number): ProbeTarget[] {
  return Array.from({ length: count }, (_, index) => target('http://127.0.0.1:1', { id: `i${index}:80` }));
}

describe('the prober', () => {
  it('asks each in its rhythm, ten per cent around the interval', async () => {
    await using origin = await tcpOrigin(() => undefined);
    using watch = new Watch();
    watch.prober.configure([target(origin.url, { path: null, intervalMs: 200 })]);
    const seen = await watch.count(8);
    const gaps = seen.slice(1).map(({ at }, index) => at - (seen[index]?.at ?? 0));
    // A busy machine lengthens some gaps, and so shortens the next: the middle one is the rhythm.
    const median = gaps.toSorted((a, b) => a - b)[Math.floor(gaps.length / 2)];
    expect(median).toBeGreaterThan(170);
    expect(median).toBeLessThan(260);
    expect(new Set(gaps.map((gap) => Math.round(gap))).size).toBeGreaterThan(1);
  });

  it('runs at most fifty at once, and all in the end', async () => {
    let most = 0;
    let begun = 0;
    // Counted by what the prober said, not by sockets: those end at the origin a while after they were given up.
    await using origin = await tcpOrigin(() => {
      most = Math.max(most, ++begun - watch.seen.length);
    });
    using watch = new Watch();
    const names = Array.from({ length: 130 }, (_, index) => `i${index}:80`);
    watch.prober.configure(names.map((id) => target(origin.url, { id, intervalMs: 60_000, timeoutMs: 150 })));
    await watch.until(() => new Set(watch.seen.map(({ id }) => id)).size === names.length);
    expect(most).toBeGreaterThan(25);
    expect(most).toBeLessThanOrEqual(50);
  });

  it('stretches intervals beyond five hundred probes a second', () => {
    using watch = new Watch();
    watch.prober.configure(many(500));
    expect(watch.prober.stretch).toBe(1);
    watch.prober.configure(many(2000));
    expect(watch.prober.stretch).toBe(4);
  });

  it('says once that there are more instances than it can ask so often', () => {
    const faults: string[] = [];
    const control = new FleetControl({
      now: () => performance.now(),
      random: seededRandom(1),
      meter: new Meter(),
      onStates: () => undefined,
      onLoads: () => undefined,
      onFault: (reason) => faults.push(reason),
    });
    for (const count of [50, 51, 60]) {
      expect(faults).toHaveLength(count > 51 ? 1 : 0);
      const urls = Array.from({ length: count }, (_, index) => `http://127.0.0.1:${index + 1}`);
      control.configure(
        loaded(`listeners: [{ port: 8080 }]
services: { shop: { instances: [${urls.join(', ')}], readiness: { interval: 100ms, timeout: 50ms } } }
routes: [{ path: /, service: shop }]
`),
        count === 50,
      );
    }
    control.stop();
    expect(faults).toEqual([expect.stringContaining('less often than `readiness.interval`')]);
  });

  it('asks no more what is not on its list, nor anything once stopped', async () => {
    let asked = 0;
    await using origin = await httpOrigin((_request, response) => {
      asked++;
      response.end();
    });
    await using other = await httpOrigin((_request, response) => response.end());
    using watch = new Watch();
    const short = { intervalMs: 20 };
    watch.prober.configure([target(origin.url, short), target(other.url, short)]);
    await watch.until(({ id }) => id === new URL(origin.url).host);
    watch.prober.configure([target(other.url, short)]);
    const before = asked;
    const from = watch.seen.length;
    await watch.count(from + 10);
    expect(watch.seen.slice(from).every(({ id }) => id === new URL(other.url).host)).toBe(true);
    expect(asked - before).toBeLessThanOrEqual(1); // one may have been on its way
    watch.prober.stop();
    const after = watch.seen.length;
    block(60);
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    expect(watch.seen).toHaveLength(after);
  });

  it('keeps the rhythm of what stays on the list', async () => {
    await using origin = await tcpOrigin(() => undefined);
    using watch = new Watch();
    const same = target(origin.url, { path: null, intervalMs: 300 });
    watch.prober.configure([same]);
    const [first] = await watch.count(1);
    for (let at = 0; at < 5; at++) watch.prober.configure([{ ...same }]);
    const [, second] = await watch.count(2);
    expect((second?.at ?? 0) - (first?.at ?? 0)).toBeGreaterThan(200);
  });

  it('a timeout while our own loop was late is void', async () => {
    await using origin = await tcpOrigin(() => undefined);
    using watch = new Watch();
    watch.prober.configure([target(origin.url, { timeoutMs: 100 })]);
    setTimeout(() => {
      block(300);
    }, 50);
    const [seen] = await watch.count(1);
    expect(seen?.evidence).toMatchObject({ kind: 'void', reason: 'our own loop was late' });
  });

  it('asks again soon what is doubted, the first time in a row, and then in its rhythm', async () => {
    await using origin = await httpOrigin((_, response) => response.writeHead(404).end());
    // In its rhythm the second look would come in ten minutes; the first that is believed is confirmed soon as well.
    const far = target(origin.url, { intervalMs: 600_000 });
    let doubts = 1;
    using once = new Watch(() => doubts-- > 0);
    once.prober.configure([far]);
    expect(await once.count(3)).toHaveLength(3);
    using always = new Watch(() => true);
    always.prober.configure([far]);
    await always.count(2);
    await new Promise((resolve) => setTimeout(resolve, 600));
    expect(always.seen).toHaveLength(2);
    // Behind one that is believed, and confirmed, the next doubt is a first one.
    let looks = 0;
    using inTurns = new Watch(() => looks++ % 2 === 0);
    inTurns.prober.configure([far]);
    expect(await inTurns.count(4)).toHaveLength(4);
  });

  it('hurries to an instance whose traffic fails, once an interval, and not while it is being asked', async () => {
    let hits = 0;
    await using origin = await httpOrigin((_, response) => {
      hits++;
      response.end();
    });
    using watch = new Watch();
    const far = target(origin.url, { intervalMs: 600_000 });
    watch.prober.configure([far]);
    const [first] = await watch.count(1);
    watch.prober.hurry('shop', far.id); // just asked: says nothing new
    while (performance.now() - (first?.at ?? 0) < 300) await tick();
    expect(hits).toBe(1);
    watch.prober.hurry('shop', far.id);
    await watch.count(2);
    const second = performance.now();
    while (performance.now() - second < 300) await tick();
    watch.prober.hurry('shop', far.id);
    watch.prober.hurry('shop', 'unknown:80');
    while (performance.now() - second < 400) await tick();
    expect(hits).toBe(2);
  });

  it('hurries to all instances of one service, up to fifty, and to no other', async () => {
    await using origin = await httpOrigin((_, response) => response.end());
    using watch = new Watch();
    const far = { intervalMs: 600_000 };
    const few = Array.from({ length: 5 }, (_, index) => target(origin.url, { ...far, id: `few${index}:80` }));
    const others = ['many', 'else'].flatMap((service) =>
      Array.from({ length: service === 'many' ? 51 : 1 }, (_, index) =>
        target(origin.url, { ...far, service, id: `${service}${index}:80` }),
      ),
    );
    watch.prober.configure([...few, ...others]);
    const [last] = (await watch.count(57)).slice(-1);
    while (performance.now() - (last?.at ?? 0) < 300) await tick();
    watch.prober.hurryAll('many');
    watch.prober.hurryAll('shop');
    const again = (await watch.count(62)).slice(57);
    expect(again.map(({ id }) => id).toSorted()).toEqual(few.map(({ id }) => id));
  });

  it('a first look that says nothing is repeated soon, a few times, and then in the rhythm', async () => {
    let hits = 0;
    let status = 429;
    await using origin = await httpOrigin((_, response) => {
      hits++;
      response.writeHead(status).end();
    });
    using watch = new Watch();
    // In its rhythm the second look would come in ten minutes.
    watch.prober.configure([target(origin.url, { intervalMs: 600_000 })]);
    const seen = await watch.count(FIRST_LOOKS);
    expect(seen.map(({ evidence }) => evidence.kind)).toEqual(seen.map(() => 'void'));
    await new Promise((resolve) => setTimeout(resolve, 600));
    expect(hits).toBe(FIRST_LOOKS);
    status = 200;
    using other = new Watch();
    other.prober.configure([target(origin.url, { intervalMs: 600_000 })]);
    await other.count(1);
    await new Promise((resolve) => setTimeout(resolve, 600));
    expect(other.seen).toHaveLength(1);
  });

  it('an answer that came while our loop was busy counts, though its timer ran out', async () => {
    const script = `
      const server = require('node:http').createServer((request, response) => {
        process.send('asked');
        setTimeout(() => response.end('ok'), 40);
      });
      server.listen(0, '127.0.0.1', () => process.send(server.address().port));`;
    const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    try {
      const [port] = (await once(child, 'message')) as [number];
      using watch = new Watch();
      watch.prober.configure([target(`http://127.0.0.1:${port}`, { timeoutMs: 2000 })]);
      await once(child, 'message');
      block(2100);
      const [seen] = await watch.count(1);
      expect(seen?.evidence).toMatchObject({ kind: 'pass' });
    } finally {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  });

  it('a fleet loses a killed instance and gets it back, gently', async () => {
    const fleets: Fleet[] = [];
    const states: string[] = [];
    using watch = new Watch((id, evidence, now) => {
      const [fleet] = fleets;
      const isDoubted = fleet?.probe(id, evidence, now) ?? false;
      const state = fleet?.views(now)[0]?.state ?? 'none';
      if (states.at(-1) !== state) states.push(state);
      return isDoubted;
    });
    const [port = 0] = await freePorts(1);
    const first = await httpOrigin((_request, response) => response.end(), port);
    const readiness = { intervalMs: 200, timeoutMs: 100, rise: 2, fall: 2 };
    const instances = [{ url: first.url, version: '', weight: 1 }];
    fleets.push(new Fleet(policyOf(0, { instances, readiness }), seededRandom(1), performance.now(), true));
    watch.prober.configure([target(first.url, { intervalMs: 200 })]);
    await watch.until(() => states.includes('ready'));
    await first[Symbol.asyncDispose]();
    await watch.until(() => states.includes('down'));
    await using _second = await httpOrigin((_request, response) => response.end(), first.port);
    await watch.until(() => states.includes('warming'));
    expect(states).toEqual(['ready', 'down', 'warming']);
  });
});

describe('probes of https instances', () => {
  let folder = '';
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'spillway-probe-'));
    const subject = ['-subj', '/CN=shop.test', '-addext', 'subjectAltName=DNS:shop.test'];
    const files = ['-keyout', join(folder, 'a.key'), '-out', join(folder, 'a.pem')];
    const kind = [
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-nodes',
      '-days',
      '2',
    ];
    execFileSync('openssl', ['req', ...kind, ...subject, ...files], { stdio: 'ignore' });
  });
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });

  const noTls = { ca: null, cert: null, key: null, serverName: null };

  it('verify the certificate against the authority and the name', async () => {
    const options = { cert: readFileSync(join(folder, 'a.pem')), key: readFileSync(join(folder, 'a.key')) };
    const server = createServer(options, (_request, response) => response.end());
    await using origin = await listening(server, 0, 'https');
    const ca = join(folder, 'a.pem');
    for (const [tls, result] of [
      [undefined, 'absent: connection failed: DEPTH_ZERO_SELF_SIGNED_CERT'],
      [{ ...noTls, ca }, 'absent: connection failed: ERR_TLS_CERT_ALTNAME_INVALID'],
      [{ ...noTls, ca, serverName: 'shop.test' }, 'pass: '],
    ] as const) {
      using watch = new Watch();
      expect(await watch.first(target(origin.url, { tls }))).toBe(result);
    }
  });

  it('a missing file is told at once and changes nothing', async () => {
    const url = await closedPort();
    using watch = new Watch();
    watch.prober.configure([target(url, { intervalMs: 20 })]);
    const tls = { ...noTls, ca: join(folder, 'none.pem') };
    expect(() => {
      watch.prober.configure([target('https://127.0.0.1:1', { tls })]);
    }).toThrow('ENOENT');
    await watch.count(3);
  });
});
