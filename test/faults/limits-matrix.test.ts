/**
 * The table of limits.md, section 6, row by row: each fault is done for real to a Redis that three gateways share, while their
 * callers ask for three times the limit. Whatever happens: every caller is answered, none with a 5xx, the limit holds within
 * its bound, and it is shared again by itself.
 *
 * Bounds in milliseconds belong to a quiet machine (`npm run loadtest -- limits`); asserted here is what a busy one cannot
 * change: how many questions ran into a deadline, who was decided where, and how many were admitted.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../harness/ports.ts';
import { freePort, RedisServer } from '../harness/redis.ts';
import type { Relay } from '../harness/redis.ts';
import { BURST, Fleet, RATE } from './limits-fleet.ts';

const GATEWAYS = 3;
const CALM_MS = 300;
/** Long enough for a breaker to open and to be tried again. */
const FAULT_MS = 900;
/** Units that leases may add, see `limits.maxOverAdmission`: 5 % of a second and a burst. */
const LEASED = 0.05 * (RATE + BURST);
const TICKS_PER_SECOND = 10_000_000;

const pause = async (ms: number): Promise<void> => await new Promise((resolve) => setTimeout(resolve, ms));

let server: RedisServer;
let redis: Redis;
let fleet: Fleet;
beforeAll(async () => {
  // A little time for each key that is loaded, so that LOADING can be seen; and leave to break the file that is saved to.
  const args = ['--key-load-delay', '500', '--loading-process-events-interval-bytes', '1024'];
  server = await RedisServer.start([...args, '--enable-protected-configs', 'yes']);
  redis = server.client();
  fleet = await Fleet.start(GATEWAYS, server.port);
});
afterAll(async () => {
  await fleet[Symbol.asyncDispose]();
  redis.disconnect();
  await server.stop();
});
afterEach(async () => {
  await fleet.end();
});

interface Row {
  readonly fault: string;
  readonly begin: () => Promise<unknown> | void;
  readonly end: () => Promise<unknown> | void;
  /** How `limit_store_errors_total` may name it. */
  readonly kind: RegExp;
  /** What the store forgets is a burst more. */
  readonly forgets?: true;
}

function relays(work: (relay: Relay) => void): void {
  for (const { relay } of fleet.members) if (relay !== undefined) work(relay);
}

let loading: Promise<void> = Promise.resolve();

const LOST: readonly Row[] = [
  {
    fault: 'stalled (SIGSTOP)',
    begin: () => server.pause(),
    end: () => server.resume(),
    kind: /silent|slow/,
  },
  {
    fault: 'slower than the deadline',
    begin: () => relays((relay) => relay.lag(60)),
    end: () => relays((relay) => relay.lag(0)),
    kind: /slow/,
  },
  {
    fault: 'cut in flight, then refused',
    begin: () => relays((relay) => relay.refuse(true)),
    end: () => relays((relay) => relay.refuse(false)),
    kind: /closed|ECONNRESET|EPIPE/,
  },
  {
    fault: 'half open: nothing comes back any more',
    begin: () => relays((relay) => relay.freeze()),
    end: () => undefined,
    kind: /silent|slow/,
  },
  {
    fault: 'killed, and started again empty (SIGKILL)',
    begin: async () => await server.kill(),
    end: async () => await server.restart(),
    kind: /closed|ECONNREFUSED|ECONNRESET/,
    forgets: true,
  },
  {
    fault: 'LOADING: started again with a file to read',
    begin: async () => {
      await redis.eval("for i = 1, 2000 do redis.call('SET', 'filler' .. i, i) end", 0);
      await redis.save();
      await server.kill();
      loading = server.restart();
    },
    end: async () => {
      await loading;
      rmSync(join(server.directory, 'dump.rdb'), { force: true });
      await redis.eval("for i = 1, 2000 do redis.call('DEL', 'filler' .. i) end", 0);
    },
    kind: /LOADING|closed|ECONNRESET/,
  },
  {
    fault: 'READONLY: it has become a replica',
    begin: async () => await redis.replicaof('127.0.0.1', await freePort()),
    end: async () => await redis.replicaof('NO', 'ONE'),
    kind: /READONLY/,
  },
  {
    fault: 'OOM: its memory is full, and nothing is evicted',
    begin: async () => await redis.config('SET', 'maxmemory', '1'),
    end: async () => await redis.config('SET', 'maxmemory', '0'),
    kind: /OOM/,
  },
  {
    fault: 'MISCONF: it cannot save, and takes no writes',
    begin: async () => {
      mkdirSync(join(server.directory, 'no-file'), { recursive: true });
      await redis.config('SET', 'dbfilename', 'no-file');
      await redis.config('SET', 'save', '3600 1');
      await redis.bgsave();
    },
    end: async () => {
      await redis.config('SET', 'save', '');
      await redis.config('SET', 'dbfilename', 'dump.rdb');
    },
    kind: /MISCONF/,
  },
  {
    fault: 'NOAUTH: it asks for a password all at once',
    begin: async () => {
      await redis.config('SET', 'requirepass', 'sesame');
      await redis.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    },
    end: async () => await redis.config('SET', 'requirepass', ''),
    kind: /NOAUTH|closed|ECONNRESET/,
  },
];

