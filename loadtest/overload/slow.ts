/**
 * A service that turns slow by itself, far from busy: 50 ms become 300 at once, 200 slots, 120 requests a second, SLA
 * 500 ms. Refusing somebody makes nobody faster, so nobody is to be refused; but operators are to be told.
 */
import { setTimeout as pause } from 'node:timers/promises';

import type { Gateway } from '../../test/harness/gateway.ts';
import type { LoadJournal } from '../../test/harness/load-journal.ts';
import { startOrigin } from '../../test/harness/origin.ts';
import { startTarget } from '../targets.ts';
import { gatewayYaml, mixed } from './anchors.ts';
import { send } from './case.ts';
import type { CaseContext, CaseRun } from './case.ts';
import { metric } from './metrics.ts';
import type { Row } from './rows.ts';
import { codes, figures } from './window.ts';

const SLOTS = 200;
const FAST_MS = 50;
const SLOW_MS = 300;
const RATE_PER_SECOND = 120;
const SLA_MS = 500;
const FAST_SECONDS = 8;
const FIRST_SECONDS = 5;
const LATER_SECONDS = 12;
/** The design wants the flag within three seconds; "within some seconds" is the bound of the issue. */
const FLAG_GOAL_MS = 3000;
const FLAG_MOST_MS = 10_000;
const POLL_MS = 250;

const TURN_MS = FAST_SECONDS * 1000;
const END_MS = TURN_MS + (FIRST_SECONDS + LATER_SECONDS) * 1000;

/** `flaggedMs`: from the turn until the service was called slow, Infinity for never. */
export function slowRows(journal: LoadJournal, flaggedMs: number): Row[] {
  const firstUntilMs = TURN_MS + FIRST_SECONDS * 1000;
  const before = figures(journal, SLA_MS, { fromMs: 0, untilMs: TURN_MS });
  const first = figures(journal, SLA_MS, { fromMs: TURN_MS, untilMs: firstUntilMs });
  const later = figures(journal, SLA_MS, { fromMs: firstUntilMs, untilMs: END_MS });
  return [
    {
      what: `shed in the first ${FIRST_SECONDS} s of slowness`,
      unit: 'share',
      value: first.refusedRatio,
      bound: { most: 0.1 },
    },
    { what: 'shed after that', unit: 'share', value: later.refusedRatio, bound: { most: 0.005 } },
    {
      what: 'flagged slow after',
      unit: 'seconds',
      value: flaggedMs / 1000,
      bound: { most: FLAG_MOST_MS / 1000 },
      goal: { most: FLAG_GOAL_MS / 1000 },
    },
    { what: 'shed before', unit: 'share', value: before.refusedRatio, bound: { most: 0 } },
    { what: 'in time after the turn', unit: 'share', value: later.inTimeRatio },
    { what: 'p99 of served after the turn', unit: 'ms', value: later.p99Ms },
  ];
}

/** Ms from `sinceMs` (of `performance.now`) until the gateway calls its service slow; Infinity when it does not. */
async function untilFlagged(gateway: Gateway, sinceMs: number, signal: AbortSignal): Promise<number> {
  while (!signal.aborted) {
    const { body } = await gateway.admin('/metrics');
    if (metric(String(body), 'spillway_service_slow', { service: 'shop' }) > 0)
      return performance.now() - sinceMs;
    await pause(POLL_MS);
  }
  return Infinity;
}

export async function slow({ target: name, seed }: CaseContext): Promise<CaseRun> {
  await using origin = await startOrigin({ slots: SLOTS, meanMs: FAST_MS, seed });
  await using target = await startTarget(name, gatewayYaml(origin.url, { slaMs: SLA_MS }), origin.url);
  const ended = new AbortController();
  let flagged: Promise<number> = Promise.resolve(Infinity);
  const { gateway } = target;
  const { journal, senderLagP99Ms, recorded } = await send({
    name: 'six times slower',
    port: target.port,
    seed,
    slaMs: SLA_MS,
    classes: mixed({ critical: 0.2, default: 0.4, sheddable: 0.4 }),
    phases: [{ seconds: END_MS / 1000, ratePerSecond: RATE_PER_SECOND }],
    capacity: [
      [0, (SLOTS / FAST_MS) * 1000],
      [TURN_MS, (SLOTS / SLOW_MS) * 1000],
    ],
    events: [
      {
        atMs: TURN_MS,
        act: () => {
          void origin.set({ meanMs: SLOW_MS });
          if (gateway !== undefined) flagged = untilFlagged(gateway, performance.now(), ended.signal);
        },
      },
    ],
  });
  ended.abort();
  return {
    target: name,
    workers: 1,
    seed,
    rows: slowRows(journal, await flagged),
    recorded: [recorded],
    codes: codes(journal, { fromMs: TURN_MS, untilMs: END_MS }),
    senderLagP99Ms,
    notes: [],
  };
}
