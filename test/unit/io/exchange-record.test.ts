import { expect, test } from 'vitest';
import type { Exchange } from '../../../src/io/exchange.ts';
import { ExchangeRecord } from '../../../src/io/exchange-record.ts';
import { compileRate } from '../../../src/limits/gcra.ts';
import type { LimitDecision } from '../../../src/limits/decision.ts';

/** What the record reads of an exchange, and nothing else. */
function exchangeWith(more: Partial<Record<keyof Exchange, unknown>>): Exchange {
  return {
    worker: { wallMs: () => 1_700_000_000_000 },
    req: { method: 'GET' },
    requestId: 'abc-1',
    client: 'acme',
    tier: 'gold',
    rank: 1,
    route: { name: '/shop', service: { name: 'shop' } },
    instance: '127.0.0.1:9001',
    path: '/shop/1',
    query: '',
    code: '',
    reason: '',
    startedMs: 100,
    headMs: 130,
    firstAttemptMs: 110,
    queuedMs: 5,
    body: undefined,
    bytesIn: 0,
    bytesOut: 512,
    attempts: 1,
    pickReason: 'p2c',
    affinityResult: '',
    abortedBy: '',
    decision: undefined,
    charges: [],
    ...more,
  } as unknown as Exchange;
}

const rate = compileRate(10, 5);
const charges = [
  { key: 'a', level: 'client', rate, enforced: true },
  { key: 'b', level: 'global', rate, enforced: true },
];
const refused: LimitDecision = {
  ok: false,
  refusedBy: 'client',
  code: 'SPW_RATE_CLIENT',
  retryAfterMs: 700,
  jitterSeconds: 1,
  path: 'store',
  levels: [
    { remaining: 0, waitMs: 700, fullMs: 900 },
    { remaining: 3, waitMs: 0, fullMs: 20 },
  ],
  observed: [],
};

test('a record tells the spans of its request and each limit by its level', () => {
  const record = new ExchangeRecord();
  record.fill(exchangeWith({ decision: refused, charges }), 200, 142);
  expect(record.told()).toMatchObject({
    requestId: 'abc-1',
    status: 200,
    durationMs: 42,
    queueMs: 5,
    upstreamMs: 20,
    limits: {
      path: 'store',
      refusedBy: 'client',
      retryAfterMs: 700,
      levels: [
        { level: 'client', remaining: 0, waitMs: 700, fullMs: 900 },
        { level: 'global', remaining: 3, waitMs: 0, fullMs: 20 },
      ],
    },
  });
});

test('an attempt without an answer lasts until the end, no attempt has no upstream time', () => {
  const record = new ExchangeRecord();
  record.fill(exchangeWith({ headMs: 0 }), 504, 160);
  expect(record.upstreamMs).toBe(50);
  record.fill(exchangeWith({ headMs: 0, firstAttemptMs: 0 }), 503, 160);
  expect(record.upstreamMs).toBe(0);
});

test('what was told stays as it was when the record is filled for another request', () => {
  const record = new ExchangeRecord();
  record.fill(exchangeWith({ decision: refused, charges }), 429, 142);
  const told = record.told();
  record.fill(exchangeWith({ requestId: 'abc-2' }), 200, 150);
  expect(told).toMatchObject({ requestId: 'abc-1', limits: { refusedBy: 'client' } });
  expect(record.told()).toMatchObject({ requestId: 'abc-2', limits: undefined });
});

test('a long path is cut, so that targets of 8 KiB do not fill the ring', () => {
  const record = new ExchangeRecord();
  record.fill(exchangeWith({ path: `/${'x'.repeat(8000)}` }), 200, 150);
  expect(record.path).toMatch(/^\/x{1024}$/);
  record.fill(exchangeWith({ path: '/short', query: `?${'q'.repeat(8000)}` }), 200, 150);
  expect(record.path).toBe('/short');
});

test('a record tells how many requests its client may have in flight, and how many this worker had', () => {
  const record = new ExchangeRecord();
  const slotLimit = { key: 'n', most: 4, enforced: true };
  record.fill(exchangeWith({ decision: refused, charges, slotLimit, clientInFlight: 3 }), 429, 142);
  expect(record.told()).toMatchObject({ limits: { concurrency: { limit: 4, inFlightHere: 3 } } });
  record.fill(exchangeWith({ decision: refused, charges }), 429, 142);
  expect((record.told() as { limits: { concurrency: unknown } }).limits.concurrency).toBeUndefined();
});
