/** What a guess costs its address: a unit for each unknown key, nothing for a right one, whenever the hold ends. */
import { expect, test } from 'vitest';
import { IdentityChain, type Identity } from '../../../src/clients/identity.ts';
import { admitCaller, identifyCaller } from '../../../src/io/caller.ts';
import type { Exchange } from '../../../src/io/exchange.ts';
import { seededRandom } from '../../../src/kernel/random.ts';
import { compileRate } from '../../../src/limits/gcra.ts';
import type { Charge, LimitDecision } from '../../../src/limits/decision.ts';
import { Limiter } from '../../../src/limits/limiter.ts';
import { charge, decideNow, ScriptedStore } from '../limits/fixtures.ts';

const RATE = compileRate(1, 3);

/** A worker's part in it, with real limits and a clock that stands still until it is moved. */
class Bench {
  now = 0;
  /** What passes between the look at the hold and the decision. */
  gapMs = 0;
  readonly limiter = new Limiter({
    store: new ScriptedStore(),
    onUnavailable: 'local',
    workers: 1,
    random: seededRandom(3),
  });
  readonly chain = new IdentityChain({
    chain: [{ kind: 'header', name: 'x-api-key' }],
    keys: [
      { key: 'right-1', client: 'acme', tier: 'gold' },
      { key: 'right-2', client: 'acme', tier: 'gold' },
    ],
    unknownKeys: 'reject',
    defaultTier: 'default',
    tiers: new Set(['default', 'gold']),
    allow: [],
    deny: [],
    hashSecret: 'of the test',
    isHeld: (bucket) => {
      const held = this.limiter.isOnHold(bucket, 1, this.now);
      this.now += this.gapMs;
      return held;
    },
  });

  /** The code of the answer; '' for one that was let in. */
  ask(key: string): string {
    const exchange = new Caller(this, key);
    const told = exchange as unknown as Exchange;
    identifyCaller(told);
    admitCaller(told, () => {
      exchange.admitted = true;
    });
    if (exchange.admitted === (exchange.code !== '')) throw new Error('neither let in nor refused');
    return exchange.code;
  }

  chargesOf(bucket: string, tier: string): readonly Charge[] {
    return tier === 'gold' ? [] : [charge('client', RATE, true, bucket)];
  }

  /** Units that the address has left, by asking for all of them. */
  left(): number {
    const { bucket } = this.chain.identify(inputOf(''));
    let units = 0;
    while (decideNow(this.limiter, this.chargesOf(bucket, 'default'), this.now).ok) units++;
    return units;
  }

  /** Uses up what the address has, until it is on hold. */
  exhaust(): void {
    this.left();
  }
}

function inputOf(key: string): Parameters<IdentityChain['identify']>[0] {
  return {
    address: '203.0.113.9',
    facts: { lookup: () => key || undefined, isRepeated: () => false, cookie: '' },
    connection: { subject: '' },
    startedMs: 0,
  };
}

/** What of an exchange its caller's step touches. */
class Caller {
  readonly worker;
  readonly snapshot;
  readonly facts;
  readonly address;
  readonly connection;
  readonly startedMs;
  readonly route = { rank: 1 };
  identity: Identity | undefined = undefined;
  bucket = '';
  tier = '';
  exempt = false;
  charges: readonly Charge[] = [];
  cost = 0;
  code = '';
  admitted = false;
  next: ((exchange: unknown) => void) | undefined = undefined;

  constructor(bench: Bench, key: string) {
    const input = inputOf(key);
    this.facts = { ...input.facts, xPriority: '' };
    this.address = input.address;
    this.connection = input.connection;
    this.startedMs = input.startedMs;
    this.worker = { limiter: bench.limiter, now: () => bench.now };
    this.snapshot = {
      identity: bench.chain,
      rankOfTier: () => 1,
      chargesFor: (_route: unknown, tier: string, bucket: string) => ({
        charges: bench.chargesOf(bucket, tier),
        policy: '',
      }),
    };
  }

  decided({ ok, code }: LimitDecision): void {
    if (ok) this.next?.(this);
    else this.refuse(code);
  }

  refuse(code: string): void {
    this.code = code;
  }
}

test('an unknown key costs its address one unit, a known one none', () => {
  const bench = new Bench();
  expect([bench.ask('wrong'), bench.ask('right-1')]).toEqual(['SPW_UNKNOWN_KEY', '']);
  expect(bench.left()).toBe(2);
});

test('while the address is on hold what is unseen is refused and costs nothing', () => {
  const bench = new Bench();
  bench.exhaust();
  expect([bench.ask('wrong'), bench.ask('right-1')]).toEqual(['SPW_RATE_CLIENT', 'SPW_RATE_CLIENT']);
  bench.now += 3000;
  expect(bench.left()).toBe(3);
});

test.each([
  ['an unknown key', 'wrong', 'SPW_UNKNOWN_KEY', 2],
  ['a known one', 'right-2', '', 3],
])(
  '%s met as the hold ends is looked at and costs the address what it always does',
  (_who, key, code, left) => {
    const bench = new Bench();
    bench.exhaust();
    // The look finds the hold, the decision does not any more.
    bench.gapMs = 3000;
    expect(bench.ask(key)).toBe(code);
    bench.gapMs = 0;
    expect(bench.left()).toBe(left);
  },
);
