/**
 * The faults of `chaos`, each with what is expected of the gateway, in figures.
 *
 * Half of what the instances can do is sent, so four of five still serve it. Some two requests are in flight at an instance;
 * POSTs among them die with it, since nobody may send them again: that is why some rows allow a few, and GETs none.
 */
import { setTimeout as pause } from 'node:timers/promises';

import type { NameServer } from '../../test/harness/dnsmasq.ts';
import type { RollingInstance } from '../../test/harness/rolling-instance.ts';
import type { Hypothesis } from './chaos-verdict.ts';
import { PROBE_MS } from './stage.ts';

/** What stands around the instances. */
export interface Surroundings {
  /** Process id. */
  readonly supervisor: number;
  /** Of the experiment that finds its instances by name. */
  readonly names: NameServer | undefined;
  readonly hosts: readonly string[];
}

interface Experiment {
  readonly fault: string;
  readonly hypothesis: Hypothesis;
  /** Keys of the service beside those of all. */
  readonly more?: string;
}

/** To instances, and to the like of one behind the bare proxy. */
interface Strike extends Experiment {
  readonly strikes: 'one' | 'all';
  /** Until `mended`, which is for what goes on by itself. */
  readonly strike: (instance: RollingInstance, mended: AbortSignal) => Promise<unknown>;
  /** `again`: another process is started on its address. */
  readonly mend: 'again' | ((instance: RollingInstance) => Promise<unknown> | void);
}

interface Disturbance extends Experiment {
  readonly strikes: 'surroundings';
  readonly byName?: boolean;
  readonly disturb: (around: Surroundings) => Promise<unknown> | void;
  readonly settle: (around: Surroundings) => Promise<unknown> | void;
}

export type ChaosExperiment = Strike | Disturbance;

export const PROBE_TIMEOUT_MS = 200;
/** States are looked at from outside. */
const LOOK_MS = 50;
/** Probes are spread by a tenth. */
const INTERVAL_MS = 1.1 * PROBE_MS;
/** Min(2 s, 2 intervals), and the probe that ends it. */
const HOLD_MS = 2 * PROBE_MS + INTERVAL_MS;
/** The first ejection, of 1 s here, ± 25 %, and the second, for who is still sick then. */
const EJECTED_MS = 1.25 * (1000 + 2000);
const CALM_P99_MS = 500;
/** Before it is known what an instance answers: its 25 requests/s for half a second, those in flight, and chance. */
const PRICE = { gets: 20, posts: 5 };

/** What nobody notices. */
const UNNOTICED: Hypothesis = {
  gets: 0,
  posts: 0,
  laterShare: 0,
  laterP99Ms: CALM_P99_MS,
  never: ['down', 'unready', 'ejected', 'draining', 'gone'],
  backMs: INTERVAL_MS + LOOK_MS,
};

/** What costs what was on its way to one instance. */
const ONE_LESS = { ...UNNOTICED, posts: 3, never: [] };

const DEPENDENCY = 'dependsOn: [{ check: database, mode: required }]';

