/**
 * Capacity moves under load and nobody tells: 20 slots become 5 at 800 requests a second, then 80 at 2 000. A tenth of
 * the load is critical: while slots are 5 that alone is 0.8 of what the origin can do.
 */
import type { LoadJournal } from '../../test/harness/load-journal.ts';
import { startOrigin } from '../../test/harness/origin.ts';
import { startTarget } from '../targets.ts';
import { CAPACITY, CRITICAL, gatewayYaml, load, MEAN_MS, SLA_MS, SLOTS } from './anchors.ts';
import { send } from './case.ts';
import type { CaseContext, CaseRun, Recorded } from './case.ts';
import type { Row } from './rows.ts';
import { codes, figures } from './window.ts';

const WARM_SECONDS = 5;
const FEW_SECONDS = 10;
const MANY_SECONDS = 14;
const FEW_SLOTS = 5;
const MANY_SLOTS = 80;
const FEW_TIMES = 2;
const MANY_TIMES = 5;
/** The time in which a limit must have found the new capacity; the last seconds of each part are judged. */
const JUDGED_SECONDS = 5;
const CRITICAL_SHARE = 0.1;

const FEW_FROM_MS = WARM_SECONDS * 1000;
const MANY_FROM_MS = FEW_FROM_MS + FEW_SECONDS * 1000;
const END_MS = MANY_FROM_MS + MANY_SECONDS * 1000;

const perSecond = (slots: number): number => (slots / MEAN_MS) * 1000;

export const MOVING_CAPACITY: Recorded['capacity'] = [
  [0, CAPACITY],
  [FEW_FROM_MS, perSecond(FEW_SLOTS)],
  [MANY_FROM_MS, perSecond(MANY_SLOTS)],
];

export function movingLoad(): ReturnType<typeof load> {
  const step = (
    seconds: number,
    times: number,
  ): { readonly seconds: number; readonly times: number; readonly critical: number } => ({
    seconds,
    times,
    critical: CRITICAL_SHARE * times,
  });
  return load([step(WARM_SECONDS + FEW_SECONDS, FEW_TIMES), step(MANY_SECONDS, MANY_TIMES)]);
}

export function movingRows(journal: LoadJournal): Row[] {
  const share = (untilMs: number, slots: number): number => {
    const window = { fromMs: untilMs - JUDGED_SECONDS * 1000, untilMs };
    return figures(journal, SLA_MS, window).inTime / JUDGED_SECONDS / perSecond(slots);
  };
  const critical = (fromMs: number, untilMs: number): number =>
    figures(journal, SLA_MS, { fromMs, untilMs, classIndex: CRITICAL }).inTimeRatio;
  const late = (fromMs: number, untilMs: number): number =>
    figures(journal, SLA_MS, { fromMs, untilMs }).p99Ms;
  return [
    {
      what: `${FEW_SLOTS} slots: goodput ÷ capacity, last ${JUDGED_SECONDS} s`,
      unit: 'ratio',
      value: share(MANY_FROM_MS, FEW_SLOTS),
      bound: { least: 0.9 },
    },
    {
      what: `${MANY_SLOTS} slots: goodput ÷ capacity, last ${JUDGED_SECONDS} s`,
      unit: 'ratio',
      value: share(END_MS, MANY_SLOTS),
      bound: { least: 0.9 },
    },
    {
      what: `${FEW_SLOTS} slots: critical in time over all ${FEW_SECONDS} s`,
      unit: 'share',
      value: critical(FEW_FROM_MS, MANY_FROM_MS),
      bound: { least: 0.92 },
      goal: { least: 0.97 },
    },
    {
      what: `${FEW_SLOTS} slots: critical in time, first second`,
      unit: 'share',
      value: critical(FEW_FROM_MS, FEW_FROM_MS + 1000),
    },
    {
      what: `${MANY_SLOTS} slots: critical in time over all ${MANY_SECONDS} s`,
      unit: 'share',
      value: critical(MANY_FROM_MS, END_MS),
    },
    {
      what: `${MANY_SLOTS} slots: goodput ÷ capacity over all ${MANY_SECONDS} s`,
      unit: 'ratio',
      value:
        figures(journal, SLA_MS, { fromMs: MANY_FROM_MS, untilMs: END_MS }).inTime /
        MANY_SECONDS /
        perSecond(MANY_SLOTS),
    },
    {
      what: `${FEW_SLOTS} slots: p99 of served, last ${JUDGED_SECONDS} s`,
      unit: 'ms',
      value: late(MANY_FROM_MS - JUDGED_SECONDS * 1000, MANY_FROM_MS),
    },
    {
      what: `${MANY_SLOTS} slots: p99 of served, last ${JUDGED_SECONDS} s`,
      unit: 'ms',
      value: late(END_MS - JUDGED_SECONDS * 1000, END_MS),
    },
  ];
}

/** The moves of the origin, for the sender's clock. */
export function movingEvents(
  setSlots: (slots: number) => void,
): { readonly atMs: number; readonly act: () => void }[] {
  return [
    { atMs: FEW_FROM_MS, act: () => setSlots(FEW_SLOTS) },
    { atMs: MANY_FROM_MS, act: () => setSlots(MANY_SLOTS) },
  ];
}

export async function moving({ target: name, seed }: CaseContext): Promise<CaseRun> {
  await using origin = await startOrigin({ slots: SLOTS, meanMs: MEAN_MS, seed });
  await using target = await startTarget(name, gatewayYaml(origin.url), origin.url);
  const { journal, senderLagP99Ms, recorded } = await send({
    name: 'moving capacity',
    port: target.port,
    seed,
    ...movingLoad(),
    capacity: MOVING_CAPACITY,
    events: movingEvents((slots) => void origin.set({ slots })),
  });
  return {
    target: name,
    workers: 1,
    seed,
    rows: movingRows(journal),
    recorded: [recorded],
    codes: codes(journal, { fromMs: FEW_FROM_MS, untilMs: END_MS }),
    senderLagP99Ms,
    notes: [],
  };
}
