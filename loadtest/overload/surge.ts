/**
 * Ten times the capacity for some seconds, between two spells of 0.8 C: does what is admitted stay whole and in time,
 * does critical traffic live, how fast is a no told, and how soon is all well again.
 */
import type { LoadJournal } from '../../test/harness/load-journal.ts';
import { startOrigin } from '../../test/harness/origin.ts';
import { startTarget } from '../targets.ts';
import { CAPACITY, CRITICAL, gatewayYaml, load, SLA_MS } from './anchors.ts';
import { send } from './case.ts';
import type { CaseContext, CaseRun } from './case.ts';
import { criticalRows, senderTooLate } from './rows.ts';
import type { Row } from './rows.ts';
import { codes, figures, merged, recoveryMs, refusalFigures } from './window.ts';
import type { Window } from './window.ts';

export interface SurgePlan {
  readonly warmSeconds: number;
  readonly surgeSeconds: number;
  readonly afterSeconds: number;
}

export const SURGE: SurgePlan = { warmSeconds: 5, surgeSeconds: 8, afterSeconds: 6 };
export const SURGE_QUICK: SurgePlan = { warmSeconds: 3, surgeSeconds: 5, afterSeconds: 4 };

const TIMES = 10;
const CRITICAL_TIMES = 0.3;
const CALM_TIMES = 0.8;

export function surgeLoad(plan: SurgePlan, share = 1): ReturnType<typeof load> {
  const critical = CRITICAL_TIMES * share;
  const calm = { times: CALM_TIMES * share, critical };
  return load([
    { seconds: plan.warmSeconds, ...calm },
    { seconds: plan.surgeSeconds, times: TIMES * share, critical },
    { seconds: plan.afterSeconds, ...calm },
  ]);
}

export function surgeWindow(plan: SurgePlan): Window {
  const fromMs = plan.warmSeconds * 1000;
  return { fromMs, untilMs: fromMs + plan.surgeSeconds * 1000 };
}

/** `journals`: what all senders of the run wrote down. */
export function surgeRows(journals: readonly LoadJournal[], plan: SurgePlan, senderLagP99Ms: number): Row[] {
  const journal = merged(journals);
  const surge = surgeWindow(plan);
  const endMs = surge.untilMs + plan.afterSeconds * 1000;
  const all = figures(journal, SLA_MS, surge);
  const critical = figures(journal, SLA_MS, { ...surge, classIndex: CRITICAL });
  const refusals = refusalFigures(journal, surge);
  const after = figures(journal, SLA_MS, { fromMs: surge.untilMs + 2000, untilMs: endMs });
  const late = senderTooLate(senderLagP99Ms);
  return [
    {
      what: 'goodput ÷ C',
      unit: 'ratio',
      value: all.inTime / plan.surgeSeconds / CAPACITY,
      bound: { least: 0.97 },
      goal: { least: 0.98 },
    },
    ...criticalRows(critical.refused, critical.inTimeRatio),
    {
      what: 'p99 of served',
      unit: 'ms',
      value: all.p99Ms,
      bound: { most: SLA_MS },
      goal: { most: 0.8 * SLA_MS },
    },
    {
      what: 'back to 90 % of offered after',
      unit: 'ms',
      value: recoveryMs(journal, SLA_MS, surge.untilMs, endMs, 0.9),
      bound: { most: 2000 },
      goal: { most: 0 },
    },
    {
      what: 'in time from 2 s after the surge on',
      unit: 'share',
      value: after.inTimeRatio,
      bound: { least: 0.95 },
    },
    {
      what: 'p99 of a refusal that did not wait',
      unit: 'ms',
      value: refusals.prompt === 0 ? undefined : refusals.promptP99Ms,
      bound: { most: 10 },
      ...(late === undefined ? {} : { excuse: late }),
    },
    { what: 'p99 of all refusals', unit: 'ms', value: refusals.p99Ms },
    {
      what: 'refusals that did not wait',
      unit: 'share',
      value: refusals.refused === 0 ? undefined : refusals.prompt / refusals.refused,
    },
  ];
}

export async function surge({ target: name, seed, quick }: CaseContext): Promise<CaseRun> {
  const plan = quick ? SURGE_QUICK : SURGE;
  await using origin = await startOrigin({ seed });
  await using target = await startTarget(name, gatewayYaml(origin.url), origin.url);
  const { journal, senderLagP99Ms, recorded } = await send({
    name: 'surge',
    port: target.port,
    seed,
    ...surgeLoad(plan),
    capacity: [[0, CAPACITY]],
  });
  const window = surgeWindow(plan);
  const critical = figures(journal, SLA_MS, { ...window, classIndex: CRITICAL });
  return {
    target: name,
    workers: 1,
    seed,
    rows: surgeRows([journal], plan, senderLagP99Ms),
    recorded: [recorded],
    pool: { criticalOffered: critical.offered, criticalInTime: critical.inTime },
    codes: codes(journal, window),
    senderLagP99Ms,
    notes: [],
  };
}
