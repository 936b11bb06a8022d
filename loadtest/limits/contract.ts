/**
 * What was admitted against what was promised: three tiers side by side, each asked for at least twice its limit at two
 * gateways of two workers that share one Redis, once exact and once as it comes (`auto`: leased where it is worth it).
 */
import type { Measured, MeasureContext } from '../measure.ts';
import type { Row } from '../overload/rows.ts';
import { usedShare, worstWindow } from './checker.ts';
import type { Admission } from './checker.ts';
import { record, startFleet, strangeRow } from './fleet.ts';
import type { Fleet, FleetLoad, Recorded } from './fleet.ts';
import { scriptCalls } from './script-calls.ts';

const SECONDS = 10;
/** Full buckets are used up and demand is known by then. */
const SETTLED_MS = 2000;
/** `maxOverAdmission`, of a second's rate and the burst. */
const OVER = 0.05;

interface Tier {
  readonly name: string;
  readonly rate: number;
  readonly burst: number;
  readonly perGatewayPerSecond: number;
}

/** The first is too small for leases with four workers; the others are not. */
const TIERS: readonly Tier[] = [
  { name: 'free', rate: 10, burst: 20, perGatewayPerSecond: 30 },
  { name: 'silver', rate: 200, burst: 200, perGatewayPerSecond: 300 },
  { name: 'gold', rate: 500, burst: 500, perGatewayPerSecond: 600 },
];
/** A client of its own, so that code is compiled and the tiers' buckets are full when it counts. */
const WARM_UP: FleetLoad = {
  name: 'warm-up',
  headers: { 'x-api-key': 'key-warm' },
  perGatewayPerSecond: 600,
};
const WARM_UP_SECONDS = 2;
const MODES = ['exact', 'auto'] as const;
type Mode = (typeof MODES)[number];

function yaml(mode: Mode): string {
  // Other clients in each mode, so that each begins with full buckets.
  const keys = TIERS.map(({ name }) => `{ key: ${mode}-${name}, client: ${mode}-${name}, tier: ${name} }`);
  const tiers = TIERS.map(({ name, rate, burst }) => `${name}: { rate: ${rate}/s, burst: ${burst} }`);
  return `
clients: { keys: [{ key: key-warm, client: warm, tier: default }, ${keys.join(', ')}] }
tiers: { default: { rate: 20000/s, burst: 20000 }, ${tiers.join(', ')} }
limits: { enforcement: ${mode}, global: { rate: 20000/s, burst: 20000 } }
`;
}

/** One tier in one mode. */
export interface Kept {
  readonly tier: Tier;
  readonly mode: Mode;
  readonly offered: number;
  readonly admitted: number;
  /** The most beyond rate · W + burst in any window, in units, and as a share of a second's rate and the burst. */
  readonly excess: number;
  readonly overShare: number;
  readonly windowMs: number;
  readonly used: number;
}

export function keptBy(tier: Tier, mode: Mode, answers: readonly Recorded[], untilMs: number): Kept {
  const admissions: readonly Admission[] = answers.filter(({ fate }) => fate === 'served');
  const firstMs = answers.reduce((least, { fromMs }) => Math.min(least, fromMs), Infinity);
  const { excess, windowMs } = worstWindow(admissions, tier.rate, tier.burst);
  return {
    tier,
    mode,
    offered: answers.length,
    admitted: admissions.length,
    excess,
    overShare: excess / (tier.rate + tier.burst),
    windowMs,
    used: usedShare(admissions, tier.rate, firstMs + SETTLED_MS, untilMs),
  };
}

export function contractRows(all: readonly Kept[]): Row[] {
  return all.flatMap(({ tier: { name }, mode, overShare, used }): Row[] => [
    {
      what: `${mode}, ${name}: the most beyond rate · W + burst in any window ÷ (rate · 1 s + burst)`,
      unit: 'share',
      value: overShare,
      bound: { most: mode === 'exact' ? 0 : OVER },
    },
    {
      what: `${mode}, ${name}: admitted ÷ rate at twice the demand and more`,
      unit: 'share',
      value: used,
      bound: { least: 0.98 },
    },
  ]);
}

interface ModeRun {
  readonly kept: readonly Kept[];
  readonly answers: readonly Recorded[];
  readonly callsPerDecision: number;
}

async function runOf(fleet: Fleet, mode: Mode, seconds: number, seed: number): Promise<ModeRun> {
  process.stderr.write(`limits-contract: ${mode}\n`);
  await fleet.reconfigure(yaml(mode));
  const loads = TIERS.map(({ name, perGatewayPerSecond }): FleetLoad => ({
    name,
    headers: { 'x-api-key': `${mode}-${name}` },
    perGatewayPerSecond,
  }));
  await record(fleet, [WARM_UP], WARM_UP_SECONDS, seed + 1);
  const before = await scriptCalls(fleet.redis);
  const startMs = performance.now();
  const answers = await record(fleet, loads, seconds, seed);
  const calls = (await scriptCalls(fleet.redis)) - before;
  const untilMs = startMs + seconds * 1000;
  const kept = TIERS.map((tier, load) =>
    keptBy(
      tier,
      mode,
      answers.filter((each) => each.load === load),
      untilMs,
    ),
  );
  return { kept, answers, callsPerDecision: calls / answers.length };
}

/** "served 3000, SPW_RATE_CLIENT 2000" */
function codesOf(answers: readonly Recorded[]): string {
  const counts = new Map<string, number>();
  for (const { fate, code } of answers) {
    const name = code === '' ? fate : code;
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return [...counts].map(([name, count]) => `${name} ${count}`).join(', ');
}

export async function limitsContract(context: MeasureContext): Promise<Measured> {
  const seconds = Math.max(5, context.seconds ?? (context.quick ? 5 : SECONDS));
  const runs: ModeRun[] = [];
  await using fleet = await startFleet({ yaml: yaml('exact') });
  for (const mode of MODES) runs.push(await runOf(fleet, mode, seconds, context.seed));
  const kept = runs.flatMap((run) => run.kept);
  const answers = runs.flatMap((run) => run.answers);
  return {
    rows: [...contractRows(kept), strangeRow(answers)],
    figures: [
      {
        caption: `${seconds} s at two gateways of two workers on one Redis; every window between two recorded moments was looked at`,
        head: ['', 'limit', 'offered/s', 'admitted/s', 'used', 'beyond', 'in a window of'],
        rows: kept.map(({ tier, mode, offered, admitted, used, excess, windowMs }) => [
          `${tier.name}, ${mode}`,
          `${tier.rate}/s, burst ${tier.burst}`,
          (offered / seconds).toFixed(0),
          (admitted / seconds).toFixed(0),
          `${(used * 100).toFixed(1)} %`,
          `${excess.toFixed(1)} units`,
          `${(windowMs / 1000).toFixed(2)} s`,
        ]),
      },
    ],
    notes: runs.map(
      ({ callsPerDecision, answers: all }, index) =>
        `${MODES[index]}: ${callsPerDecision.toFixed(3)} Redis calls a decision, heartbeats included; ${codesOf(all)}`,
    ),
    data: { kept },
  };
}
