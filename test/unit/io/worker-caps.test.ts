/** When a worker claims parts of the instances' limits, and which grants it takes, on a given clock. */
import { expect, test } from 'vitest';

import type { NamedClaims } from '../../../src/io/ipc.ts';
import { WorkerCaps } from '../../../src/io/worker-caps.ts';
import { EVEN_PART, type CapClaim, type CapGrant } from '../../../src/upstreams/instance-cap.ts';

const IDLE: CapClaim = { grant: 0, need: 0, holds: EVEN_PART };
const MORE: CapGrant = { grant: 1, part: 14 };
const LESS: CapGrant = { grant: 2, part: 2 };

function bench(workers = 2) {
  const sent: { readonly atMs: number; readonly claims: NamedClaims }[] = [];
  const taken: { readonly atMs: number; readonly grant: CapGrant }[] = [];
  const lapsed: number[] = [];
  const faults: string[] = [];
  const service = {
    name: 'shop',
    claim: IDLE,
    claimCaps: () => service.claim,
    takeCaps: (grant: CapGrant, atMs: number) => void taken.push({ atMs, grant }),
    lapseCaps: (atMs: number) => void lapsed.push(atMs),
  };
  const services = new Map([['shop', service]]);
  const supervisor = { answers: true };
  let atMs = 0;
  const caps = new WorkerCaps({
    services: () => services,
    send: (_generation, _workers, claims) => {
      sent.push({ atMs, claims });
      if (supervisor.answers) caps.receive(workers, []);
    },
    onFault: (name) => void faults.push(name),
  });
  caps.configure(1, workers);
  /** A beat each 5 ms up to and with `untilMs`, from `fromMs` on. */
  const run = (untilMs: number, fromMs = atMs): void => {
    for (atMs = fromMs; atMs <= untilMs; atMs += 5) caps.beat(atMs);
  };
  const moments = (): readonly number[] => sent.map((each) => each.atMs);
  return { caps, service, services, supervisor, sent, taken, lapsed, faults, run, moments };
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

test('more than an equal part is not taken when it lay in the channel while the process stood still, less is', () => {
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
  caps.receive(2, [['shop', LESS]]);
  run(800, 800);
  expect(taken.at(-1)).toEqual({ atMs: 800, grant: LESS });
});

test('the first beat is not late: what a new worker is granted first is taken', () => {
  const { caps, run, taken } = bench();
  caps.receive(2, [['shop', MORE]]);
  run(0);
  caps.receive(2, [['shop', MORE]]);
  run(5);
  expect(taken.map(({ atMs }) => atMs)).toEqual([0, 5]);
});

test('a message without an answer is said again, and after a second of that all parts lapse', () => {
  const { service, run, moments, lapsed, supervisor } = bench();
  supervisor.answers = false;
  run(2500);
  expect(moments().slice(0, 3)).toEqual([0, 50, 100]);
  expect([lapsed, moments().at(-1)]).toEqual([[1005], 1000]);
  supervisor.answers = true;
  service.claim = { ...IDLE, need: 3 };
  run(5000);
  expect([lapsed.length, moments().at(-1)]).toEqual([1, 2550]);
});

test('a process that stood still waits for the answer that may lie in its channel', () => {
  const { caps, run, lapsed, supervisor } = bench();
  supervisor.answers = false;
  run(0);
  run(1500, 1500);
  caps.receive(2, [['shop', LESS]]);
  run(1505);
  expect(lapsed).toEqual([]);
});

test('a service that throws is told of; the others go on', () => {
  const { caps, services, service, run, sent, taken, lapsed, faults, supervisor } = bench();
  const fault = (): never => {
    throw new Error('a fault');
  };
  services.clear();
  services.set('bad', { ...service, name: 'bad', claimCaps: fault, takeCaps: fault, lapseCaps: fault });
  services.set('shop', service);
  supervisor.answers = false;
  run(0);
  expect(sent).toEqual([{ atMs: 0, claims: [['shop', IDLE]] }]);
  run(1005);
  expect(lapsed).toEqual([1005]);
  caps.receive(2, [
    ['bad', MORE],
    ['shop', MORE],
  ]);
  faults.length = 0;
  run(1010);
  expect(taken).toHaveLength(1);
  expect(faults[0]).toBe('bad');
});
