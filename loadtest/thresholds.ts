/**
 * What the scenarios beside the overload cases and the measures must keep, in one table. Each row takes the medians over the rounds, since
 * a shared machine has bad seconds; a missed row makes the exit code 6. The bounds are on the gateway only, the bare proxy is there to compare with.
 */
import type { Measurement, ScenarioName } from './scenarios.ts';
import { median } from './turns.ts';

export interface Threshold {
  readonly scenario: ScenarioName;
  readonly what: string;
  readonly value: (gateway: Measurement) => number | undefined;
  readonly bound: { readonly atLeast: number } | { readonly atMost: number };
}

const THRESHOLDS: readonly Threshold[] = [
  {
    scenario: 'noisy',
    what: 'the well-behaved client, answered within the SLA',
    value: (gateway) => gateway.figures['quietRatio'],
    bound: { atLeast: 0.999 },
  },
  {
    scenario: 'noisy',
    what: 'the noisy client, served ÷ what its limit allows',
    value: (gateway) => gateway.figures['loudOverLimit'],
    bound: { atMost: 1.05 },
  },
  {
    scenario: 'noisy',
    what: 'the same: it gets most of what its limit allows',
    value: (gateway) => gateway.figures['loudOverLimit'],
    bound: { atLeast: 0.9 },
  },
];

export interface Verdict {
  readonly scenario: ScenarioName;
  readonly what: string;
  readonly value: number;
  readonly wanted: string;
  readonly kept: boolean;
}

/** The verdict on every row of the scenario that could be measured. */
export function judge(scenario: ScenarioName, gateway: Measurement): readonly Verdict[] {
  const verdicts: Verdict[] = [];
  for (const row of THRESHOLDS) {
    if (row.scenario !== scenario) continue;
    const value = row.value(gateway);
    if (value === undefined) continue;
    const [wanted, kept] =
      'atLeast' in row.bound
        ? [`≥ ${row.bound.atLeast}`, value >= row.bound.atLeast]
        : [`≤ ${row.bound.atMost}`, value <= row.bound.atMost];
    verdicts.push({ scenario, what: row.what, value, wanted, kept });
  }
  return verdicts;
}

function medians(records: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const names = new Set(records.flatMap((record) => Object.keys(record)));
  return Object.fromEntries(
    [...names].map((name) => [name, median(records.map((record) => record[name] ?? 0))]),
  );
}

/** The median of each figure over the rounds of one scenario and target. */
export function medianOf(rounds: readonly Measurement[]): Measurement | undefined {
  const [first] = rounds;
  if (first === undefined) return undefined;
  const of = (pick: (each: Measurement) => number): number => median(rounds.map(pick));
  return {
    scenario: first.scenario,
    target: first.target,
    offeredPerSecond: of((each) => each.offeredPerSecond),
    goodputPerSecond: of((each) => each.goodputPerSecond),
    p50Ms: of((each) => each.p50Ms),
    p99Ms: of((each) => each.p99Ms),
    refusals: medians(rounds.map((each) => each.refusals)),
    failed: of((each) => each.failed),
    cpuUsPerAnswer: of((each) => each.cpuUsPerAnswer),
    residentBytes: of((each) => each.residentBytes),
    figures: medians(rounds.map((each) => each.figures)),
  };
}
