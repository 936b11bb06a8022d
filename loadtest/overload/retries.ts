/**
 * Callers that do not take no for an answer: refused, they come back up to three times, after a fixed pause, after a
 * growing and jittered one, or when `Retry-After` tells them to. At twice the capacity that makes more traffic out of
 * every refusal; when the surge falls to 0.8 C, service must be whole two seconds later.
 *
 * Whoever obeys `Retry-After` comes back for a long time. Then more may be offered than the origin can do although 0.8 C
 * arrive, so their recovery is measured against what is possible.
 */
import type { LoadJournal } from '../../test/harness/load-journal.ts';
import type { RetryPolicy } from '../../test/harness/load-sender.ts';
import { startOrigin } from '../../test/harness/origin.ts';
import { startTarget } from '../targets.ts';
import { CAPACITY, CRITICAL, gatewayYaml, load, SLA_MS } from './anchors.ts';
import { send } from './case.ts';
import type { CaseContext, CaseRun, Recorded } from './case.ts';
import type { Row } from './rows.ts';
import { codes, figures } from './window.ts';

const RETRIES = 3;
const PAUSE_MS = 100;
const CRITICAL_TIMES = 0.3;
const WARM_SECONDS = 2;
const SURGE_SECONDS = 6;
const AFTER_SECONDS = 6;
/** The first seconds of the surge are the limit's to find. */
const FOUND_SECONDS = 2;
const RECOVERY_MS = 2000;

const SURGE_FROM_MS = (WARM_SECONDS + FOUND_SECONDS) * 1000;
const FALL_MS = (WARM_SECONDS + SURGE_SECONDS) * 1000;
const END_MS = FALL_MS + AFTER_SECONDS * 1000;

type Behaviour = 'fixed pause' | 'jittered' | 'obedient';

const POLICIES: Readonly<Record<Behaviour, RetryPolicy>> = {
  'fixed pause': { retries: RETRIES, pauseMs: () => PAUSE_MS },
  jittered: { retries: RETRIES, pauseMs: (attempt, _, random) => random() * PAUSE_MS * 2 ** (attempt + 1) },
  obedient: {
    retries: RETRIES,
    pauseMs: (_, retryAfterSeconds) => 1000 * (Number.isNaN(retryAfterSeconds) ? 1 : retryAfterSeconds),
  },
};

export function retryRows(journal: LoadJournal, behaviour: Behaviour): Row[] {
  const surge = { fromMs: SURGE_FROM_MS, untilMs: FALL_MS };
  const after = { fromMs: FALL_MS + RECOVERY_MS, untilMs: END_MS };
  const during = figures(journal, SLA_MS, surge);
  const critical = figures(journal, SLA_MS, { ...surge, classIndex: CRITICAL });
  const recovered = figures(journal, SLA_MS, after);
  const first = figures(journal, SLA_MS, { ...after, firstOnly: true });
  const possible = ((END_MS - FALL_MS - RECOVERY_MS) / 1000) * CAPACITY;
  const obedient = behaviour === 'obedient';
  return [
    {
      what: `${behaviour}: goodput ÷ C at 2 C of callers`,
      unit: 'ratio',
      value: during.inTime / CAPACITY / ((FALL_MS - SURGE_FROM_MS) / 1000),
      bound: { least: 0.95 },
    },
    {
      what: `${behaviour}: attempts offered ÷ C`,
      unit: 'ratio',
      value: during.offered / CAPACITY / ((FALL_MS - SURGE_FROM_MS) / 1000),
    },
    {
      what: `${behaviour}: critical in time`,
      unit: 'share',
      value: critical.inTimeRatio,
      bound: { least: 0.995 },
    },
    {
      what: obedient
        ? `${behaviour}: goodput ÷ what can be served, from 2 s after the fall`
        : `${behaviour}: in time of all attempts, from 2 s after the fall`,
      unit: 'share',
      value:
        recovered.inTime / Math.max(1, obedient ? Math.min(recovered.offered, possible) : recovered.offered),
      bound: { least: 0.95 },
    },
    {
      what: `${behaviour}: in time of first attempts, from 2 s after the fall`,
      unit: 'share',
      value: first.inTimeRatio,
    },
  ];
}

export async function retries({ target: name, seed }: CaseContext): Promise<CaseRun> {
  const rows: Row[] = [];
  const recorded: Recorded[] = [];
  let senderLagP99Ms = 0;
  let lastCodes: Readonly<Record<string, number>> = {};
  const loaded = load([
    { seconds: WARM_SECONDS, times: 0.8, critical: CRITICAL_TIMES },
    { seconds: SURGE_SECONDS, times: 2, critical: CRITICAL_TIMES },
    { seconds: AFTER_SECONDS, times: 0.8, critical: CRITICAL_TIMES },
  ]);
  for (const behaviour of Object.keys(POLICIES) as Behaviour[]) {
    await using origin = await startOrigin({ seed });
    await using target = await startTarget(name, gatewayYaml(origin.url), origin.url);
    const sent = await send({
      name: `callers retry: ${behaviour}`,
      port: target.port,
      seed,
      ...loaded,
      retry: POLICIES[behaviour],
      capacity: [[0, CAPACITY]],
    });
    rows.push(...retryRows(sent.journal, behaviour));
    recorded.push(sent.recorded);
    senderLagP99Ms = Math.max(senderLagP99Ms, sent.senderLagP99Ms);
    lastCodes = codes(sent.journal, { fromMs: SURGE_FROM_MS, untilMs: END_MS });
  }
  return { target: name, workers: 1, seed, rows, recorded, codes: lastCodes, senderLagP99Ms, notes: [] };
}
