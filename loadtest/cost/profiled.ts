/**
 * Where a request's CPU goes: a worker under `--cpu-prof` for a round that does not count, since sampling costs too. Its
 * samples are told by room beside what the kernel counted (rooms.ts), and drawn as they are.
 *
 * V8 takes a sample by a signal from another thread. Where that thread runs on another processor of a virtual machine, the
 * interrupt takes longer than many calls of ours, and the sample falls on the next call into the kernel: a loop of 3.3 µs of
 * arithmetic and one small write was seen as 92 % write; held on one processor, as 7 %. So the worker is held on one.
 */
import { spawnSync } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { cpuUs, mainThreadCpu } from '../cpu.ts';
import { flatOut } from '../flat-out.ts';
import { installed } from '../peers.ts';
import type { Figures } from '../measure.ts';
import { callsBetween } from './cpu-profile.ts';
import type { Call, CpuProfile } from './cpu-profile.ts';
import { flameGraph } from './flame-graph.ts';
import { CONNECTIONS } from './flat-turns.ts';
import { protectedYaml, returningCallers, startLogged } from './protected.ts';
import { costByRoom, ROOMS } from './rooms.ts';
import type { RoomName } from './rooms.ts';

const WARM_UP_SECONDS = 4;
const SECONDS = 3;
/** Half samples itself; double sees 6 000 samples of a three second run as half of that. */
const INTERVAL_US = 250;
/** The bare proxy on the machine that the budget was planned on: 196 to 229 µs. */
const DESIGN_BARE_US = 212;

interface Profile {
  /** False: this machine cannot, and the samples lean towards calls into the kernel. */
  readonly held: boolean;
  readonly root: Call;
  readonly answers: number;
  /** Of the worker's first thread and of its others, µs a request. */
  readonly cpuUs: number;
  readonly othersUs: number;
  readonly rooms: Readonly<Record<RoomName, number>>;
}

function nowUs(): number {
  return Number(process.hrtime.bigint()) / 1000;
}

/** All threads that it has; those to come inherit it. */
function holdOnOneProcessor(pid: number): boolean {
  const taskset = installed('taskset');
  if (taskset === undefined) return false;
  return spawnSync(taskset, ['-a', '-c', '-p', '0', String(pid)], { stdio: 'ignore' }).status === 0;
}

async function profileOf(originUrl: string, checkout: string | undefined): Promise<Profile> {
  const folder = await mkdtemp(join(tmpdir(), 'spillway-profile-'));
  try {
    const env = {
      NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${folder} --cpu-prof-interval=${INTERVAL_US}`,
    };
    const entry = checkout === undefined ? {} : { entry: join(checkout, 'src', 'main.ts') };
    await using ours = await startLogged(protectedYaml(originUrl), { env, ...entry });
    const { port } = ours.gateway;
    const [worker = 0] = ours.gateway.workerPids();
    const held = holdOnOneProcessor(worker);
    const requests = await returningCallers(port);
    const load = { port, connections: CONNECTIONS, requests };
    await flatOut({ ...load, seconds: WARM_UP_SECONDS });
    const fromUs = nowUs();
    const [before, allBefore] = [mainThreadCpu(worker), cpuUs(worker)];
    const { answers } = await flatOut({ ...load, seconds: SECONDS });
    const [after, allAfter] = [mainThreadCpu(worker), cpuUs(worker)];
    const untilUs = nowUs();
    await ours.finish();
    const file = (await readdir(folder)).find((name) => name.split('.')[3] === String(worker));
    if (file === undefined) throw new Error('the worker left no profile');
    const profile = JSON.parse(await readFile(join(folder, file), 'utf8')) as CpuProfile;
    const root = callsBetween(profile, fromUs, untilUs);
    const counted = {
      userUs: (after.userUs - before.userUs) / answers,
      systemUs: (after.systemUs - before.systemUs) / answers,
    };
    const cpu = counted.userUs + counted.systemUs;
    return {
      held,
      root,
      answers,
      cpuUs: cpu,
      othersUs: (allAfter - allBefore) / answers - cpu,
      rooms: costByRoom(root, answers, counted),
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

export interface Profiled {
  readonly figures: readonly Figures[];
  readonly html: readonly string[];
  readonly notes: readonly string[];
  readonly data: unknown;
}

/** `before`: another checkout, whose profile stands beside this one's. `bareUs`: the bare proxy's CPU a request here. */
export async function profiled(
  originUrl: string,
  before: string | undefined,
  bareUs: number,
): Promise<Profiled> {
  process.stderr.write('cost-request: a profile\n');
  const now = await profileOf(originUrl, undefined);
  const earlier = before === undefined ? undefined : await profileOf(originUrl, before);
  const all = [...(earlier === undefined ? [] : [earlier]), now];
  const figures = roomFigures(now, earlier, bareUs);
  const html = all.map((profile) =>
    flameGraph(
      profile.root,
      `${profile === now ? 'Now' : 'Before'}: where a worker's samples fell, callers above what they call; µs of the wall clock a request`,
      (timeUs) => timeUs / profile.answers,
    ),
  );
  return {
    figures: [figures],
    html,
    notes: [
      ...(now.held ? [] : ['taskset is not installed: the samples lean towards calls into the kernel']),
      `of the profile: samples each ${INTERVAL_US} µs by the wall clock, so in the flame graph calls that write to a socket are also charged with the time in which the kernel let the other side run; in the table "kernel" is the system time that the kernel counted, reads and waits included, and "outside of JavaScript" what is left of the user time`,
    ],
    data: all.map(({ held, answers, cpuUs: worker, othersUs, rooms }) => ({
      held,
      answers,
      cpuUs: worker,
      othersUs,
      rooms,
    })),
  };
}

function roomFigures(now: Profile, before: Profile | undefined, bareUs: number): Figures {
  const scale = bareUs / DESIGN_BARE_US;
  const rows = ROOMS.map(({ name, budgetUs }) => [
    name,
    now.rooms[name].toFixed(1),
    ...(before === undefined ? [] : [before.rooms[name].toFixed(1)]),
    budgetUs?.toFixed(0) ?? '–',
    budgetUs === undefined || Number.isNaN(scale) ? '–' : (budgetUs * scale).toFixed(1),
  ]);
  const planned = ROOMS.reduce((sum, { budgetUs }) => sum + (budgetUs ?? 0), 0);
  return {
    caption:
      'one worker, µs of CPU a request by room; the budget was planned where the bare proxy took 212 µs, the last column is as much of what it takes here',
    head: ['', 'found', ...(before === undefined ? [] : ['before']), 'budget', 'budget here'],
    rows: [
      ...rows,
      [
        'other threads of the worker, the sampling one too',
        now.othersUs.toFixed(1),
        ...(before === undefined ? [] : [before.othersUs.toFixed(1)]),
        '–',
        '–',
      ],
      [
        'first thread',
        now.cpuUs.toFixed(1),
        ...(before === undefined ? [] : [before.cpuUs.toFixed(1)]),
        planned.toFixed(0),
        (planned * scale).toFixed(1),
      ],
    ],
  };
}
