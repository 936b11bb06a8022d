/** Well below the capacity nobody is refused, whatever the order of classes. */
import type { LoadJournal } from '../../test/harness/load-journal.ts';
import { startOrigin } from '../../test/harness/origin.ts';
import { startTarget } from '../targets.ts';
import { CAPACITY, gatewayYaml, load, SLA_MS } from './anchors.ts';
import { send } from './case.ts';
import type { CaseContext, CaseRun } from './case.ts';
import type { Row } from './rows.ts';
import { codes, figures } from './window.ts';
import type { Window } from './window.ts';

const TIMES = 0.7;
const CRITICAL_TIMES = 0.2;
const SECONDS = 30;
const QUICK_SECONDS = 10;

export function idleRows(journal: LoadJournal): Row[] {
  const window: Window = { fromMs: 0, untilMs: Infinity };
  const refused = (classIndex: number): number => figures(journal, SLA_MS, { ...window, classIndex }).refused;
  const all = figures(journal, SLA_MS, window);
  return [
    { what: 'critical shed', unit: 'count', value: refused(0), bound: { most: 0 } },
    { what: 'default shed', unit: 'count', value: refused(1), bound: { most: 0 } },
    {
      what: 'shed of all',
      unit: 'share',
      value: all.refusedRatio,
      bound: { most: 0.001 },
      goal: { most: 0 },
    },
    { what: 'in time of all', unit: 'share', value: all.inTimeRatio },
    { what: 'p99 of served', unit: 'ms', value: all.p99Ms },
  ];
}

export async function idle({ target: name, seed, quick }: CaseContext): Promise<CaseRun> {
  await using origin = await startOrigin({ seed });
  await using target = await startTarget(name, gatewayYaml(origin.url), origin.url);
  const seconds = quick ? QUICK_SECONDS : SECONDS;
  const { journal, senderLagP99Ms, recorded } = await send({
    name: `${TIMES} C`,
    port: target.port,
    seed,
    ...load([{ seconds, times: TIMES, critical: CRITICAL_TIMES }]),
    capacity: [[0, CAPACITY]],
  });
  return {
    target: name,
    workers: 1,
    seed,
    rows: idleRows(journal),
    recorded: [recorded],
    codes: codes(journal, { fromMs: 0, untilMs: Infinity }),
    senderLagP99Ms,
    notes: [],
  };
}
