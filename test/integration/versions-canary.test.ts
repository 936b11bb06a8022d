/**
 * A canary: who gets it, who keeps it, and how it is aborted, by its operator or by itself.
 */
import { setTimeout as pause } from 'node:timers/promises';

import { describe, expect, test } from 'vitest';

import { eventually } from '../harness/ports.ts';
import { deployment, set } from './versions-fixture.ts';
import type { Settings } from './versions-fixture.ts';

const shop = deployment();

describe('a canary', () => {
  const running = [0, 1, 4];
  const at = (weight: string, more = ''): Settings => ({
    versions: `{ canary: { v3: ${weight} }${more} }`,
    running,
  });

  /** Begins sessions; their cookies by what they are at. */
  async function begin(count: number): Promise<{ version: string; cookie: string }[]> {
    const sessions: { version: string; cookie: string }[] = [];
    for (let n = 0; n < count; n++) {
      const answer = await shop.page();
      sessions.push({ version: answer.version, cookie: set(answer) });
    }
    return sessions;
  }

  async function versionsOf(sessions: readonly { cookie: string }[]): Promise<string[]> {
    const versions: string[] = [];
    for (const { cookie } of sessions) versions.push((await shop.page(cookie)).version);
    return versions;
  }

  test('gets its share of new sessions, and no session moves back when that grows from 10 to 50 %', async () => {
    await shop.start(at('10%'));
    const sessions = await begin(600);
    const canaries = sessions.filter(({ version }) => version === 'v3');
    // 60 ± 4 σ.
    expect(canaries.length).toBeGreaterThan(30);
    expect(canaries.length).toBeLessThan(90);
    await shop.reload(at('50%'));
    expect(await versionsOf(sessions)).toEqual(sessions.map(({ version }) => version));
    const later = await begin(200);
    const share = later.filter(({ version }) => version === 'v3').length / later.length;
    expect(Math.abs(share - 0.5)).toBeLessThan(0.15);
  });

  test('of which an instance goes keeps its sessions at its other ones', async () => {
    const settings = { versions: '{ canary: { v2: 30% } }', running: [0, 1, 2, 3] };
    await shop.start(settings);
    const canaries = (await begin(120)).filter(({ version }) => version === 'v2');
    expect(canaries.length).toBeGreaterThan(15);
    await shop.disable(2);
    expect(new Set(await versionsOf(canaries))).toEqual(new Set(['v2']));
  });

  test('at 0 % keeps who it has and gets nobody; aborted it loses them', async () => {
    await shop.start(at('50%'));
    const sessions = await begin(40);
    const canaries = sessions.filter(({ version }) => version === 'v3');
    expect(canaries.length).toBeGreaterThan(5);
    await shop.reload(at('0%'));
    expect(await versionsOf(sessions)).toEqual(sessions.map(({ version }) => version));
    expect((await begin(40)).filter(({ version }) => version === 'v3')).toEqual([]);
    await shop.reload(at('50%', ', aborted: [v3]'));
    expect(new Set(await versionsOf(sessions))).toEqual(new Set(['v1']));
    expect((await begin(40)).filter(({ version }) => version === 'v3')).toEqual([]);
    expect(await shop.counts('spillway_affinity_total', 'result')).toMatchObject({
      repin_drained: canaries.length,
    });
  });

  test('that is down leaves its callers to the others, and takes none of theirs when they are', async () => {
    await shop.start(at('100%'));
    expect((await shop.page()).version).toBe('v3');
    await shop.disable(4);
    expect((await shop.page()).version).toBe('v1');
  });

  test('that nobody may see yet is nowhere, also when nobody else is there; one that is public takes all then', async () => {
    const settings = { affinity: false, running: [0, 4] };
    await shop.start({ ...settings, versions: '{ canary: { v3: 0% }, assets: ["/assets/*"] }' });
    expect((await shop.get('/assets/v3.js')).status).toBe(404);
    await shop.disable(0);
    expect((await shop.page()).status).toBe(503);
    expect((await shop.get('/x?dpl=v3')).status).toBe(503);
    await shop.reload({ ...settings, versions: '{ canary: { v3: 1% }, assets: ["/assets/*"] }' });
    for (let n = 0; n < 10; n++) expect((await shop.page()).version).toBe('v3');
    await shop.reload({ ...settings, versions: '{ canary: { v3: 1% }, aborted: [v3] }' });
    expect((await shop.page()).status).toBe(503);
  });

  test('is drawn by the key of callers without a cookie: each stays where he is, also when it grows', async () => {
    const versionsOfAll = async (): Promise<string[]> => {
      const versions: string[] = [];
      for (let n = 0; n < 150; n++) versions.push((await shop.get('/x', { user: `user-${n}` })).version);
      return versions;
    };
    await shop.start({ ...at('10%'), fallback: 'x-user' });
    const before = await versionsOfAll();
    expect(await versionsOfAll()).toEqual(before);
    await shop.reload({ ...at('50%'), fallback: 'x-user' });
    const after = await versionsOfAll();
    expect(before.filter((version, n) => version === 'v3' && after[n] !== 'v3')).toEqual([]);
    const share = (versions: readonly string[]): number =>
      versions.filter((version) => version === 'v3').length / versions.length;
    expect(Math.abs(share(before) - 0.1)).toBeLessThan(0.1);
    expect(Math.abs(share(after) - 0.5)).toBeLessThan(0.17);
  });

  test('is drawn by the client where nothing is kept: one client, one version', async () => {
    await shop.start({ ...at('50%'), affinity: false });
    const seen = new Set<string>();
    for (let n = 0; n < 20; n++) seen.add((await shop.page()).version);
    expect(seen.size).toBe(1);
  });
});

