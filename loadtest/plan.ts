/** What the words of the command line ask for. */
import { parseArgs } from 'node:util';

import { CASES } from './overload/cases.ts';
import type { CaseName } from './overload/cases.ts';
import { SCENARIOS } from './scenarios.ts';
import type { ScenarioName } from './scenarios.ts';
import type { TargetName } from './targets.ts';

/** The name of all cases together. */
const FAMILY = 'overload';
const CASE_NAMES = Object.keys(CASES) as CaseName[];
const SCENARIO_NAMES = Object.keys(SCENARIOS) as ScenarioName[];

const TARGETS: Readonly<Record<string, readonly TargetName[]>> = {
  all: ['gateway', 'bare proxy', 'nginx', 'nginx, tuned', 'HAProxy', 'HAProxy, tuned'],
  gateway: ['gateway'],
  bare: ['bare proxy'],
  nginx: ['nginx', 'nginx, tuned'],
  haproxy: ['HAProxy', 'HAProxy, tuned'],
};

export const USAGE = `usage: npm run loadtest [-- NAME …] [--target ${Object.keys(TARGETS).join('|')}] [--quick] [--rounds N] [--seed N]
                        [--seconds N] [--html FILE] [--json FILE]

NAME is ${SCENARIO_NAMES.join(', ')}, ${FAMILY}, or a case of ${FAMILY}: ${CASE_NAMES.join(', ')}.
Without a name everything runs. --seconds is for ${SCENARIO_NAMES.join(' and ')}. Exit code 6: a bound was missed.`;

export interface Plan {
  readonly scenarios: readonly ScenarioName[];
  readonly cases: readonly CaseName[];
  readonly targets: readonly TargetName[];
  /** Of a scenario, not of a case. */
  readonly seconds: number;
  /** Undefined: one of each case, two of each scenario. */
  readonly rounds: number | undefined;
  readonly seed: number;
  readonly quick: boolean;
  readonly htmlFile: string;
  readonly jsonFile: string;
}

function isCase(word: string): word is CaseName {
  return Object.hasOwn(CASES, word);
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
export function planFrom(args: readonly string[]): Plan | string {
  let parsed;
  try {
    parsed = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        seconds: { type: 'string', default: '8' },
        rounds: { type: 'string' },
        seed: { type: 'string', default: '1' },
        target: { type: 'string', default: 'all' },
        quick: { type: 'boolean', default: false },
        html: { type: 'string', default: 'loadtest-report/index.html' },
        json: { type: 'string', default: 'loadtest-report/report.json' },
      },
    });
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  const { values, positionals } = parsed;
  const unknown = positionals.find((word) => word !== FAMILY && !isCase(word) && !isScenario(word));
  if (unknown !== undefined) return `no scenario or case is called "${unknown}"`;
  const seconds = whole(values.seconds, 600);
  const rounds = values.rounds === undefined ? undefined : whole(values.rounds, 50);
  const seed = whole(values.seed, 1_000_000);
  if (seconds === undefined) return '--seconds is 1 to 600';
  if (values.rounds !== undefined && rounds === undefined) return '--rounds is 1 to 50';
  if (seed === undefined) return '--seed is 1 to 1000000';
  const targets = Object.hasOwn(TARGETS, values.target) ? TARGETS[values.target] : undefined;
  if (targets === undefined) return `--target is one of ${Object.keys(TARGETS).join(', ')}`;
  const everything = positionals.length === 0;
  const family = everything || positionals.includes(FAMILY);
  return {
    scenarios: SCENARIO_NAMES.filter((name) => everything || positionals.includes(name)),
    cases: CASE_NAMES.filter((name) => family || positionals.includes(name)),
    targets,
    seconds,
    rounds,
    seed,
    quick: values.quick,
    htmlFile: values.html,
    jsonFile: values.json,
  };
}
