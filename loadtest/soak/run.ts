/**
 * `npm run loadtest -- soak [--minutes 20]`: twenty minutes of everything at once, then quiet, then the count.
 *
 * In order: a gateway of two workers before four instances and a Redis; half a minute of warming up and a rest, at which the *start* is
 * taken; the load with all that the timeline does; the callers stop and leave their kept-alive connections to the gateway; 70 s
 * of quiet, five more than such a connection may idle; the end is taken and compared.
 *
 * The rate is fixed and open: 70 % of what a machine of two cores does with callers and instances on it. All processes are
 * children of this one and end with it, by their ids, also at Ctrl-C.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { closeSync, openSync } from 'node:fs';
import { get } from 'node:http';
import { dirname, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { startGateway } from '../../test/harness/gateway.ts';
import type { Gateway } from '../../test/harness/gateway.ts';
import { freePorts } from '../../test/harness/ports.ts';
import { startProcess } from '../../test/harness/process.ts';
import type { RunningProcess } from '../../test/harness/process.ts';
import { RedisServer } from '../../test/harness/redis.ts';
import type { Judged } from '../overload/judge.ts';
import { formatted, outcomeOf, wanted } from '../overload/rows.ts';
import type { Row } from '../overload/rows.ts';
import { aligned, describeMachine, machineLines } from '../report.ts';
import { makeCertificates, soakYaml, VARIANTS } from './configuration.ts';
import { injectFaults, startInstance } from './faults.ts';
import type { Done } from './faults.ts';
import { INSPECTED_ENV, Inspector } from './inspector.ts';
import { allProcessRows, answerRows, processNotes, restRows, sorted } from './judge.ts';
import type { Compared } from './judge.ts';
import { loggedFaults } from './log-faults.ts';
import type { CallersSettings, FromCallers, ToCallers } from './outcomes.ts';
import { soakPage } from './page.ts';
import type { SoakReport } from './page.ts';
import { Recorder } from './recorder.ts';
import { holdings, settledProcess } from './settled.ts';
import type { Holdings, SettledProcess } from './settled.ts';
import { timeline } from './timeline.ts';

export const SOAK_USAGE =
  'or, by itself: npm run loadtest -- soak [--minutes 20] [--rate CALLS_A_SECOND] [--seed N] [--html FILE] [--json FILE]';

const WORKERS = 2;
/** That are killed in turns; one more only leaves the list now and then. */
const KILLED_INSTANCES = 3;
const RATE_PER_SECOND = 600;
/** Until code is compiled, pools are open, and the ring of explained requests (4096 a worker) is full. */
const WARM_MS = 30_000;
const WARM_CALLS = 12_000;
/** Longer than an instance keeps an idle connection. */
const REST_MS = 12_000;
/** Five seconds more than a kept-alive connection may idle. */
const QUIET_MS = 70_000;
/** The end of the quiet in which not even the recorder asks: its own connections are to be gone. */
const OWN_MS = 7000;

export interface SoakPlan {
  readonly minutes: number;
  readonly ratePerSecond: number;
  readonly seed: number;
  readonly htmlFile: string;
  readonly jsonFile: string;
}

