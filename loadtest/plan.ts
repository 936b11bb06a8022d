/** What the words of the command line ask for. */
import { parseArgs } from 'node:util';

import { CASES } from './overload/cases.ts';
import type { CaseName } from './overload/cases.ts';
import { MEASURE_GROUPS, MEASURES } from './measures.ts';
import type { MeasureName } from './measures.ts';
import { SCENARIOS } from './scenarios.ts';
import type { ScenarioName } from './scenarios.ts';
import type { TargetName } from './targets.ts';

/** The name of all cases together. */
const FAMILY = 'overload';
const CASE_NAMES = Object.keys(CASES) as CaseName[];
const MEASURE_NAMES = Object.keys(MEASURES) as MeasureName[];
const SCENARIO_NAMES = Object.keys(SCENARIOS) as ScenarioName[];

const TARGETS: Readonly<Record<string, readonly TargetName[]>> = {
  all: ['gateway', 'bare proxy', 'nginx', 'nginx, tuned', 'HAProxy', 'HAProxy, tuned'],
  gateway: ['gateway'],
  bare: ['bare proxy'],
  nginx: ['nginx', 'nginx, tuned'],
  haproxy: ['HAProxy', 'HAProxy, tuned'],
};

/** What measures are compared with beside the gateway and that which their bounds need. */
const PEERS: Readonly<Record<string, readonly TargetName[]>> = {
  all: ['Caddy', 'nginx', 'HAProxy'],
  gateway: [],
  bare: [],
  nginx: ['nginx'],
  haproxy: ['HAProxy'],
  caddy: ['Caddy'],
};

export const USAGE = `usage: npm run loadtest [-- NAME …] [--target ${Object.keys(PEERS).join('|')}] [--quick] [--rounds N] [--seed N]
                        [--seconds N] [--before FOLDER] [--html FILE] [--json FILE]

NAME is ${[...SCENARIO_NAMES, ...MEASURE_NAMES].join(', ')}, a case of ${FAMILY}: ${CASE_NAMES.join(', ')};
or several of them: ${[...Object.keys(MEASURE_GROUPS), FAMILY].join(', ')}. Without a name everything runs. --seconds is for all but cases; --before is
another checkout, for cost-request. Exit code 6: a bound was missed.`;

export interface Plan {
  readonly scenarios: readonly ScenarioName[];
  readonly cases: readonly CaseName[];
  readonly measures: readonly MeasureName[];
  readonly targets: readonly TargetName[];
  readonly peers: ReadonlySet<TargetName>;
  /** Of a scenario or of a turn of a measure, not of a case; undefined: as each needs. */
  readonly seconds: number | undefined;
  /** Undefined: one of each case, two of each scenario, as many of a measure as it needs. */
  readonly rounds: number | undefined;
  readonly seed: number;
  readonly quick: boolean;
  readonly before: string | undefined;
  readonly htmlFile: string;
  readonly jsonFile: string;
}

function isCase(word: string): word is CaseName {
  return Object.hasOwn(CASES, word);
}

function isScenario(word: string): word is ScenarioName {
  return Object.hasOwn(SCENARIOS, word);
}

/** The measures that a word stands for. */
function measuresOf(word: string): readonly MeasureName[] {
  if (Object.hasOwn(MEASURE_GROUPS, word)) return MEASURE_GROUPS[word] ?? [];
  return MEASURE_NAMES.filter((name) => name === word);
}

/** A whole number from 1 to `most`; undefined when it is none. */
function whole(text: string, most: number): number | undefined {
  const value = Number(text);
  return Number.isInteger(value) && value >= 1 && value <= most ? value : undefined;
}

/** What to run, or a sentence about what was not understood. */
export function planFrom(args: readonly string[]): Plan | string {
  let parsed;
  try {
    parsed = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        seconds: { type: 'string' },
        rounds: { type: 'string' },
        seed: { type: 'string', default: '1' },
        target: { type: 'string', default: 'all' },
        before: { type: 'string' },
        quick: { type: 'boolean', default: false },
        html: { type: 'string', default: 'loadtest-report/index.html' },
        json: { type: 'string', default: 'loadtest-report/report.json' },
      },
    });
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  const { values, positionals } = parsed;
  const unknown = positionals.find(
    (word) => word !== FAMILY && !isCase(word) && !isScenario(word) && measuresOf(word).length === 0,
  );
  if (unknown !== undefined) return `no scenario, measure or case is called "${unknown}"`;
  const seconds = values.seconds === undefined ? undefined : whole(values.seconds, 3600);
  const rounds = values.rounds === undefined ? undefined : whole(values.rounds, 50);
  const seed = whole(values.seed, 1_000_000);
  if (values.seconds !== undefined && seconds === undefined) return '--seconds is 1 to 3600';
  if (values.rounds !== undefined && rounds === undefined) return '--rounds is 1 to 50';
  if (seed === undefined) return '--seed is 1 to 1000000';
  if (!Object.hasOwn(PEERS, values.target)) return `--target is one of ${Object.keys(PEERS).join(', ')}`;
  const everything = positionals.length === 0;
  const family = everything || positionals.includes(FAMILY);
  return {
    scenarios: SCENARIO_NAMES.filter((name) => everything || positionals.includes(name)),
    cases: CASE_NAMES.filter((name) => family || positionals.includes(name)),
    measures: MEASURE_NAMES.filter(
      (name) => everything || positionals.some((word) => measuresOf(word).includes(name)),
    ),
    targets: TARGETS[values.target] ?? [],
    peers: new Set(PEERS[values.target]),
    seconds,
    rounds,
    seed,
    quick: values.quick,
    before: values.before,
    htmlFile: values.html,
    jsonFile: values.json,
  };
}
