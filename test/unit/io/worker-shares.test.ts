/** What a worker tells the others and what it hears of them, on a given clock. */
import { expect, test } from 'vitest';

import type { NamedShares } from '../../../src/io/ipc.ts';
import { WorkerShares } from '../../../src/io/worker-shares.ts';
import type { SharingService } from '../../../src/io/worker-shares.ts';
import type { Share } from '../../../src/shedding/siblings.ts';

const IDLE: Share = {
  workers: 1,
  limit: 10,
  inFlight: 0,
  critical: 0,
  criticalWaiting: 0,
  bound: 0,
  ended: 0,
  awaitingAreaMs: 0,
};
const BUSY: Share = { ...IDLE, limit: 10.123_456, inFlight: 4, ended: 3, awaitingAreaMs: 200.4 };

interface Service extends SharingService {
  share: Share;
  fails: boolean;
  readonly heard: { readonly others: Share; readonly atMs: number }[];
}

function service(name: string, share: Share): Service {
  const made: Service = {
    name,
    share,
    fails: false,
    heard: [],
    admission: {
      share: () => {
        if (made.fails) throw new Error('no share');
        return made.share;
      },
      hear: (others, atMs) => {
        if (made.fails) throw new Error('no ear');
        made.heard.push({ others, atMs });
      },
    },
  };
  return made;
}

function bench(...services: readonly Service[]) {
  const sent: { readonly atMs: number; readonly generation: number; readonly shares: NamedShares }[] = [];
  const faults: string[] = [];
  const named = new Map(services.map((each) => [each.name, each]));
  let atMs = 0;
  const shares = new WorkerShares({
    services: () => named,
    send: (generation, told) => sent.push({ atMs, generation, shares: told }),
    onFault: (name) => faults.push(name),
  });
  /** A beat each 5 ms up to and with `untilMs`. */
  const run = (untilMs: number): void => {
    for (; atMs <= untilMs; atMs += 5) shares.beat(atMs);
  };
  /** Nothing happens until then. */
  const standStill = (untilMs: number): void => {
    atMs = untilMs;
  };
  const others = (limit: number): NamedShares => [['shop', { ...BUSY, limit }]];
  shares.configure(1, 2);
  return { shares, sent, faults, run, standStill, others };
}

test('each 50 ms the services with traffic are told of, briefly', () => {
  const { sent, run } = bench(service('shop', BUSY), service('cart', IDLE));
  run(200);
  expect(sent.map(({ atMs }) => atMs)).toEqual([0, 50, 100, 150, 200]);
  expect(sent[1]).toEqual({
    atMs: 50,
    generation: 1,
    shares: [['shop', { ...BUSY, limit: 10.12, awaitingAreaMs: 200 }]],
  });
});

test('one that fell idle is told of once more, an idle worker says nothing', () => {
  const shop = service('shop', BUSY);
  const { sent, run } = bench(shop);
  run(45);
  shop.share = IDLE;
  run(1000);
  expect(sent.map(({ shares }) => shares[0]?.[1].inFlight)).toEqual([4, 0]);
  shop.share = BUSY;
  run(1050);
  expect(sent).toHaveLength(3);
});

test('a worker alone neither tells nor hears', () => {
  const shop = service('shop', BUSY);
  const { shares, sent, run, others } = bench(shop);
  shares.configure(2, 1);
  shares.receive(2, others(5));
  run(500);
  shares.configure(3, 2);
  run(505);
  expect(sent.map(({ atMs, generation }) => ({ atMs, generation }))).toEqual([{ atMs: 505, generation: 3 }]);
  expect(shop.heard).toEqual([]);
});

test('the last that came is heard in the next beat, once', () => {
  const shop = service('shop', BUSY);
  const { shares, run, others } = bench(shop);
  run(10);
  shares.receive(1, others(5));
  shares.receive(1, others(6));
  run(30);
  expect(shop.heard.map(({ others: { limit }, atMs }) => ({ limit, atMs }))).toEqual([
    { limit: 6, atMs: 15 },
  ]);
});

test('nothing is heard across a reload', () => {
  const shop = service('shop', BUSY);
  const { shares, run, others } = bench(shop);
  run(10);
  shares.receive(1, others(5));
  shares.configure(2, 4);
  run(20);
  shares.receive(1, others(6));
  run(30);
  expect(shop.heard).toEqual([]);
  shares.receive(2, [...others(7), ['gone', BUSY]]);
  run(40);
  expect(shop.heard.map(({ others: { limit } }) => limit)).toEqual([7]);
});

test('what ended and waited around a stop of our own is not told', () => {
  const { sent, run, standStill } = bench(service('shop', BUSY));
  run(60);
  standStill(95);
  run(200);
  const told = new Map(sent.map(({ atMs, shares }) => [atMs, shares[0]?.[1]]));
  expect(told.get(50)).toMatchObject({ ended: 3, awaitingAreaMs: 200 });
  expect(told.get(100)).toMatchObject({ inFlight: 4, ended: 0, awaitingAreaMs: 0 });
  expect(told.get(150)).toMatchObject({ ended: 3, awaitingAreaMs: 200 });
});

test('what lay in the channel while the worker stood still is not heard', () => {
  const shop = service('shop', BUSY);
  const { shares, run, standStill, others } = bench(shop);
  run(10);
  shares.receive(1, others(4));
  standStill(1000);
  run(1000);
  shares.receive(1, others(5));
  run(1005);
  expect(shop.heard).toEqual([]);
  shares.receive(1, others(6));
  run(1010);
  expect(shop.heard.map(({ others: { limit } }) => limit)).toEqual([6]);
});

test('a worker whose loop is merely busy goes on hearing', () => {
  const shop = service('shop', BUSY);
  const { shares, run, standStill, others } = bench(shop);
  run(10);
  for (let at = 100; at <= 1000; at += 100) {
    standStill(at);
    run(at);
    shares.receive(1, others(at));
  }
  expect(shop.heard.map(({ others: { limit } }) => limit)).toEqual([
    100, 200, 300, 400, 500, 600, 700, 800, 900,
  ]);
});

test('a service whose admission throws keeps nobody else from being told of and heard of', () => {
  const shop = service('shop', BUSY);
  const cart = service('cart', BUSY);
  const { shares, sent, faults, run, others } = bench(shop, cart);
  shop.fails = true;
  run(10);
  shares.receive(1, [...others(5), ['cart', BUSY]]);
  run(20);
  expect(faults).toEqual(['shop', 'shop']);
  expect(sent.map(({ shares: told }) => told.map(([name]) => name))).toEqual([['cart']]);
  expect(cart.heard).toHaveLength(1);
});
