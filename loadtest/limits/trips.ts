/**
 * How often Redis is asked: its own count of script calls ÷ decisions, at two gateways of two workers, 800 requests a
 * second each. Exact over five levels; leased at a limit of 300/s, where most are refused, and at a generous one.
 */
import type { Measured, MeasureContext } from '../measure.ts';
import type { Row } from '../overload/rows.ts';
import { decisionPaths, record, startFleet } from './fleet.ts';
import type { Fleet, FleetLoad } from './fleet.ts';
import { idleCallsPerSecond, scriptCalls } from './script-calls.ts';

const SECONDS = 4;
const IDLE_SECONDS = 3;
const PER_GATEWAY_PER_SECOND = 800;
const GENEROUS = 'rate: 20000/s, burst: 20000';

const TIGHT: FleetLoad = {
  name: 'tight',
  headers: { 'x-api-key': 'tight' },
  perGatewayPerSecond: PER_GATEWAY_PER_SECOND,
};
const WIDE: FleetLoad = { ...TIGHT, name: 'wide', headers: { 'x-api-key': 'wide' } };

function yaml(enforcement: string): string {
  return `
clients: { keys: [{ key: tight, client: tight, tier: tight }, { key: wide, client: wide, tier: wide }] }
tiers:
  tight: { rate: 300/s, burst: 300 }
  wide: { ${GENEROUS}, total: { ${GENEROUS} } }
limits: { enforcement: ${enforcement}, global: { ${GENEROUS} } }
routes: [{ path: /, service: shop, limits: { perClient: { ${GENEROUS} }, total: { ${GENEROUS} } } }]
`;
}

export interface Trips {
  readonly name: string;
  readonly decisions: number;
  readonly served: number;
  /** Without heartbeats, which a gateway without traffic sends too. */
  readonly calls: number;
  /** Decided by leases, by the store, by a hold, without the store. */
  readonly paths: Readonly<Record<string, number>>;
}

async function trips(
  name: string,
  fleet: Fleet,
  load: FleetLoad,
  idle: number,
  seconds: number,
  seed: number,
): Promise<Trips> {
  process.stderr.write(`limits-trips: ${name}\n`);
  // Connections, compiled code and demand are those of a gateway in use.
  await record(fleet, [load], 1, seed + 1);
  const pathsBefore = await decisionPaths(fleet);
  const before = await scriptCalls(fleet.redis);
  const startMs = performance.now();
  const answers = await record(fleet, [load], seconds, seed);
  const all = (await scriptCalls(fleet.redis)) - before;
  // A heartbeat of each connection may fall on either side of the run's end.
  const beats = Math.ceil((idle * (performance.now() - startMs)) / 1000) + fleet.workers;
  const paths = await decisionPaths(fleet);
  for (const [path, count] of Object.entries(pathsBefore)) paths[path] = (paths[path] ?? 0) - count;
  return {
    name,
    decisions: answers.length,
    served: answers.filter(({ fate }) => fate === 'served').length,
    calls: all - Math.min(all, beats),
    paths,
  };
}

function perDecision({ calls, decisions }: Trips): number {
  return calls / decisions;
}

/** What each enforcement is measured with, and the most Redis calls that a decision may cost. */
const RUNS = [
  { enforcement: 'exact', name: 'exact, five levels', load: WIDE, most: 1 },
  { enforcement: 'auto', name: 'auto, 300/s allowed', load: TIGHT, most: 0.2 },
  { enforcement: 'auto', name: 'auto, generous', load: WIDE, most: 0.1 },
  { enforcement: 'leased', name: 'leased, 300/s allowed', load: TIGHT, most: 0.2 },
  { enforcement: 'leased', name: 'leased, generous', load: WIDE, most: 0.1 },
] as const;

export async function limitsTrips(context: MeasureContext): Promise<Measured> {
  const seconds = context.seconds ?? (context.quick ? 2.5 : SECONDS);
  const runs = context.quick ? RUNS.filter(({ enforcement }) => enforcement !== 'leased') : RUNS;
  const all: Trips[] = [];
  const rows: Row[] = [];
  await using fleet = await startFleet({ yaml: yaml('exact') });
  const idle = await idleCallsPerSecond(fleet.redis, context.quick ? 1 : IDLE_SECONDS);
  for (const { enforcement, name, load, most } of runs) {
    await fleet.reconfigure(yaml(enforcement));
    const found = await trips(name, fleet, load, idle, seconds, context.seed);
    all.push(found);
    rows.push({
      what: `Redis calls a decision, ${name}`,
      unit: 'ratio',
      value: perDecision(found),
      bound: { most },
    });
  }
  return {
    rows,
    figures: [
      {
        caption: `${PER_GATEWAY_PER_SECOND}/s at each of two gateways for ${seconds} s, by the Redis's own counts, heartbeats taken off`,
        head: ['', 'decisions', 'admitted', 'Redis calls', 'a decision', 'decided by'],
        rows: all.map((each) => [
          each.name,
          String(each.decisions),
          String(each.served),
          String(each.calls),
          perDecision(each).toFixed(3),
          Object.entries(each.paths)
            .map(([path, count]) => `${path} ${count}`)
            .join(', '),
        ]),
      },
    ],
    notes: [],
    data: { all },
  };
}