/** Every caller was answered, and by no 5xx. */
function expectAnswered(): void {
  const statuses: Record<number, number> = {};
  for (const { status } of fleet.asked) statuses[status] = (statuses[status] ?? 0) + 1;
  expect(Object.keys(statuses).toSorted()).toEqual(['200', '429']);
}

/** r·W + (1 + k)(b + G·c) + N·B, and what those admit by their shares while others have the store. */
function expectWithinBound(sinceMs: number, forgotten = 0): void {
  const { losses, mixedMs } = fleet.storeTold(sinceMs);
  const bursts = (1 + losses + forgotten) * (BURST + GATEWAYS);
  const mixed = (RATE * mixedMs * (GATEWAYS - 1)) / GATEWAYS / 1000;
  expect(fleet.admitted()).toBeLessThanOrEqual((RATE * fleet.spanMs) / 1000 + bursts + LEASED + mixed);
}

async function kindsOf(member: Fleet['members'][number]): Promise<string> {
  const metrics = String((await member.gateway.admin('/metrics')).body);
  const found = [...metrics.matchAll(/^spillway_limit_store_errors_total\{kind="(\w+)"\}/gm)];
  return found.map(([, word = '']) => word).join(' ');
}

describe('the store is lost to all gateways', () => {
  test.each(LOST)('$fault', async ({ begin, end, kind, forgets }) => {
    await fleet.whole();
    const sinceMs = Date.now();
    const slowBefore = await fleet.metric('limit_store_errors_total', '"slow"');
    fleet.begin();
    await pause(CALM_MS);
    await begin();
    await fleet.lost();
    const lostAt = performance.now();
    await pause(FAULT_MS);
    const healedAt = performance.now();
    await end();
    await fleet.whole();
    await pause(CALM_MS);
    await fleet.end();

    expectAnswered();
    expect(fleet.storeTold(sinceMs).losses).toBeGreaterThan(0);
    expectWithinBound(sinceMs, forgets === true ? 1 : 0);
    // The limit is a limit and no wall: by their shares the gateways admit much of it between them, and no more than it.
    const lost = (RATE * (healedAt - lostAt)) / 1000;
    expect(fleet.admitted(lostAt)).toBeGreaterThan(0.3 * lost);
    expect(fleet.admitted(lostAt, healedAt)).toBeLessThanOrEqual(lost + BURST + GATEWAYS);
    // Only what was on its way at the first missed deadlines waited, of all that was asked.
    const slow = await fleet.metric('limit_store_errors_total', '"slow"');
    for (const [i, count] of slow.entries()) {
      const asked = fleet.asked.filter(({ gateway }) => gateway === i).length;
      expect(count - (slowBefore[i] ?? 0)).toBeLessThan(asked / 3);
    }
    for (const member of fleet.members) expect(await kindsOf(member)).toMatch(kind);
  });

  test('three times within a few seconds', async () => {
    await fleet.whole();
    const sinceMs = Date.now();
    fleet.begin();
    for (let flap = 0; flap < 3; flap++) {
      await pause(CALM_MS);
      relays((relay) => relay.refuse(true));
      await fleet.lost();
      relays((relay) => relay.refuse(false));
      await fleet.whole();
    }
    await pause(CALM_MS);
    await fleet.end();
    expectAnswered();
    expect(fleet.storeTold(sinceMs).losses).toBeGreaterThanOrEqual(3);
    expectWithinBound(sinceMs);
  });
});