/** What to do, or a sentence about what was not understood. */
export function soakPlanFrom(args: readonly string[]): SoakPlan | string {
  let values;
  try {
    ({ values } = parseArgs({
      args: [...args],
      options: {
        minutes: { type: 'string', default: '20' },
        rate: { type: 'string', default: String(RATE_PER_SECOND) },
        seed: { type: 'string', default: '1' },
        html: { type: 'string', default: 'loadtest-report/soak.html' },
        json: { type: 'string', default: 'loadtest-report/soak.json' },
      },
    }));
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  const number = (text: string, least: number, most: number): number | undefined => {
    const value = Number(text);
    return Number.isFinite(value) && value >= least && value <= most ? value : undefined;
  };
  const minutes = number(values.minutes, 1, 1440);
  const ratePerSecond = number(values.rate, 10, 20_000);
  const seed = number(values.seed, 1, 1_000_000);
  if (minutes === undefined) return '--minutes is 1 to 1440';
  if (ratePerSecond === undefined) return '--rate is 10 to 20000';
  if (seed === undefined || !Number.isInteger(seed)) return '--seed is 1 to 1000000';
  return { minutes, ratePerSecond, seed, htmlFile: values.html, jsonFile: values.json };
}

function say(text: string): void {
  process.stderr.write(`soak: ${text}\n`);
}

interface Callers {
  readonly running: RunningProcess;
  readonly start: (ratePerSecond: number) => void;
  /** Resolves when the last call has ended. */
  readonly stop: (close: boolean) => Promise<void>;
}

async function startCallers(
  settings: CallersSettings,
  take: (message: FromCallers) => void,
): Promise<Callers> {
  const script = fileURLToPath(new URL('callers.ts', import.meta.url));
  const running = await startProcess(process.execPath, [script, JSON.stringify(settings)], { ipc: true });
  const ready = Promise.withResolvers<void>();
  let idle = Promise.withResolvers<void>();
  running.child.on('message', (message: FromCallers) => {
    if (message.type === 'ready') ready.resolve();
    else if (message.type === 'idle') idle.resolve();
    else take(message);
  });
  void running.exited.then(() => {
    const ended = new Error(`the callers ended:\n${running.output()}`);
    ready.reject(ended);
    idle.reject(ended);
  });
  idle.promise.catch(() => undefined);
  await ready.promise;
  const tell = (message: ToCallers): void => void running.child.send(message);
  return {
    running,
    start: (ratePerSecond) => tell({ type: 'start', ratePerSecond }),
    stop: async (close) => {
      if (running.hasExited()) throw new Error(`the callers ended:\n${running.output()}`);
      idle = Promise.withResolvers<void>();
      tell({ type: 'stop', close });
      await idle.promise;
    },
  };
}

/** All that is no fault, once: the supervisor has read every variant and written pages of metrics when the start is taken. */
async function warmUp(gateway: Gateway, yaml: (variant: number) => string, ms: number): Promise<void> {
  const asking = setInterval(() => {
    pageOf(gateway.adminPort, '/metrics').catch(() => undefined);
  }, 4000);
  for (let step = 1; step <= VARIANTS; step += 1) {
    await pause(ms / (VARIANTS + 1));
    await gateway.rewrite(yaml(step % VARIANTS));
    await gateway.admin('/v1/reload', { method: 'POST' });
  }
  await pause(ms / (VARIANTS + 1));
  clearInterval(asking);
}

/** On a connection of its own: one that is kept alive would be counted among the supervisor's. */
async function pageOf(port: number, path: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const request = get({ port, path, host: '127.0.0.1', agent: false, timeout: 5000 }, (response) => {
    let text = '';
    response.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    response.once('error', reject);
    response.once('end', () => resolve(text));
  });
  request.once('timeout', () => request.destroy(new Error('no answer within 5 s')));
  request.once('error', reject);
  return promise;
}

async function takeStock(recorder: Recorder, inspector: Inspector): Promise<Map<number, SettledProcess>> {
  const stock = new Map<number, SettledProcess>();
  for (const course of recorder.running()) stock.set(course.pid, await settledProcess(course, inspector));
  return stock;
}

/** From each certificate's coming in place until a caller met it; the slowest. The last one may have come too late to be met. */
function slowestCertificateMs(done: Done, recorder: Recorder, endMs: number): number {
  let slowest = 0;
  for (const [index, { atMs, serial }] of done.swaps.entries()) {
    const nextMs = done.swaps[index + 1]?.atMs ?? endMs;
    const met = recorder.certificates.find((each) => each.atMs >= atMs && each.serials.includes(serial));
    if (met === undefined || met.atMs > nextMs + 2000) return Infinity;
    slowest = Math.max(slowest, met.atMs - atMs);
  }
  return done.swaps.length === 0 ? Infinity : slowest;
}

interface Soaked {
  readonly before: ReadonlyMap<number, SettledProcess>;
  readonly after: ReadonlyMap<number, SettledProcess>;
  readonly recorder: Recorder;
  readonly done: Done;
  readonly holdings: Holdings;
  readonly log: string;
  readonly shares: { readonly busy: number; readonly others: number };
  readonly endMs: number;
}

function compare({ before, after, done }: Soaked): Compared[] {
  const compared: Compared[] = [];
  for (const process of after.values()) {
    const start = before.get(process.pid === done.heir ? (done.killedWorker ?? 0) : process.pid);
    if (start !== undefined) compared.push({ name: process.name, before: start, after: process });
  }
  return compared;
}

function judgedRows(rows: readonly Row[]): Judged[] {
  const judged: Judged[] = [];
  for (const row of rows) judged.push({ ...row, outcome: outcomeOf(row) });
  return judged;
}

function reportOf(plan: SoakPlan, soaked: Soaked): SoakReport {
  const { recorder, done, endMs, shares } = soaked;
  const compared = compare(soaked);
  const faults = loggedFaults(soaked.log);
  const rows: Row[] = [
    ...answerRows({
      counts: recorder.counts,
      incidents: recorder.incidents,
      faults: recorder.faults,
      othersShare: shares.others,
    }),
    ...restRows({
      holdings: soaked.holdings,
      refusedReloads: done.refusedReloads.length,
      reloads: done.reloads.count,
      slowestCertificateMs: slowestCertificateMs(done, recorder, endMs),
      loggedFaults: faults.reduce((sum, { count }) => sum + count, 0),
    }),
    {
      what: 'processes that could be compared',
      unit: 'count',
      value: compared.length,
      bound: { least: WORKERS + 1 },
    },
    ...allProcessRows(compared, recorder.courses, endMs),
  ];
  const share = (part: number): string => `${(100 * part).toFixed(0)} %`;
  return {
    machine: describeMachine(),
    minutes: plan.minutes,
    ratePerSecond: plan.ratePerSecond,
    rows: judgedRows(rows),
    courses: recorder.courses,
    seconds: recorder.seconds,
    faults: recorder.faults,
    originMs: recorder.originMs,
    counts: Object.fromEntries(recorder.counts),
    unexplained: sorted(recorder.incidents, recorder.faults).get(undefined) ?? [],
    notes: [
      `all cores were ${share(shares.busy)} busy; programs other than this soak used ${share(shares.others)}`,
      `spoken with TLS callers that offered HTTP/2: ${[...recorder.protocols].map(([name, count]) => `${name} on ${count} connections`).join(', ')}`,
      `calls not begun since too many were open: ${recorder.skipped}`,
      `series of the page of metrics: ${soaked.holdings.series}`,
      ...done.refusedReloads.map((why) => `refused: ${why}`),
      ...soaked.holdings.notReady.map((which) => `not ready: ${which}`),
      ...faults.map(({ message, count }) => `logged ${count} times: ${message}`),
      ...compared.flatMap((each) => processNotes(each)),
    ],
  };
}

async function soak(plan: SoakPlan): Promise<SoakReport> {
  await using resources = new AsyncDisposableStack();
  const certificates = resources.use(await makeCertificates());
  const redis = resources.adopt(await RedisServer.start(), (server) => server.stop());
  const [tlsPort = 0, extraPort = 0, guestPort = 0, ...ports] = await freePorts(4 + KILLED_INSTANCES);
  const instances: { port: number; running: RunningProcess }[] = [];
  resources.defer(async () => {
    for (const { running } of instances) await running.kill();
  });
  for (const port of [...ports, guestPort]) instances.push({ port, running: await startInstance(port) });
  const url = (port: number): string => `http://127.0.0.1:${port}`;
  const places = { tlsPort, extraPort, redisUrl: redis.url, ...certificates, workers: WORKERS };
  const yaml = (variant: number): string =>
    soakYaml({ ...places, shop: ports.map(url), guest: url(guestPort) }, variant);
  const logFile = join(dirname(certificates.certFile), 'gateway.log');
  const logFd = openSync(logFile, 'w');
  resources.defer(() => closeSync(logFd));
  const gateway = resources.use(await startGateway(yaml(0), { env: INSPECTED_ENV, stdoutFd: logFd }));
  const inspector = new Inspector(gateway.logs);
  const recorder = new Recorder(gateway.pid, () => pageOf(gateway.adminPort, '/metrics'), inspector);
  const settings = { port: gateway.port, tlsPort, caFile: certificates.caFile, seed: plan.seed };
  const callers = await startCallers(settings, (message) => recorder.take(message));
  resources.defer(async () => {
    await callers.running.kill();
  });

  const warmMs = Math.max(WARM_MS, (WARM_CALLS / plan.ratePerSecond) * 1000);
  say(`warming up for ${(warmMs / 1000).toFixed(0)} s`);
  callers.start(plan.ratePerSecond);
  await warmUp(gateway, yaml, warmMs);
  await callers.stop(true);
  await pause(REST_MS);
  say('the start is taken');
  const before = await takeStock(recorder, inspector);

  const endMs = plan.minutes * 60_000;
  recorder.start();
  callers.start(plan.ratePerSecond);
  say(`${plan.minutes} minutes of load with everything that can happen`);
  const isOver = (): boolean => callers.running.hasExited() || gateway.process.hasExited();
  const around = {
    gateway,
    redis,
    certificates,
    instances: instances.slice(0, KILLED_INSTANCES),
    extraPort,
    yaml,
    recorder,
  };
  const progress = setInterval(() => say(progressLine(recorder, gateway)), 60_000);
  const done = await injectFaults(timeline(plan.minutes, KILLED_INSTANCES, VARIANTS), around, isOver);
  while (recorder.nowMs < endMs && !isOver()) await pause(250);
  clearInterval(progress);
  if (gateway.process.hasExited()) throw new Error(`the gateway ended:\n${gateway.logs()}`);
  const shares = recorder.machineShares();
  say('the callers stop');
  await callers.stop(false);
  await gateway.rewrite(yaml(0));
  await gateway.admin('/v1/reload', { method: 'POST' });
  say(`${QUIET_MS / 1000} s of quiet`);
  await pause(QUIET_MS - OWN_MS);
  recorder.stop();
  await pause(OWN_MS);
  const after = await takeStock(recorder, inspector);
  const held = await holdings(gateway);
  const log = await readFile(logFile, 'utf8');
  return reportOf(plan, { before, after, recorder, done, holdings: held, log, shares, endMs });
}

function progressLine(recorder: Recorder, gateway: Gateway): string {
  const { seconds, incidents, faults } = recorder;
  const last = recorder
    .running()
    .map(({ name, looks }) => `${name} ${((looks.at(-1)?.residentBytes ?? 0) / 2 ** 20).toFixed(0)} MiB`);
  const findings = sorted(incidents, faults).get(undefined) ?? [];
  const byHow = Object.entries(Object.groupBy(findings, ({ kind, how }) => `${kind} ${how}`));
  const worst = byHow
    .map(([what, each = []]) => [what, each.length] as const)
    .toSorted((a, b) => b[1] - a[1]);
  const unexplained = [
    findings.length,
    ...worst.slice(0, 4).map(([what, count]) => `${what}: ${count}`),
  ].join(', ');
  const calls = seconds.reduce((sum, { ok, left, refused, failed }) => sum + ok + left + refused + failed, 0);
  return `${(recorder.nowMs / 60_000).toFixed(0)} min: ${calls} calls, ${incidents.length} incidents, unexplained ${unexplained}; ${last.join(', ')}${gateway.process.hasExited() ? '; THE GATEWAY HAS ENDED' : ''}`;
}

/** The exit code: 0 when every bound is kept, 6 when one is missed, 2 for a word that is not understood. */
export async function runSoak(args: readonly string[]): Promise<number> {
  const plan = soakPlanFrom(args);
  if (typeof plan === 'string') {
    process.stderr.write(`${plan}\n${SOAK_USAGE}\n`);
    return 2;
  }
  const report = await soak(plan);
  process.stdout.write(`${machineLines(report.machine)}\n\n`);
  const lines = report.rows.map((row) => [
    row.outcome === 'missed' ? 'MISSED' : row.outcome,
    row.what,
    formatted(row.value, row.unit),
    wanted(row),
  ]);
  process.stdout.write(`${aligned(lines)}\n\n${report.notes.join('\n')}\n\n`);
  for (const [file, text] of [
    [plan.jsonFile, `${JSON.stringify(report)}\n`],
    [plan.htmlFile, soakPage(report)],
  ] as const) {
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, text);
  }
  process.stdout.write(`report: ${plan.htmlFile}, ${plan.jsonFile}\n`);
  const missed = report.rows.filter(({ outcome }) => outcome === 'missed').length;
  process.stdout.write(missed === 0 ? 'every bound is kept\n' : `${missed} bound(s) missed\n`);
  return missed === 0 ? 0 : 6;
}
