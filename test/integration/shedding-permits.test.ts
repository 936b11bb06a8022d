/**
 * Permits and places in the queue, whatever callers do to hold on to them.
 *
 * Bounds, stated before: a thousand connections that send half a head hold no permit and cost the others nothing (≥ 95 %
 * of 0.5 of the capacity in time, nobody refused); bodies of which half is sent accuse nobody: no limit is cut for
 * them, and 95 % of the others is in time. Who waits and leaves has freed its place within 250 ms. After a run of everything
 * at once nothing is held anywhere, and at no moment did the service hold more requests of callers who were there than the
 * limit allows.
 */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';

import { figuresOf, learn, shop, told, under, untilIdle } from '../faults/shedding-fixture.ts';
import { runCallers } from '../harness/callers.ts';
import type { Caller } from '../harness/callers.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { openRaw } from '../harness/raw.ts';
import type { RawConnection } from '../harness/raw.ts';
import { startSlotOrigin } from '../harness/slot-origin.ts';
import type { SlotOrigin } from '../harness/slot-origin.ts';

const CAPACITY = 200;
const LIMIT = 8;
const QUEUE = 100;

let origin: SlotOrigin;
let gateway: Gateway;
let narrow: Gateway;

beforeAll(async () => {
  origin = await startSlotOrigin({
    slots: 10,
    meanMs: 50,
    other: ({ url = '' }) => url.startsWith('/hang'),
  });
  gateway = await startGateway(shop([origin.url]));
  narrow = await startGateway(shop([origin.url], `\n    shedding: { limit: ${LIMIT}, queue: ${QUEUE} }`));
  await learn(gateway, 0.5 * CAPACITY, 2);
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await narrow[Symbol.asyncDispose]();
  await origin[Symbol.asyncDispose]();
});

beforeEach(() => {
  origin.counts.maxHeld = 0;
});

async function open(port: number, count: number, bytes: (index: number) => string): Promise<RawConnection[]> {
  const opened = Array.from({ length: count }, async (_, index) => {
    const connection = await openRaw(port);
    connection.write(bytes(index));
    return connection;
  });
  return await Promise.all(opened);
}

async function close(connections: readonly RawConnection[]): Promise<void> {
  await Promise.all(connections.map(async (connection) => await connection[Symbol.asyncDispose]()));
}

test('a request with a body is measured from its last byte on', async () => {
  const classes = [{ name: 'post', share: 1, method: 'POST', body: 'whole' }];
  const result = await under(narrow, { phases: [{ seconds: 1.5, ratePerSecond: 0.4 * CAPACITY }], classes });
  expect(result.served).toBe(result.offered);
  // The median of lognormal times around 50 ms is 44.
  expect((await figuresOf(narrow)).baselineMs).toBeGreaterThan(30);
  expect((await figuresOf(narrow)).baselineMs).toBeLessThan(60);
});

test('a thousand connections that send half a head hold no permit and cost nobody anything', async () => {
  const halves = await open(gateway.port, 1000, (index) => `GET /half/${index} HTTP/1.1\r\nhost: a.te`);
  try {
    expect(await figuresOf(gateway)).toMatchObject({ inFlight: 0, queueDepth: 0, atInstances: 0 });
    const result = await under(gateway, { phases: [{ seconds: 2, ratePerSecond: 0.5 * CAPACITY }] });
    told('1000 half heads', { goodput: result.goodputRatio, codes: result.codes });
    expect(result.goodputRatio).toBeGreaterThanOrEqual(0.95);
    expect(result.refused).toBe(0);
  } finally {
    await close(halves);
  }
  await untilIdle(gateway);
});

test('bodies of which half is sent accuse nobody', async () => {
  const before = await figuresOf(gateway);
  const halves = await open(
    gateway.port,
    15,
    (index) => `POST /hang/${index} HTTP/1.1\r\nhost: a.test\r\ncontent-length: 100\r\n\r\nhalf`,
  );
  try {
    const result = await under(gateway, {
      phases: [{ seconds: 4, ratePerSecond: 0.5 * CAPACITY }],
      measureFromMs: 1000,
    });
    const after = await figuresOf(gateway);
    told('15 half bodies', { goodput: result.goodputRatio, codes: result.codes, before, after });
    expect(after.limit).toBeGreaterThanOrEqual(before.limit);
    expect(result.goodputRatio).toBeGreaterThanOrEqual(0.95);
  } finally {
    await close(halves);
  }
  await untilIdle(gateway);
});

test('whoever waits and leaves has freed its place at once, and the next is served', async () => {
  const holders = await open(
    narrow.port,
    LIMIT,
    (index) => `GET /hang/${index} HTTP/1.1\r\nhost: a.test\r\n\r\n`,
  );
  await eventually('all permits are held', async () => (await figuresOf(narrow)).inFlight === LIMIT);
  for (let round = 0; round < 5; round += 1) {
    const waiting = await open(
      narrow.port,
      60,
      (index) => `GET /wait/${index} HTTP/1.1\r\nhost: a.test\r\n\r\n`,
    );
    await eventually('they wait', async () => (await figuresOf(narrow)).queueDepth > 0, 5000, 1);
    await close(waiting);
    const fromMs = performance.now();
    await eventually('the queue is empty', async () => (await figuresOf(narrow)).queueDepth === 0, 5000, 1);
    expect(performance.now() - fromMs).toBeLessThan(250);
    expect((await figuresOf(narrow)).inFlight).toBe(LIMIT);
  }
  await close(holders);
  await untilIdle(narrow);
  const next = await runCallers({
    port: narrow.port,
    ratePerSecond: 50,
    seconds: 1,
    caller: (index) => ({ path: `/next/${index}` }),
  });
  expect(next.statuses).toEqual({ 200: next.stayed });
});

/** Ten kinds of callers in turn, each path once. */
function anyone(index: number): Caller {
  const path = `/any/${index}`;
  switch (index % 10) {
    case 0:
      return { path, leavesAfterMs: 0 };
    case 1:
      return { path, leavesAfterMs: 5 };
    case 2:
      return { path, leavesAfterMs: 100 };
    case 3:
      return { path, leavesAfterMs: 300, bytes: `GET ${path} HTTP/1.1\r\nhost: a.` };
    case 4:
      return {
        path,
        leavesAfterMs: 200,
        bytes: `POST ${path} HTTP/1.1\r\nhost: a.test\r\ncontent-length: 9\r\n\r\nhalf`,
      };
    case 5:
      return {
        path,
        bytes: `POST ${path} HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n`,
      };
    case 6:
      return { path: `/hang/${index}`, leavesAfterMs: 30 };
    default:
      return { path };
  }
}

test('after everything at once nothing is held, and the service never held more than the limit', async () => {
  const result = await runCallers({
    port: narrow.port,
    ratePerSecond: 500,
    seconds: 5,
    caller: anyone,
    onLeave: origin.leaves,
  });
  await untilIdle(narrow);
  told('everything at once', {
    left: result.left,
    stayed: result.stayed,
    statuses: result.statuses,
    maxHeld: origin.counts.maxHeld,
  });
  expect(origin.counts.maxHeld).toBe(LIMIT);
  expect(origin.counts.held).toBe(0);
  expect(Object.keys(result.statuses).toSorted()).toEqual(['200', '503']);
  expect(await figuresOf(narrow)).toMatchObject({ inFlight: 0, queueDepth: 0, atInstances: 0 });
});
