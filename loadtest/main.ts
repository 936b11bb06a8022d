/**
 * `npm run loadtest [-- baseline|overload|noisy …] [--seconds N] [--rounds N] [--json FILE]`
 *
 * Real processes on this machine's loopback: an origin, the gateway and, in turns with it, a bare @fastify/http-proxy.
 * Targets alternate within a round and their order turns from round to round, so that a machine that gets slower
 * meanwhile favours neither. What is reported are medians over the rounds. Exit 0 when every threshold is kept, 6 when one is missed, 2 for a
 * word that is not understood. Everything started is ended by its process id.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';

import { describeMachine, machineLines, table, verdictLines } from './report.ts';
import { SCENARIOS } from './scenarios.ts';
import type { Measurement, ScenarioName } from './scenarios.ts';
import type { TargetName } from './targets.ts';
import { judge, medianOf } from './thresholds.ts';
import type { Verdict } from './thresholds.ts';

const USAGE = `usage: npm run loadtest [-- ${Object.keys(SCENARIOS).join('|')} …] [--seconds N] [--rounds N] [--target gateway|bare] [--json FILE]`;

interface Plan {
  readonly scenarios: readonly ScenarioName[];
  readonly targets: readonly TargetName[];
  readonly seconds: number;
  readonly rounds: number;
  readonly jsonFile: string | undefined;
}

function isScenario(word: string): word is ScenarioName {
  return Object.hasOwn(SCENARIOS, word);
}

/** A whole number from 1 to `most`; undefined when it is none. */
function whole(text: string, most: number): number | undefined {
  const value = Number(text);
  return Number.isInteger(value) && value >= 1 && value <= most ? value : undefined;
}

/** What to run, or a sentence about what was not understood. */
function planFrom(args: readonly string[]): Plan | string {
  let parsed;
  try {
    parsed = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        seconds: { type: 'string', default: '8' },
        rounds: { type: 'string', default: '2' },
        target: { type: 'string', default: 'both' },
        json: { type: 'string' },
      },
    });
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  const { values, positionals } = parsed;
  const unknown = positionals.find((word) => !isScenario(word));
  if (unknown !== undefined) return `no scenario is called "${unknown}"`;
  const seconds = whole(values.seconds, 600);
  const rounds = whole(values.rounds, 50);
  if (seconds === undefined || rounds === undefined) return '--seconds is 1 to 600, --rounds 1 to 50';
  const targets: Readonly<Record<string, readonly TargetName[]>> = {
    both: ['gateway', 'bare proxy'],
    gateway: ['gateway'],
    bare: ['bare proxy'],
  };
  const chosen = Object.hasOwn(targets, values.target) ? targets[values.target] : undefined;
  if (chosen === undefined) return '--target is gateway or bare; without it both run';
  const named = positionals.filter(isScenario);
  const scenarios = named.length > 0 ? named : (Object.keys(SCENARIOS) as ScenarioName[]);
  return { scenarios, targets: chosen, seconds, rounds, jsonFile: values.json };
}

async function runScenario(scenario: ScenarioName, plan: Plan): Promise<readonly Measurement[]> {
  const measured: Measurement[] = [];
  for (let round = 1; round <= plan.rounds; round += 1) {
    const order = round % 2 === 1 ? plan.targets : plan.targets.toReversed();
    for (const target of order) {
      process.stderr.write(`${scenario}, round ${round} of ${plan.rounds}: ${target}\n`);
      measured.push(await SCENARIOS[scenario](target, plan.seconds));
    }
  }
  return measured;
}

async function main(): Promise<number> {
  if (process.argv.includes('--help')) {
    process.stdout.write(`${USAGE}\n`);
    return 0;
  }
  const plan = planFrom(process.argv.slice(2));
  if (typeof plan === 'string') {
    process.stderr.write(`${plan}\n${USAGE}\n`);
    return 2;
  }
  const machine = describeMachine();
  const rounds: Measurement[] = [];
  const results: Measurement[] = [];
  const verdicts: Verdict[] = [];
  for (const scenario of plan.scenarios) {
    const measured = await runScenario(scenario, plan);
    rounds.push(...measured);
    const of = (target: TargetName): Measurement | undefined =>
      medianOf(measured.filter((each) => each.target === target));
    const gateway = of('gateway');
    const bare = of('bare proxy');
    for (const each of [gateway, bare]) if (each !== undefined) results.push(each);
    if (gateway !== undefined) verdicts.push(...judge(scenario, { gateway, bare }));
  }
  process.stdout.write(`${machineLines(machine)}\n`);
  process.stdout.write(
    `medians of ${plan.rounds} rounds of ${plan.seconds} s, SLA 250 ms; p50 and p99 of served requests`,
  );
  process.stdout.write(
    `; CPU is user + system of all processes of the target ÷ answers\n\n${table(results)}\n`,
  );
  if (verdicts.length > 0) process.stdout.write(`\n${verdictLines(verdicts)}\n`);
  if (plan.jsonFile !== undefined) {
    await mkdir(dirname(plan.jsonFile), { recursive: true });
    await writeFile(plan.jsonFile, `${JSON.stringify({ machine, results, verdicts, rounds }, null, 2)}\n`);
  }
  return verdicts.every((each) => each.kept) ? 0 : 6;
}

// The default action of a signal would skip the exit hooks that end the children.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));
process.exitCode = await main();