export const EXPERIMENTS: readonly ChaosExperiment[] = [
  {
    fault: 'SIGKILL',
    hypothesis: {
      ...ONE_LESS,
      out: { state: 'down', withinMs: 2 * INTERVAL_MS + LOOK_MS },
      backMs: HOLD_MS + LOOK_MS,
    },
    strikes: 'one',
    strike: (instance) => instance.kill(),
    mend: 'again',
  },
  {
    fault: 'SIGSTOP',
    hypothesis: {
      ...UNNOTICED,
      never: [],
      out: { state: 'down', withinMs: 2 * (INTERVAL_MS + PROBE_TIMEOUT_MS) + LOOK_MS },
      backMs: HOLD_MS + LOOK_MS,
    },
    strikes: 'one',
    strike: async (instance) => instance.signal('SIGSTOP'),
    mend: (instance) => instance.signal('SIGCONT'),
  },
  {
    fault: 'port closed',
    hypothesis: {
      ...ONE_LESS,
      posts: 1,
      out: { state: 'down', withinMs: 2 * INTERVAL_MS + LOOK_MS },
      backMs: HOLD_MS + LOOK_MS,
    },
    strikes: 'one',
    strike: (instance) => instance.set({ listening: false }),
    mend: (instance) => instance.set({ listening: true }),
  },
  {
    fault: 'port closed and open in turns of 300 ms',
    hypothesis: { ...ONE_LESS, changes: 6, out: { state: 'down', withinMs: 1500 }, backMs: 7000 },
    strikes: 'one',
    strike: async (instance, mended) => {
      for (let open = false; !mended.aborted; open = !open) {
        await instance.set({ listening: open });
        await pause(300);
      }
    },
    mend: (instance) => instance.set({ listening: true }),
  },
  {
    fault: 'probe says 200, everything else is answered 500 at once',
    hypothesis: {
      ...ONE_LESS,
      ...PRICE,
      laterShare: 0.01,
      out: { state: 'ejected', withinMs: 1000 + LOOK_MS },
      backMs: EJECTED_MS + LOOK_MS,
    },
    strikes: 'one',
    strike: (instance) => instance.set({ status: 500, meanMs: 0 }),
    mend: (instance) => instance.set({ status: 200, meanMs: 80 }),
  },
  {
    fault: 'probe says 503, everything else is answered well',
    hypothesis: {
      ...UNNOTICED,
      never: ['down', 'ejected'],
      out: { state: 'unready', withinMs: INTERVAL_MS + LOOK_MS },
      backMs: HOLD_MS + LOOK_MS,
    },
    strikes: 'one',
    strike: (instance) => instance.set({ probeStatus: 503 }),
    mend: (instance) => instance.set({ probeStatus: 200 }),
  },
  {
    fault: 'another service on its address',
    hypothesis: {
      ...ONE_LESS,
      ...PRICE,
      out: { state: 'unready', withinMs: INTERVAL_MS + LOOK_MS },
      backMs: HOLD_MS + LOOK_MS,
    },
    strikes: 'one',
    strike: (instance) => instance.set({ service: 'another' }),
    mend: (instance) => instance.set({ service: 'shop' }),
  },
  {
    fault: 'idle connections half closed after 20 ms',
    hypothesis: { ...UNNOTICED, posts: 1 },
    strikes: 'all',
    strike: (instance) => instance.set({ halfCloseMs: 20 }),
    mend: (instance) => instance.set({ halfCloseMs: 0 }),
  },
  {
    fault: 'a shared dependency is down, probes tell',
    hypothesis: {
      gets: Infinity,
      posts: Infinity,
      laterShare: 1,
      laterP99Ms: Infinity,
      refusal: { code: 'SPW_DEPENDENCY_DOWN', p99Ms: 5 },
      never: ['ejected'],
      backMs: HOLD_MS + LOOK_MS,
    },
    more: DEPENDENCY,
    strikes: 'all',
    strike: (instance) => instance.set({ status: 500, failingCheck: 'database' }),
    mend: (instance) => instance.set({ status: 200, failingCheck: '' }),
  },
  {
    fault: 'a shared dependency is down, probes do not tell',
    hypothesis: {
      ...UNNOTICED,
      gets: Infinity,
      posts: Infinity,
      laterShare: 1,
      // Twice opened for 2 and 4 s, ± 25 %, and the trial.
      backMs: 7600,
    },
    strikes: 'all',
    strike: (instance) => instance.set({ status: 500 }),
    mend: (instance) => instance.set({ status: 200 }),
  },
  {
    fault: 'the supervisor stands still',
    hypothesis: UNNOTICED,
    strikes: 'surroundings',
    disturb: ({ supervisor }) => void process.kill(supervisor, 'SIGSTOP'),
    settle: ({ supervisor }) => void process.kill(supervisor, 'SIGCONT'),
  },
  {
    fault: 'DNS knows nobody any more',
    hypothesis: { ...UNNOTICED, figure: /^spillway_discovery_faults_total\{.*kind="empty".*\} [1-9].*$/m },
    strikes: 'surroundings',
    byName: true,
    disturb: ({ names }) => names?.serve({}),
    settle: ({ names, hosts }) => names?.serve({ hosts: { 'shop.test': hosts } }),
  },
];
