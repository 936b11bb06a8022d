/**
 * `npm run loadtest [-- NAME …]`, see `USAGE` in plan.ts.
 *
 * Real processes on this machine's loopback: an origin, and in turns the gateway and what it is compared with. Targets
 * alternate within a round and their order turns from round to round, so that a machine that gets slower meanwhile favours
 * none. Scenarios and measures are judged by the medians of their rounds, overload cases by the worst round. Exit 0 when every bound is
 * kept, 6 when one is missed, 2 for a word that is not understood. Everything started is ended by its process id.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';

import type { CaseRun } from './overload/case.ts';
import { CASES } from './overload/cases.ts';
import type { CaseName } from './overload/cases.ts';
import type { CaseResult } from './overload/comparison.ts';
import { judgeCase } from './overload/judge.ts';
import { caseLines } from './overload/lines.ts';
import { loadPage } from './page.ts';
import { judged } from './measure.ts';
import type { MeasureResult } from './measure.ts';
import { measureLines } from './measure-lines.ts';
import { MEASURES } from './measures.ts';
import type { MeasureName } from './measures.ts';
import { planFrom, USAGE } from './plan.ts';
import type { Plan } from './plan.ts';
import { describeMachine, machineLines, table, verdictLines } from './report.ts';
import { SCENARIOS } from './scenarios.ts';
import type { Measurement, ScenarioName } from './scenarios.ts';
import { runSoak, SOAK_USAGE } from './soak/run.ts';
import { whyNot } from './targets.ts';
import type { TargetName } from './targets.ts';
import { judge, medianOf } from './thresholds.ts';
import type { Verdict } from './thresholds.ts';
import { inTurns } from './turns.ts';

const SCENARIO_ROUNDS = 2;
const SCENARIO_SECONDS = 8;
const CASE_ROUNDS = 1;
/** With what does the same work in the same language. */
const SCENARIO_TARGETS: ReadonlySet<TargetName> = new Set(['gateway', 'bare proxy']);

interface ScenarioResults {
  readonly rounds: readonly Measurement[];
  readonly results: readonly Measurement[];
  readonly verdicts: readonly Verdict[];
}

async function runScenarios(names: readonly ScenarioName[], plan: Plan): Promise<ScenarioResults> {
  const targets = plan.targets.filter((target) => SCENARIO_TARGETS.has(target));
  const rounds: Measurement[] = [];
  const results: Measurement[] = [];
  const verdicts: Verdict[] = [];
  for (const name of names) {
    const measured: Measurement[] = [];
    await inTurns(name, plan.rounds ?? SCENARIO_ROUNDS, targets, String, async (target) => {
      measured.push(await SCENARIOS[name](target, plan.seconds ?? SCENARIO_SECONDS));
    });
    rounds.push(...measured);
    const of = (target: TargetName): Measurement | undefined =>
      medianOf(measured.filter((each) => each.target === target));
    const gateway = of('gateway');
    const bare = of('bare proxy');
    for (const each of [gateway, bare]) if (each !== undefined) results.push(each);
    if (gateway !== undefined) verdicts.push(...judge(name, gateway));
  }
  return { rounds, results, verdicts };
}

/** `skipped` takes what a peer said when it would not start; the gateway's own failure ends the run. */
async function runCase(name: CaseName, plan: Plan, skipped: Set<string>): Promise<CaseResult> {
  const { about, comparable, run } = CASES[name];
  const targets = plan.targets.filter((target) => comparable(target) && whyNot(target) === undefined);
  const runs: CaseRun[] = [];
  await inTurns(name, plan.rounds ?? CASE_ROUNDS, targets, String, async (target, round) => {
    try {
      runs.push(await run({ target, seed: plan.seed + 1000 * (round - 1), quick: plan.quick }));
    } catch (error) {
      if (target === 'gateway') throw error;
      const said = error instanceof Error ? error.message : String(error);
      process.stderr.write(`${said}\n`);
      skipped.add(`${target} in ${name}: ${said.split('\n', 1)[0]}`);
    }
  });
  const ours = runs.filter(({ target }) => target === 'gateway');
  const result = { name, about, runs, judged: ours.length === 0 ? [] : judgeCase(ours) };
  process.stdout.write(`${caseLines(result)}\n\n`);
  return result;
}

async function runMeasure(name: MeasureName, plan: Plan, skipped: Set<string>): Promise<MeasureResult> {
  const { about, run } = MEASURES[name];
  const { rounds, seconds, seed, quick, peers, before } = plan;
  const result = judged(name, about, await run({ rounds, seconds, seed, quick, peers, before }));
  for (const why of result.missing ?? []) skipped.add(why);
  process.stdout.write(`${measureLines(result)}\n\n`);
  return result;
}

async function write(file: string, text: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, text);
}

/** The page holds the charts; the report holds what they were drawn from. */
function withoutMarkup(result: MeasureResult): MeasureResult {
  return { ...result, html: [] };
}

async function main(): Promise<number> {
  if (process.argv.includes('--help')) {
    process.stdout.write(`${USAGE}\n${SOAK_USAGE}\n`);
    return 0;
  }
  // A run of its own: twenty minutes, other bounds, another report.
  if (process.argv[2] === 'soak') return await runSoak(process.argv.slice(3));
  const plan = planFrom(process.argv.slice(2));
  if (typeof plan === 'string') {
    process.stderr.write(`${plan}\n${USAGE}\n`);
    return 2;
  }
  const machine = describeMachine();
  const skipped = new Set(plan.targets.flatMap((target) => whyNot(target) ?? []));
  process.stdout.write(`${machineLines(machine)}\n\n`);
  for (const why of skipped) process.stdout.write(`not compared: ${why}\n`);
  const { rounds, results, verdicts } = await runScenarios(plan.scenarios, plan);
  if (results.length > 0) {
    process.stdout.write(
      `medians of ${plan.rounds ?? SCENARIO_ROUNDS} rounds of ${plan.seconds ?? SCENARIO_SECONDS} s, SLA 250 ms; p50 and p99 of served requests; CPU is user + system of all processes of the target ÷ answers\n\n${table(results)}\n\n${verdictLines(verdicts)}\n\n`,
    );
  }
  const measures: MeasureResult[] = [];
  for (const name of plan.measures) measures.push(await runMeasure(name, plan, skipped));
  const cases: CaseResult[] = [];
  for (const name of plan.cases) cases.push(await runCase(name, plan, skipped));
  const report = {
    machine,
    skipped: [...skipped],
    results,
    verdicts,
    rounds,
    measures: measures.map(withoutMarkup),
    cases,
  };
  await write(plan.jsonFile, `${JSON.stringify(report)}\n`);
  const paged = cases.length + measures.length > 0;
  if (paged) await write(plan.htmlFile, loadPage(machine, cases, measures, [...skipped]));
  process.stdout.write(`report: ${paged ? `${plan.htmlFile}, ` : ''}${plan.jsonFile}\n`);
  const missed =
    verdicts.filter(({ kept }) => !kept).length +
    [...measures, ...cases].flatMap((each) => each.judged).filter(({ outcome }) => outcome === 'missed')
      .length;
  const nothing = verdicts.length === 0 && [...measures, ...cases].every((each) => each.judged.length === 0);
  if (nothing) process.stdout.write('the gateway was not measured: nothing is judged\n');
  else process.stdout.write(missed === 0 ? 'every bound is kept\n' : `${missed} bound(s) missed\n`);
  return missed === 0 ? 0 : 6;
}

// The default action of a signal would skip the exit hooks that end the children.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));
process.exitCode = await main();
