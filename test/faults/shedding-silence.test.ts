/**
 * An origin that stops answering altogether for three seconds, its sockets open, and then goes on where it stopped
 * (SIGSTOP, SIGCONT), at 0.7 of its capacity.
 *
 * Bounds, stated before: while it is silent nobody who is refused has waited for longer than the SLA, and nobody hangs
 * for longer than `timeout.request`; two seconds after it is back 95 % of what is offered is answered in time, probes
 * and slow start included. With the default time limit of 10 s no breaker opens. With one of 1 s it does, and its own
 * ramp decides: that is another file's subject (shedding-breaker), so here it is configured out.
 */
import { afterEach, beforeEach, expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { startOrigin } from '../harness/origin.ts';
import type { Origin } from '../harness/origin.ts';
import {
  figuresOf,
  goodput,
  learn,
  NOTHING_OPENS,
  shop,
  SLA_MS,
  sum,
  told,
  under,
  untilIdle,
  wholeAfter,
} from './shedding-fixture.ts';

const RATE = 280;
const STOP_MS = 500;
const BACK_MS = 3500;
const END_MS = 7000;
/** What the gateway's clockwork and a busy machine may add to a time limit. */
const SLACK_MS = 500;

let origin: Origin;
let gateway: Gateway;

beforeEach(async () => {
  origin = await startOrigin();
});

afterEach(async () => {
  process.kill(origin.pid, 'SIGCONT');
  await gateway[Symbol.asyncDispose]();
  await origin[Symbol.asyncDispose]();
});

test.each([
  ['the defaults', '', 10_000],
  [
    'a time limit of 1 s and a breaker that never opens',
    `\n    timeout: { request: 1s }${NOTHING_OPENS}`,
    1000,
  ],
])(
  'silent for 3 s, with %s: refused early, and whole 2 s after it is back',
  async (name, text, requestMs) => {
    gateway = await startGateway(shop([origin.url], text));
    const before = await learn(gateway, RATE, 1.5);
    let duringSilence = before;
    const result = await under(
      gateway,
      {
        phases: [{ seconds: END_MS / 1000, ratePerSecond: RATE }],
        timeoutMs: requestMs + SLACK_MS,
      },
      async ({ at }) => {
        await at(STOP_MS);
        process.kill(origin.pid, 'SIGSTOP');
        await at(BACK_MS - 100);
        duringSilence = await figuresOf(gateway);
        await at(BACK_MS);
        process.kill(origin.pid, 'SIGCONT');
      },
    );
    told(`silent, ${name}`, {
      before,
      duringSilence,
      goodputAfter2s: goodput(result, BACK_MS + 2000, END_MS),
      wholeAfterMs: wholeAfter(result, BACK_MS, END_MS),
      refusalP99Ms: result.refusalP99Ms,
      codes: result.codes,
      refused: sum(result, 'refused', STOP_MS, BACK_MS) / sum(result, 'offered', STOP_MS, BACK_MS),
    });
    // Nobody hung: a caller gives up only well after the gateway's own time limit.
    expect(result.failures).toEqual({});
    expect(sum(result, 'refused', STOP_MS + 500, BACK_MS)).toBeGreaterThan(0);
    expect(result.refusalP99Ms).toBeLessThanOrEqual(SLA_MS);
    expect(duringSilence.limit).toBeLessThanOrEqual(before.limit);
    expect(goodput(result, BACK_MS + 2000, END_MS)).toBeGreaterThanOrEqual(0.95);
    await untilIdle(gateway);
  },
);
