/** Why requests of a flood were shed: told by their ids long after, in little room. */
import { describe, expect, test } from 'vitest';

import type { Exchange } from '../../../src/io/exchange.ts';
import { ShedMemory } from '../../../src/io/shed-memory.ts';
import type { ShedFigures } from '../../../src/io/shed-note.ts';

function exchangeWith(requestId: string, more: Partial<Record<keyof Exchange, unknown>> = {}): Exchange {
  return {
    requestId,
    serial: requestId.startsWith('abc-') ? Number.parseInt(requestId.slice(4), 36) : 0,
    worker: { wallMs: () => 1_700_000_000_000.5 },
    route: { name: '/shop', service: { name: 'shop' } },
    rank: 2,
    reason: 'the queue is full',
    startedMs: 1000,
    ...more,
  } as unknown as Exchange;
}

const figures: ShedFigures = {
  code: 'SPW_SHED_QUEUE_FULL',
  enforced: true,
  slaMs: 250,
  waitedMs: 0.5,
  service: {
    verdict: 'cut',
    limit: 12,
    inFlight: 11,
    queueDepth: 40,
    expectedWaitMs: 96,
    baselineMs: 50,
    p50Ms: 75,
    pressure: 0.5,
  },
  gateway: { loop: 0.25, memory: 0, lagMs: 3 },
};

describe('a shed', () => {
  test('is told with its code, its words and its figures', () => {
    const memory = new ShedMemory('abc');
    memory.keep(exchangeWith('abc-1z'), figures, 1002);
    expect(memory.told('abc-1z')).toEqual({
      wallMs: 1_700_000_000_000.5,
      requestId: 'abc-1z',
      priority: 'sheddable',
      route: '/shop',
      service: 'shop',
      status: 503,
      code: 'SPW_SHED_QUEUE_FULL',
      reason: 'the queue is full',
      durationMs: 2,
      queueMs: 0.5,
      attempts: 0,
      note: 'one of a flood: who asked for what was not kept',
      shedding: {
        code: 'SPW_SHED_QUEUE_FULL',
        enforced: true,
        slaMs: 250,
        waitedMs: 0.5,
        limit: 12,
        verdict: 'cut',
        inFlight: 11,
        queueDepth: 40,
        expectedWaitMs: 96,
        baselineMs: 50,
        p50Ms: 75,
        pressure: { loop: 0.25, memory: 0, service: 0.5 },
        lagMs: 3,
      },
    });
  });

  test('without a route, refused by the front gate, has its figures too, and the words of its code', () => {
    const memory = new ShedMemory('abc');
    const gate: ShedFigures = { ...figures, code: 'SPW_SHED_OVERLOAD', service: undefined };
    memory.keep(exchangeWith('abc-2', { route: undefined, reason: '' }), gate, 1001);
    expect(memory.told('abc-2')).toMatchObject({
      code: 'SPW_SHED_OVERLOAD',
      reason: 'The gateway itself is overloaded.',
      route: '',
      service: '',
      shedding: { limit: 0, verdict: 'cold', pressure: { loop: 0.25 } },
    });
  });

  test('is forgotten when so many came after it as there is room, and not before', () => {
    const memory = new ShedMemory('abc', 100);
    for (let serial = 1; serial <= 150; serial++)
      memory.keep(exchangeWith(`abc-${serial.toString(36)}`), figures, 1001);
    for (let serial = 1; serial <= 150; serial++)
      expect(memory.told(`abc-${serial.toString(36)}`) !== undefined).toBe(serial > 50);
  });

  test.each(['', 'abc', 'abc-', 'abc-0', 'abc-01', 'abc-1Z', 'abc-1 ', 'abd-1', 'abc-1-2', 'abc--1'])(
    'is not found by %j',
    (requestId) => {
      const memory = new ShedMemory('abc');
      memory.keep(exchangeWith('abc-1'), figures, 1001);
      expect(memory.told(requestId)).toBeUndefined();
      expect(memory.told('abc-1')).toBeDefined();
    },
  );

  test('of another’s id is not kept', () => {
    const memory = new ShedMemory('abc');
    memory.keep(exchangeWith('theirs-1'), figures, 1001);
    expect(memory.told('theirs-1')).toBeUndefined();
  });
});
