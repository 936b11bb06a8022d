/** When a worker claims parts of the instances' limits, and which grants it takes, on a given clock. */
import { expect, test } from 'vitest';

import type { NamedClaims } from '../../../src/io/ipc.ts';
import { WorkerCaps } from '../../../src/io/worker-caps.ts';
import { EVEN_PART, type CapClaim, type CapGrant } from '../../../src/upstreams/instance-cap.ts';

const IDLE: CapClaim = { grant: 0, need: 0, holds: EVEN_PART };
const MORE: CapGrant = { grant: 1, part: 14 };

function bench(workers = 2) {
  const sent: { readonly atMs: number; readonly claims: NamedClaims }[] = [];
  const taken: { readonly atMs: number; readonly grant: CapGrant }[] = [];
  const service = {
    name: 'shop',
    claim: IDLE,
    claimCaps: () => service.claim,
    takeCaps: (grant: CapGrant, atMs: number) => void taken.push({ atMs, grant }),
  };
  let atMs = 0;
  const caps = new WorkerCaps({
    services: () => new Map([['shop', service]]),
    send: (_generation, _workers, claims) => void sent.push({ atMs, claims }),
  });
  caps.configure(1, workers);
  /** A beat each 5 ms up to and with `untilMs`, from `fromMs` on. */
  const run = (untilMs: number, fromMs = atMs): void => {
    for (atMs = fromMs; atMs <= untilMs; atMs += 5) caps.beat(atMs);
  };
  return { caps, service, sent, taken, run, moments: () => sent.map((each) => each.atMs) };
}

test('an idle worker says once that it needs nothing, and one alone says nothing', () => {
  const two = bench();
  two.run(1000);
  expect(two.sent).toEqual([{ atMs: 0, claims: [['shop', IDLE]] }]);
  const alone = bench(1);
  alone.run(1000);
  expect(alone.sent).toEqual([]);
});

test('a claim is told when it changes, and each 50 ms for more than an equal part, held or needed', () => {
  const { run, moments, service } = bench();
  run(95);
  service.claim = { ...IDLE, need: 3 };
  run(195);
  expect(moments()).toEqual([0, 100]);
  service.claim = { ...IDLE, need: 9 };
  run(295);
  expect(moments().slice(2)).toEqual([200, 250]);
  service.claim = { grant: 1, need: 3, holds: 9 };
  run(395);
  expect(moments().slice(4)).toEqual([300, 350]);
});

test('a new configuration makes it say all again', () => {
  const { caps, run, moments } = bench();
  run(95);
  caps.configure(2, 2);
  run(195);
  expect(moments()).toEqual([0, 100]);
});

test('a grant is taken in the next beat, one for another number of workers is not', () => {
  const { caps, run, taken } = bench();
  run(95);
  caps.receive(2, [['shop', MORE]]);
  caps.receive(3, [['shop', { grant: 2, part: 3 }]]);
  run(110);
  expect(taken).toEqual([{ atMs: 100, grant: MORE }]);
});

test('what lay in the channel while the process stood still is not taken', () => {
  const { caps, run, taken } = bench();
  run(95);
  caps.receive(2, [['shop', MORE]]);
  run(400, 400);
  caps.receive(2, [['shop', MORE]]);
  run(405);
  expect(taken).toEqual([]);
  caps.receive(2, [['shop', MORE]]);
  run(410);
  expect(taken).toHaveLength(1);
});
