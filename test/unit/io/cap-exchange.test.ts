/** Whose claims the supervisor hears, and which books it keeps, on a given clock. */
import { expect, test } from 'vitest';

import { CapExchange } from '../../../src/io/cap-exchange.ts';
import type { CapClaim, CapGrant } from '../../../src/upstreams/instance-cap.ts';

function bench() {
  const heard: Record<string, CapGrant | undefined> = {};
  const exchange = new CapExchange<string>(
    (to, _workers, grants) => {
      for (const [service, grant] of grants) heard[`${to} ${service}`] = grant;
    },
    () => false,
  );
  let now = 0;
  /** Each 50 ms, as long as it says; heard at once. */
  const claim = (worker: string, need: number, generation = 1, workers = 2, services = ['shop']): void => {
    const claims = services.map((service): [string, CapClaim] => {
      const { grant = 0, part = 8 } = heard[`${worker} ${service}`] ?? {};
      return [service, { grant, need, holds: part }];
    });
    exchange.take(worker, generation, workers, claims, now);
  };
  const wait = (ms: number): void => void (now += ms);
  const partOf = (worker: string, service = 'shop'): number | undefined =>
    heard[`${worker} ${service}`]?.part;
  return { exchange, heard, claim, wait, partOf };
}

/** `a` has nearly all. */
function lent() {
  const world = bench();
  for (let turn = 0; turn < 5; turn++) {
    world.claim('a', 16);
    world.claim('b', 2);
    world.wait(20);
  }
  expect([world.partOf('a'), world.partOf('b')]).toEqual([14, 2]);
  return world;
}

test('a worker that has not taken a reload is heard as before it', () => {
  const { claim, partOf } = lent();
  claim('a', 16, 2);
  claim('b', 8, 1);
  claim('a', 16, 2);
  claim('b', 8, 1);
  expect([partOf('a'), partOf('b')]).toEqual([8, 8]);
});

test('among another number of workers all begin anew, and what is claimed of the old one is not heard', () => {
  const { claim, heard } = lent();
  claim('a', 2, 2, 3);
  delete heard['b shop'];
  claim('b', 16, 1, 2);
  expect(heard['b shop']).toBeUndefined();
});

test('the books of services that left end with the first word under the new configuration, others stay', () => {
  const { claim, heard, partOf } = lent();
  for (let turn = 0; turn < 2; turn++) {
    claim('a', 16, 1, 2, ['shop', 'cart']);
    claim('b', 2, 1, 2, ['shop', 'cart']);
  }
  claim('a', 16, 1, 2, ['shop', 'cart']);
  expect(partOf('a', 'cart')).toBe(14);
  claim('a', 16, 2, 2, ['shop']);
  expect(partOf('a')).toBe(14);
  // It came back: who had it before and who did not have an equal part.
  delete heard['b cart'];
  claim('a', 2, 3, 2, ['shop', 'cart']);
  claim('b', 2, 3, 2, ['shop', 'cart']);
  expect(partOf('b', 'cart')).toBe(8);
});

test('a book that begins anew grants nothing with a number that its worker takes for old', () => {
  const { claim, heard } = bench();
  heard['a shop'] = { grant: 9, part: 14 };
  claim('a', 16);
  expect(heard['a shop']).toEqual({ grant: 9, part: 8 });
});

test('after the supervisor stood still what was lent has lapsed, and nobody is taken for silent', () => {
  const { claim, wait, partOf } = lent();
  wait(3000);
  // What it reads first may be from before.
  claim('a', 16);
  expect([partOf('a'), partOf('b')]).toEqual([8, 2]);
  claim('b', 2);
  claim('a', 16);
  expect(partOf('a')).toBe(14);
});