describe('the store stays', () => {
  test('SCRIPT FLUSH: its scripts are loaded again, and no caller is told otherwise', async () => {
    await fleet.whole();
    const sinceMs = Date.now();
    fleet.begin();
    for (let i = 0; i < 5; i++) {
      await pause(150);
      await redis.script('FLUSH');
    }
    await pause(150);
    await fleet.end();
    expectAnswered();
    expectWithinBound(sinceMs);
    for (const member of fleet.members) expect(await kindsOf(member)).not.toMatch(/NOSCRIPT|\berror/);
  });

  test('a key is evicted: one burst more for each time', async () => {
    await fleet.whole();
    const sinceMs = Date.now();
    fleet.begin();
    for (let i = 0; i < 3; i++) {
      await pause(250);
      await redis.del(await bucket());
    }
    await pause(250);
    await fleet.end();
    expectAnswered();
    expectWithinBound(sinceMs, 3);
  });

  // A clock that is set back by d leaves every bucket d further in the future; set forward, as much nearer.
  test.each([
    ['back, by a minute: nobody waits longer than a burst takes to come back', 60, 0],
    ['forward, by a minute: one burst more', -60, 1],
  ])('its clock is set %s', async (_, seconds, bursts) => {
    await fleet.whole();
    const sinceMs = Date.now();
    fleet.begin();
    await pause(500);
    const key = await bucket();
    const shift =
      "local v = redis.call('GET', KEYS[1]) redis.call('SET', KEYS[1], string.format('%.0f', v + ARGV[1]), 'PX', 90000)";
    await redis.eval(shift, 1, key, seconds * TICKS_PER_SECOND);
    const setAt = performance.now();
    await pause((BURST / RATE) * 1000 + 1000);
    await fleet.end();
    expectAnswered();
    expectWithinBound(sinceMs, bursts);
    // b/r is two tenths; what comes in the second after that is most of what the limit allows.
    expect(fleet.admitted(setAt)).toBeGreaterThan(0.5 * RATE);
  });

  /** The one client's, which is full again two tenths after the last question. */
  async function bucket(): Promise<string> {
    let keys: string[] = [];
    await eventually('there is a bucket', async () => {
      keys = await redis.keys('spw:{c.*}:t');
      return keys.length === 1;
    });
    return keys[0] ?? '';
  }
});

test('one gateway is cut off: it admits its share, the others go on with the store', async () => {
  await fleet.whole();
  const sinceMs = Date.now();
  const [cut] = fleet.members;
  fleet.begin();
  await pause(CALM_MS);
  cut?.relay?.refuse(true);
  await fleet.lost(1);
  const lostAt = performance.now();
  await pause(1500);
  const healedAt = performance.now();
  cut?.relay?.refuse(false);
  await fleet.whole();
  await fleet.end();
  expectAnswered();
  expectWithinBound(sinceMs);
  const share = (RATE * (healedAt - lostAt)) / 1000 / GATEWAYS;
  expect(fleet.admitted(lostAt, healedAt, 0)).toBeLessThanOrEqual(share + Math.ceil(BURST / GATEWAYS) + 1);
  expect(fleet.admitted(lostAt, healedAt, 0)).toBeGreaterThan(0.3 * share);
});
