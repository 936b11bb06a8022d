/**
 * Experiments with faults: for each a hypothesis in figures (chaos-faults.ts), then the fault, injected into real processes
 * under half of the load that they bear, then the verdict. A row for each; what it missed is told in words.
 *
 * Every experiment begins with a gateway and five instances of its own, so that none meets what another has left behind. What
 * strikes instances also strikes one behind a bare `@fastify/http-proxy` with a fifth of the load, to show what its callers
 * would have had of it.
 */
import { setTimeout as pause } from 'node:timers/promises';

import { NameServer } from '../../test/harness/dnsmasq.ts';
import type { Gateway } from '../../test/harness/gateway.ts';
import type { RollingInstance } from '../../test/harness/rolling-instance.ts';
import { installed } from '../peers.ts';
import type { Measured, MeasureContext } from '../measure.ts';
import type { Row } from '../overload/rows.ts';
import { startTarget } from '../targets.ts';
import type { Target } from '../targets.ts';
import { EXPERIMENTS, PROBE_TIMEOUT_MS } from './chaos-faults.ts';
import type { ChaosExperiment } from './chaos-faults.ts';
import { checksOf, PHASES } from './chaos-verdict.ts';
import type { Check, Found } from './chaos-verdict.ts';
import { RollingLoad } from './load.ts';
import { INSTANCE_CAPACITY, PROBE_MS, Stage, startInstance, statesOf } from './stage.ts';
import { StateWatch } from './state-watch.ts';
import { excuseOf, failures, noneRow, sumOf } from './verdict.ts';

const LOAD = 0.5;
/** Of processes that have just started: not judged. */
const START_MS = 1500;
const CALM_MS = 1000;
const FIRST_MS = 1000;
const FAULT_MS = 2500;
const AFTER_MS = 500;
/** Whatever is not back by then is told as never. */
const PATIENCE_MS = 9000;
/** What a quick run shows: an instance that lies, and what is not an instance. */
const QUICK: ReadonlySet<string> = new Set(['another service on its address', 'the supervisor stands still']);
const LOOK_EVERY_MS = 20;
const OPEN: ReadonlySet<string> = new Set(['ready', 'warming', 'degraded']);

const HOSTS = ['127.0.0.1', '127.0.0.2', '127.0.0.3', '127.0.0.4', '127.0.0.5'];
const NAME = 'shop.test';
/** What each is told by, in the order of the table; the rest of the checks follow in one column. */
const COLUMNS = ['GETs failed', 'POSTs failed', 'failed later', 'p99 later', 'back'];

function configurationOf(
  { more = '' }: ChaosExperiment,
  names: NameServer | undefined,
): (instances: readonly RollingInstance[]) => string {
  return (instances) => `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 2
log: { access: off }
services:
  shop:
    ${
      names === undefined
        ? `instances: [${instances.map(({ url }) => url).join(', ')}]`
        : `discovery: { dns: { name: ${NAME}, port: ${instances[0]?.port ?? 0}, servers: ["${names.address}"] } }`
    }
    sla: 500ms
    readiness: { path: /ready, interval: ${PROBE_MS}ms, timeout: ${PROBE_TIMEOUT_MS}ms, identity: shop }
    balancing: { slowStart: 500ms }
    outlier: { baseEjection: 1s }
    affinity: { cookie: spillway, keys: [{ id: k1, secret: a-secret-of-the-experiment-only-000 }] }
    ${more}
routes: [{ path: /, service: shop }]
`;
}

/** An instance behind a bare proxy, with its share of the load. */
class BareSide implements AsyncDisposable {
  #instance: RollingInstance;
  readonly #proxy: Target;
  readonly #load: RollingLoad;

  private constructor(instance: RollingInstance, proxy: Target, load: RollingLoad) {
    this.#instance = instance;
    this.#proxy = proxy;
    this.#load = load;
  }