test('a canary that fails is aborted by itself: told in the log, to operators and in the metrics, and its sessions move', async () => {
  // Outlier detection would take it out first.
  const outlier = 'outlier: { consecutiveFailures: 10000, ratio: 100% }';
  const versions = '{ canary: { v3: 50% }, abort: automatic }';
  await shop.start({ versions, running: [0, 1, 4], workers: 2, more: outlier });
  const session = await shop.sessionAt('v3');
  shop.failing = { v3: 0.2 };
  interface Row {
    readonly version: string;
    readonly weight: number;
    readonly aborted: string;
    readonly reason: string;
  }
  const canary = async (): Promise<Row | undefined> => {
    const { body } = await shop.gateway.admin('/v1/services');
    return (body as { services: { shop: { canaries: Row[] } } }).services.shop.canaries[0];
  };
  expect(await canary()).toMatchObject({ version: 'v3', weight: 0.5, aborted: 'no' });
  const beganMs = performance.now();
  while ((await canary())?.aborted === 'no') {
    expect(performance.now() - beganMs).toBeLessThan(120_000);
    await Promise.all(Array.from({ length: 25 }, async () => await shop.page()));
    await pause(250);
  }
  expect(performance.now() - beganMs).toBeGreaterThan(25_000);
  expect(await canary()).toMatchObject({
    weight: 0,
    aborted: 'automatic',
    reason: expect.stringMatching(/^fails \d/) as unknown,
  });
  await eventually('its session has moved', async () => (await shop.page(session)).version === 'v1');
  for (let n = 0; n < 40; n++) expect((await shop.page()).version).toBe('v1');
  expect(shop.gateway.logs()).toContain('canary aborted');
  const { body } = await shop.gateway.admin('/v1/status');
  expect((body as { summary: string }).summary).toContain('Canary v3 of shop was aborted: fails ');
  expect(await shop.counts('spillway_canary_aborts_total', 'version')).toEqual({ v3: 1 });
  expect(await shop.counts('spillway_canary_weight_ratio', 'version')).toEqual({ v3: 0 });
  // Also a worker that begins later knows.
  const [pid = 0] = shop.gateway.workerPids();
  process.kill(pid, 'SIGKILL');
  await eventually(
    'another one has its place',
    () => shop.gateway.workerPids().length === 2 && !shop.gateway.workerPids().includes(pid),
  );
  for (let n = 0; n < 40; n++) expect((await shop.page()).version).toBe('v1');
});
