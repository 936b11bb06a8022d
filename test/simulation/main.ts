/**
 * `npm run simulate`: every scenario with many seeds, as a table and as a report. Ends with 6 when a bound was missed; those
 * that are known to fall short, and by how much, are listed and end it with 0 (shortfalls.ts).
 */
import process from 'node:process';
import { parseArgs } from 'node:util';
import { EXIT } from '../../src/cli/exit-codes.ts';
import { ReportFiles } from './report-files.ts';
import { runPeers } from './report-peers.ts';
import { inShort, lastLine, shortfallInWords, sumOf, summary, title, verdictOf } from './report-words.ts';
import {
  inWords,
  judge,
  LONG_SCENARIOS,
  SCENARIOS,
  type Judgement,
  type Run,
  type Scenario,
} from './suite.ts';

const FIRST_SEED = 1001;
/** Its scenarios are those of the design's table of peers. */
const REFERENCE = 'reference';
/** So many seeds can tell that a bound is kept now; with fewer it may be luck. */
const MANY_SEEDS = 20;

const USAGE = `usage: spillway simulate [--seeds N] [--scenario FILTER] [--report DIR] [--peers] [--long]
  --seeds N          seeds for each scenario, 1 or more (20)
  --scenario FILTER  only those with these words in "group: name", upper or lower case
  --report DIR       writes report.html, report.json, and for each scenario its charts (SVG) and its course (CSV)
  --peers            runs each scenario once with each peer in place of ours, too; a report does it for "${REFERENCE}" anyway
  --long             those that take minutes, too (one seed, no peers)
`;

interface Wishes {
  readonly seeds: readonly number[];
  readonly scenarios: readonly Scenario[];
  readonly report: string | undefined;
  readonly peers: boolean;
}

function row(titleWidth: number, cells: readonly string[]): string {
  const widths = [titleWidth, 15, 8, 8, 8];
  return `${cells
    .map((cell, i) => cell.padEnd(widths[i] ?? 0))
    .join(' ')
    .trimEnd()}\n`;
}

/** The scenario, and its run with that seed: charts and peers need no second one. */
function keepingRunOf(scenario: Scenario, first: number): { kept: Scenario; firstRun: () => Run } {
  let kept: Run | undefined;
  return {
    kept: {
      ...scenario,
      run: (seed, gate, brief) => {
        const run = scenario.run(seed, gate, brief);
        if (seed === first) kept = run;
        return run;
      },
    },
    firstRun: () => {
      if (kept === undefined) throw new Error('a scenario runs with the first seed');
      return kept;
    },
  };
}

function simulate({ seeds, scenarios, report, peers }: Wishes): number {
  const print = (text: string): boolean => process.stdout.write(text);
  const files = report === undefined ? undefined : new ReportFiles(report, seeds);
  const [first = FIRST_SEED] = seeds;
  const width = Math.max(...scenarios.map((scenario) => title(scenario).length));
  print(row(width, ['scenario', 'goodput ÷ C', 'p99 ms', 'critical', 'bounds']));
  print(row(width, ['', 'worst / median', 'worst', 'worst']));
  const judged: { readonly scenario: Scenario; readonly judgement: Judgement }[] = [];
  for (const scenario of scenarios) {
    const { kept, firstRun } = keepingRunOf(scenario, first);
    const judgement = judge(kept, seeds);
    const { goodput, p99, critical } = summary(judgement);
    print(row(width, [title(scenario), goodput, p99, critical, verdictOf(judgement)]));
    print(`    ${scenario.bounds.map(inWords).join(', ')}\n`);
    for (const miss of judgement.misses) print(`    MISSED ${miss}\n`);
    judged.push({ scenario, judgement });
    const ours = firstRun();
    const compared =
      !LONG_SCENARIOS.includes(scenario) && (peers || (files !== undefined && scenario.group === REFERENCE));
    const beside = compared ? runPeers(scenario, first, ours) : [];
    if (peers)
      for (const { name, figures } of beside)
        print(`    ${name.padEnd(20)} ${inShort(figures).join(' / ')}\n`);
    files?.add(scenario, judgement, ours.world, beside);
  }
  files?.finish();
  print(shortOfTheirBound(judged, seeds.length));
  const bounds = sumOf(judged.map(({ judgement }) => judgement));
  print(`${lastLine(scenarios.length, seeds.length, bounds)}\n`);
  return bounds.missed === 0 ? EXIT.ok : EXIT.thresholdMissed;
}

/** Each with its worst and why; then the marks that have become needless, if so many seeds can tell. */
function shortOfTheirBound(
  judged: readonly { readonly scenario: Scenario; readonly judgement: Judgement }[],
  seeds: number,
): string {
  const short = judged.flatMap(({ scenario, judgement }) =>
    judgement.shortfalls.map((one) => `  ${title(scenario)}\n    SHORT ${shortfallInWords(one)}\n`),
  );
  const kept = judged.flatMap(({ scenario, judgement }) =>
    judgement.keptNow.map(
      (bound) =>
        `  ${title(scenario)}\n    ${inWords(bound)}: kept now, take the mark off if the tests' seeds keep it, too\n`,
    ),
  );
  return [
    short.length === 0 ? '' : `\nShort of their bound\n${short.join('')}\n`,
    kept.length === 0 || seeds < MANY_SEEDS
      ? ''
      : `Marked as short, and kept with every seed here\n${kept.join('')}\n`,
  ].join('');
}

/** @throws TypeError for an option that does not exist or lacks its value, RangeError for a value out of range */
function wishes(given: readonly string[]): Wishes | 'help' {
  const { values } = parseArgs({
    args: [...given],
    options: {
      seeds: { type: 'string', default: '20' },
      scenario: { type: 'string', default: '' },
      report: { type: 'string' },
      peers: { type: 'boolean', default: false },
      long: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return 'help';
  const seeds = Number(values.seeds);
  if (!Number.isInteger(seeds) || seeds < 1) throw new RangeError('--seeds: a whole number, 1 or more');
  if (values.report === '') throw new RangeError('--report: a folder');
  const words = values.scenario.toLowerCase();
  const known = values.long ? [...SCENARIOS, ...LONG_SCENARIOS] : SCENARIOS;
  const scenarios = known.filter((scenario) => title(scenario).toLowerCase().includes(words));
  if (scenarios.length === 0) throw new RangeError(`--scenario: none has "${values.scenario}" in its name`);
  return {
    seeds: Array.from({ length: seeds }, (_, i) => FIRST_SEED + i),
    scenarios,
    report: values.report,
    peers: values.peers,
  };
}

function main(given: readonly string[]): number {
  let wanted: Wishes | 'help';
  try {
    wanted = wishes(given);
  } catch (error) {
    process.stderr.write(
      `spillway simulate: ${error instanceof Error ? error.message : String(error)}\n${USAGE}`,
    );
    return EXIT.usage;
  }
  if (wanted === 'help') {
    process.stdout.write(USAGE);
    return EXIT.ok;
  }
  return simulate(wanted);
}

process.exitCode = main(process.argv.slice(2));
