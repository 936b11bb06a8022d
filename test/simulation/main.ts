/** `npm run simulate`: every scenario with many seeds, as a table. Ends with 6 when a bound was missed. */
import process from 'node:process';
import { parseArgs } from 'node:util';
import { EXIT } from '../../src/cli/exit-codes.ts';
import { inWords, judge, SCENARIOS, type Judgement } from './suite.ts';

const USAGE = 'usage: spillway simulate [--seeds N]   N: seeds for each scenario, 1 or more (20)\n';
const FIRST_SEED = 1001;

function row(cells: readonly string[]): string {
  const widths = [48, 15, 8, 8, 8];
  return `${cells.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join(' ')}\n`;
}

function share(value: number): string {
  return Number.isFinite(value) ? value.toFixed(3) : '–';
}

function line(title: string, { figures, misses }: Judgement): string {
  const goodputs = figures.map(({ goodput }) => goodput).sort((a, b) => a - b);
  const worst = goodputs[0] ?? Number.NaN;
  const median = goodputs[Math.floor(goodputs.length / 2)] ?? Number.NaN;
  const p99Ms = Math.max(...figures.map((one) => one.p99Ms));
  const critical = Math.min(...figures.map((one) => one.critical));
  return row([
    title,
    `${share(worst)} / ${share(median)}`,
    p99Ms.toFixed(0),
    share(critical),
    misses.length === 0 ? 'kept' : 'MISSED',
  ]);
}

function simulate(seeds: readonly number[]): number {
  process.stdout.write(row(['scenario', 'goodput ÷ C', 'p99 ms', 'critical', 'bounds']));
  process.stdout.write(row(['', 'worst / median', 'worst', 'worst', '']));
  let missed = 0;
  for (const scenario of SCENARIOS) {
    const judgement = judge(scenario, seeds);
    process.stdout.write(line(`${scenario.group}: ${scenario.name}`, judgement));
    process.stdout.write(`    ${scenario.bounds.map(inWords).join(', ')}\n`);
    for (const miss of judgement.misses) process.stdout.write(`    MISSED ${miss}\n`);
    missed += judgement.misses.length;
  }
  process.stdout.write(`${SCENARIOS.length} scenarios, ${seeds.length} seeds, ${missed} bounds missed\n`);
  return missed === 0 ? EXIT.ok : EXIT.thresholdMissed;
}

function main(given: readonly string[]): number {
  let seeds: number;
  try {
    const { values } = parseArgs({
      args: [...given],
      options: { seeds: { type: 'string', default: '20' }, help: { type: 'boolean', default: false } },
    });
    if (values.help) {
      process.stdout.write(USAGE);
      return EXIT.ok;
    }
    seeds = Number(values.seeds);
  } catch {
    seeds = Number.NaN;
  }
  if (!Number.isInteger(seeds) || seeds < 1) {
    process.stderr.write(USAGE);
    return EXIT.usage;
  }
  return simulate(Array.from({ length: seeds }, (_, i) => FIRST_SEED + i));
}

process.exitCode = main(process.argv.slice(2));