  static async open(seed: number): Promise<BareSide> {
    const instance = await startInstance(0);
    const proxy = await startTarget('bare proxy', '', instance.url);
    const rotation = (): readonly number[] => [proxy.port];
    const load = new RollingLoad(
      { ratePerSecond: LOAD * INSTANCE_CAPACITY, rotation, leaves: () => true, seed },
      PHASES.calm,
    );
    return new BareSide(instance, proxy, load);
  }

  get instance(): RollingInstance {
    return this.#instance;
  }

  async restart(): Promise<void> {
    this.#instance = await startInstance(this.#instance.port);
  }

  /** Ends the load. */
  async failed(): Promise<string> {
    await this.#load.end();
    const [figures] = this.#load.ledger.figures(new Map());
    return `${figures?.failed ?? 0} of ${figures?.sent ?? 0}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#load.end();
    await this.#proxy[Symbol.asyncDispose]();
    await this.#instance[Symbol.asyncDispose]();
  }
}

/** What a fault is done to, and undone. */
interface Injection {
  readonly inject: (mended: AbortSignal) => Promise<unknown>;
  readonly mend: () => Promise<unknown>;
}

function injectionOf(
  experiment: ChaosExperiment,
  stage: Stage,
  names: NameServer | undefined,
  bare: BareSide | undefined,
): Injection {
  const [gateway] = stage.gateways;
  if (gateway === undefined) throw new Error('there is no gateway');
  if (experiment.strikes === 'surroundings') {
    const around = { supervisor: gateway.pid, names, hosts: HOSTS };
    return {
      inject: async () => await experiment.disturb(around),
      mend: async () => await experiment.settle(around),
    };
  }
  const { strikes, strike, mend } = experiment;
  const own = (): readonly RollingInstance[] => stage.instances.slice(0, strikes === 'one' ? 1 : Infinity);
  const struck = (): readonly RollingInstance[] => [...own(), ...(bare === undefined ? [] : [bare.instance])];
  return {
    inject: async (mended) => {
      for (const instance of own()) stage.forgive(instance);
      await Promise.all(struck().map((instance) => strike(instance, mended)));
    },
    mend: async () => {
      if (mend === 'again') await Promise.all([stage.restartInstance(0), bare?.restart()]);
      else await Promise.all(struck().map(async (instance) => await mend(instance)));
    },
  };
}

interface Outcome {
  readonly experiment: ChaosExperiment;
  readonly found: Found;
  readonly checks: readonly Check[];
  readonly bare: string;
  readonly stood: string;
}

async function run(experiment: ChaosExperiment, seed: number): Promise<Outcome> {
  const byName = experiment.strikes === 'surroundings' && experiment.byName === true;
  await using names = byName ? await NameServer.start({ hosts: { [NAME]: HOSTS } }) : undefined;
  await using bare = experiment.strikes === 'surroundings' ? undefined : await BareSide.open(seed);
  await using stage = await Stage.open({
    gateways: 1,
    seed,
    phase: 'the start',
    load: LOAD,
    onePort: byName,
    configuration: configurationOf(experiment, names),
  });
  const [gateway] = stage.gateways;
  if (gateway === undefined) throw new Error('there is no gateway');
  await using watch = new StateWatch(gateway);
  const { inject, mend } = injectionOf(experiment, stage, names, bare);
  const [first] = stage.instances;
  await pause(START_MS);
  stage.load.begin(PHASES.calm);
  await pause(CALM_MS);
  stage.load.begin(PHASES.first);
  const ended = new AbortController();
  const struckMs = performance.now();
  const injected = inject(ended.signal);
  await pause(FIRST_MS);
  stage.load.begin(PHASES.later);
  await pause(FAULT_MS - FIRST_MS);
  ended.abort();
  await injected;
  stage.load.begin(PHASES.after);
  await mend();
  const mendedMs = performance.now();
  const isBack = await comesBack(stage, gateway);
  const backMs = isBack ? performance.now() - mendedMs : Infinity;
  const { body: metrics } = await gateway.admin('/metrics');
  await pause(AFTER_MS);
  const { hypothesis } = experiment;
  const figures = await stage.figures();
  const judged = new Set<string>(Object.values(PHASES));
  const found = {
    figures: figures.filter(({ phase }) => judged.has(phase)),
    outMs: watch.firstMs(first?.id ?? '', hypothesis.out?.state ?? '', struckMs),
    backMs,
    seen: watch.seen,
    changes: watch.mostChanges,
    metrics: String(metrics),
  };
  return {
    experiment,
    found,
    checks: checksOf(hypothesis, found),
    bare: (await bare?.failed()) ?? '',
    stood: stage.load.stood,
  };
}

/** Whether every instance takes new sessions and a caller is answered, in time. */
async function comesBack(stage: Stage, gateway: Gateway): Promise<boolean> {
  const untilMs = performance.now() + PATIENCE_MS;
  while (performance.now() < untilMs) {
    const states = await statesOf(gateway);
    if (stage.instances.every(({ id }) => OPEN.has(states.get(id) ?? ''))) {
      const answer = await fetch(gateway.publicUrl);
      await answer.arrayBuffer();
      if (answer.ok) return true;
    }
    await pause(LOOK_EVERY_MS);
  }
  return false;
}

function row({ experiment, checks, stood }: Outcome): Row {
  const missed = checks.filter(({ kept }) => !kept).length;
  return { ...noneRow(`figures missed: ${experiment.fault}`, missed), ...excuseOf(stood) };
}

function cells({ experiment, checks, bare }: Outcome): readonly string[] {
  const text = ({ found, wanted }: Check): string => `${found} ${wanted}`;
  const others = checks.filter(({ what }) => !COLUMNS.includes(what));
  const columns = COLUMNS.map((column) => {
    const check = checks.find(({ what }) => what === column);
    return check === undefined ? '' : text(check);
  });
  return [
    experiment.fault,
    ...columns,
    bare,
    others.map((check) => `${check.what} ${text(check)}`).join('; '),
  ];
}

function notes({ experiment: { fault }, found, checks }: Outcome): readonly string[] {
  const missed = checks.filter(({ kept }) => !kept);
  if (missed.length === 0) return [];
  return [
    ...missed.map(({ what, found: figure, wanted }) => `${fault}: ${what} ${figure}, wanted ${wanted}`),
    ...failures(found.figures).map((line) => `${fault}: ${line}`),
  ];
}

export async function chaos(context: MeasureContext): Promise<Measured> {
  const outcomes: Outcome[] = [];
  const missing: string[] = [];
  for (let round = 1; round <= (context.rounds ?? 1); round += 1) {
    for (const [index, experiment] of EXPERIMENTS.entries()) {
      const { fault } = experiment;
      if (context.quick && !QUICK.has(fault)) continue;
      if ('byName' in experiment && installed('dnsmasq') === undefined) {
        missing.push(`chaos, ${fault}: dnsmasq is not installed`);
        continue;
      }
      process.stderr.write(`chaos, ${fault}\n`);
      outcomes.push(await run(experiment, context.seed + 100 * round + index));
    }
  }
  const requests = sumOf(
    outcomes.flatMap(({ found }) => found.figures),
    ({ sent }) => sent,
  );
  return {
    rows: outcomes.map(row),
    figures: [
      {
        caption: `each figure beside what was expected of it, ${requests} requests in all`,
        head: ['fault', ...COLUMNS, 'bare proxy', 'also'],
        rows: outcomes.map(cells),
      },
    ],
    notes: outcomes.flatMap(notes),
    data: outcomes.map(({ experiment: { fault }, checks, found: { figures } }) => ({
      fault,
      checks,
      figures,
    })),
    missing,
  };
}
