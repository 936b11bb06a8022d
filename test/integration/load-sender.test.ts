/** What the open-loop sender does beyond sending: callers that come back, a journal, and workers told apart. */
import { describe, expect, test } from 'vitest';

import { LoadJournal } from '../harness/load-journal.ts';
import { runOpenLoop } from '../harness/open-loop.ts';
import { startListener } from '../harness/origin.ts';

const ALL = [{ name: 'all', share: 1 }];

describe('callers who retry', () => {
  test('come back as often as they may, each time an attempt of its own', async () => {
    const asked: number[] = [];
    await using origin = await startListener((_, response) => {
      asked.push(performance.now());
      response.writeHead(503, { 'retry-after': '1' }).end('{"code":"SPW_SHED_CONCURRENCY"}');
    });
    const journal = new LoadJournal();
    const told = new Set<number>();
    const result = await runOpenLoop({
      port: origin.port,
      classes: ALL,
      phases: [
        { seconds: 0.2, ratePerSecond: 100 },
        { seconds: 5, ratePerSecond: 0 },
      ],
      slaMs: 250,
      journal,
      retry: {
        retries: 3,
        pauseMs: (attempt, retryAfterSeconds) => {
          told.add(retryAfterSeconds);
          return 20 * (attempt + 1);
        },
      },
    });
    const entries = [...journal.entries()];
    const first = entries.filter(({ attempt }) => attempt === 0);
    expect(first.length).toBeGreaterThan(5);
    expect(entries).toHaveLength(4 * first.length);
    expect(asked).toHaveLength(entries.length);
    expect(result.offered).toBe(entries.length);
    expect([...told]).toEqual([1]);
    for (const { atMs, firstAtMs, attempt, fate, code } of entries) {
      expect({ fate, code }).toEqual({ fate: 'refused', code: 'SPW_SHED_CONCURRENCY' });
      // Timers may be a millisecond early, each.
      expect(atMs - firstAtMs).toBeGreaterThanOrEqual(([0, 20, 60, 120][attempt] ?? Infinity) - attempt);
    }
  });

  test('do not come back after the last phase', async () => {
    await using origin = await startListener((_, response) => response.writeHead(503).end());
    const journal = new LoadJournal();
    await runOpenLoop({
      port: origin.port,
      classes: ALL,
      phases: [{ seconds: 0.3, ratePerSecond: 50 }],
      slaMs: 250,
      journal,
      retry: { retries: 3, pauseMs: () => 60_000 },
    });
    expect([...journal.entries()].every(({ attempt }) => attempt === 0)).toBe(true);
  });
});

describe('the journal', () => {
  test('holds how long a refusal says it waited, and NaN where nobody says', async () => {
    await using origin = await startListener((request, response) => {
      const waited = request.url === '/waited';
      response.writeHead(503, waited ? { 'server-timing': 'gw;dur=0.2, queue;dur=42.5' } : {}).end();
    });
    const journal = new LoadJournal();
    await runOpenLoop({
      port: origin.port,
      classes: [
        { name: 'waited', share: 1, path: '/waited' },
        { name: 'silent', share: 1, path: '/silent' },
      ],
      phases: [{ seconds: 0.3, ratePerSecond: 100 }],
      slaMs: 250,
      journal,
    });
    const queued = (index: number): Set<number> =>
      new Set([...journal.entries()].filter((e) => e.classIndex === index).map(({ queuedMs }) => queuedMs));
    expect(queued(0)).toEqual(new Set([42.5]));
    expect(queued(1)).toEqual(new Set([Number.NaN]));
  });

  test('a class with phases of its own keeps its rate whatever the others do', async () => {
    await using origin = await startListener((_, response) => response.end('ok'));
    const journal = new LoadJournal();
    const result = await runOpenLoop({
      port: origin.port,
      classes: [
        { name: 'own', share: 0, phases: [{ seconds: 2, ratePerSecond: 100 }] },
        { name: 'others', share: 1 },
      ],
      phases: [
        { seconds: 1, ratePerSecond: 0 },
        { seconds: 1, ratePerSecond: 400 },
      ],
      slaMs: 250,
      journal,
    });
    const { own, others } = result.classes;
    expect(own?.offered).toBeGreaterThan(140);
    expect(own?.offered).toBeLessThan(270);
    expect(others?.offered).toBeGreaterThan(320);
    expect(others?.offered).toBeLessThan(480);
    expect(journal.length).toBe(result.offered);
  });
});

test('spread sends each worker as many requests, however few connections it was given', async () => {
  let connections = 0;
  await using origin = await startListener((request, response) => {
    const { socket } = request;
    // Every sixth connection is one worker's, the others are the other's, as a kernel might have it.
    const named = socket as typeof socket & { worker?: string };
    if (named.worker === undefined) {
      connections += 1;
      named.worker = connections % 6 === 0 ? 'few' : 'many';
    }
    setTimeout(() => response.writeHead(200, { 'x-request-id': `${named.worker}-1` }).end(), 10);
  });
  const journal = new LoadJournal();
  await runOpenLoop({
    port: origin.port,
    classes: ALL,
    phases: [{ seconds: 2, ratePerSecond: 500 }],
    slaMs: 250,
    spread: true,
    journal,
  });
  const few = [...journal.entries()].filter(({ worker }) => worker === 'few').length;
  expect(few / journal.length).toBeGreaterThan(0.4);
  expect(few / journal.length).toBeLessThan(0.6);
});
