/**
 * Several versions of a service behind one gateway: who gets which, by what a request asks for, by its session and by its signed
 * cookie; and what becomes of a part that a version does not have.
 */
import { setTimeout as pause } from 'node:timers/promises';

import { describe, expect, test } from 'vitest';

import { eventually } from '../harness/ports.ts';
import { valueOf, valuesOf } from './path-fixture.ts';
import { deployment, set, VERSIONS } from './versions-fixture.ts';

const shop = deployment();

describe('what a request asks for itself', () => {
  test.each([{ by: 'query' }, { by: 'header' }])('reaches that version, by $by', async ({ by }) => {
    await shop.start({ versions: '{ assets: ["/assets/*"] }' });
    for (let n = 0; n < 20; n++) {
      for (const version of ['v1', 'v2']) {
        const seen = await (by === 'query'
          ? shop.get(`/x?a=1&dpl=${version}`)
          : shop.get('/x', { wish: version }));
        expect([seen.version, seen.mismatch]).toEqual([version, undefined]);
        // What is made for one version must not be handed to those who ask for another.
        expect(valueOf(seen.rawHeaders, 'vary')).toBe(by === 'header' ? 'x-deployment-id' : undefined);
        // It is no session that begins.
        expect(set(seen)).toBe('');
      }
    }
    expect(await shop.counts('spillway_picks_total', 'reason')).toEqual({ version: 40 });
  });

  test('the query is asked before the field, the field before the session', async () => {
    await shop.start({ versions: '{}' });
    const session = await shop.sessionAt('v1');
    expect((await shop.get('/x?dpl=v2', { wish: 'v1', cookie: session })).version).toBe('v2');
    expect((await shop.get('/x', { wish: 'v2', cookie: session })).version).toBe('v2');
    expect((await shop.get('/x', { cookie: session })).version).toBe('v1');
  });

  test('moves no session', async () => {
    await shop.start({ versions: '{}' });
    const session = await shop.sessionAt('v1');
    const home = (await shop.get('/x', { cookie: session })).instance;
    const elsewhere = await shop.get('/x?dpl=v2', { cookie: session });
    expect([elsewhere.version, set(elsewhere)]).toEqual(['v2', '']);
    expect((await shop.page(session)).instance).toBe(home);
    expect(await shop.counts('spillway_affinity_total', 'result')).toMatchObject({ version: 1 });
  });

  test('of its own version keeps a session alive, of another one it does not', async () => {
    await shop.start({ versions: '{ assets: ["/assets/*"] }', idle: '4s' });
    const session = await shop.sessionAt('v1');
    // A tenth of its idle time, and whole seconds.
    await pause(1600);
    expect(set(await shop.get('/x', { wish: 'v2', cookie: session }))).toBe('');
    expect(set(await shop.get('/assets/v1.js', { cookie: session }))).toBe('');
    expect(set(await shop.get('/x', { wish: 'v1', cookie: session }))).toMatch(/^seat=/);
  });

  test('is not asked of a page that is navigated to', async () => {
    await shop.start({ versions: '{}' });
    const session = await shop.sessionAt('v1');
    for (let n = 0; n < 10; n++) {
      const seen = await shop.get('/?dpl=v2', { cookie: session, navigates: true });
      expect([seen.version, seen.mismatch]).toEqual(['v1', undefined]);
    }
  });

  test('of a version that is gone, or never was, is answered by the newest, which says so', async () => {
    await shop.start({ versions: '{ canary: { v3: 100% } }', running: [0, 2, 4] });
    for (const wish of ['v0', 'nonsense']) {
      const seen = await shop.get(`/x?dpl=${wish}`);
      expect([seen.version, seen.mismatch]).toEqual(['v2', '1']);
    }
    const text = await shop.get('/x?dpl=%3Cscript%3E');
    expect(text.mismatch).toBeUndefined();
  });

  test('does not reach a version that is not public, until it was', async () => {
    const running = [0, 4];
    await shop.start({ versions: '{ canary: { v3: 0% } }', running });
    expect(await shop.get('/x?dpl=v3')).toMatchObject({ version: 'v1', mismatch: '1' });
    await shop.reload({ versions: '{ canary: { v3: 50% } }', running });
    expect(await shop.get('/x?dpl=v3')).toMatchObject({ version: 'v3', mismatch: undefined });
    await shop.reload({ versions: '{ canary: { v3: 0% } }', running });
    expect(await shop.get('/x?dpl=v3')).toMatchObject({ version: 'v3', mismatch: undefined });
    await shop.reload({ versions: '{ canary: { v3: 0% }, aborted: [v3] }', running });
    expect(await shop.get('/x?dpl=v3')).toMatchObject({ version: 'v1', mismatch: '1' });
  });

  test('reaches what is draining, for as long as that serves', async () => {
    await shop.start({ versions: '{}', running: [0, 2] });
    await shop.operate(0, 'drain', 'draining');
    for (let n = 0; n < 10; n++) {
      expect((await shop.page()).version).toBe('v2');
      expect(await shop.get('/x?dpl=v1')).toMatchObject({ version: 'v1', mismatch: undefined });
    }
  });

  test('is nothing where versions are not followed, or not known', async () => {
    await shop.start({ versions: '{ affinity: false }', running: [0] });
    expect(await shop.get('/x?dpl=v9')).toMatchObject({ version: 'v1', mismatch: undefined });
    await shop.reload({ versions: 'null', running: [0] });
    expect(await shop.get('/x?dpl=v9')).toMatchObject({ version: 'v1', mismatch: undefined });
  });

  test('is served elsewhere also where a session may not move', async () => {
    await shop.start({ versions: '{}', mode: 'hard' });
    const session = await shop.sessionAt('v1');
    expect((await shop.get('/x?dpl=v2', { cookie: session })).version).toBe('v2');
  });
});

describe("a session's version", () => {
  test('answers the parts of its page when its own instance has gone, and the next page is anyone’s', async () => {
    await shop.start({ versions: '{}', running: [0, 1, 2, 3] });
    const session = await shop.sessionAt('v1');
    const home = Number((await shop.get('/x', { cookie: session })).instance);
    await shop.disable(home);
    for (let n = 0; n < 10; n++) expect((await shop.get('/x', { cookie: session })).version).toBe('v1');
    // Together, so that the balancer needs all: one by one the slowest would be asked by nobody.
    const pages = await Promise.all(Array.from({ length: 40 }, async () => await shop.page(session)));
    expect([...new Set(pages.map(({ version }) => version))].toSorted()).toEqual(['v1', 'v2']);
  });

  test('that is retired is told of to the parts of the page, and the next page is of the current one', async () => {
    await shop.start({ versions: '{}', running: [0, 2] });
    const session = await shop.sessionAt('v1');
    await shop.reload({ versions: '{}', running: [2] });
    // Off the list it serves its sessions; when it is taken away they go.
    expect((await shop.get('/x', { cookie: session })).version).toBe('v1');
    await shop.disable(0);
    expect(await shop.get('/x', { cookie: session })).toMatchObject({ version: 'v2', mismatch: '1' });
    const page = await shop.page(session);
    expect([page.version, page.mismatch]).toEqual(['v2', undefined]);
    expect((await shop.get('/x', { cookie: set(page) })).mismatch).toBeUndefined();
  });
});

describe('the signed cookie of a version', () => {
  const settings = { versions: '{ cookie: release, assets: ["/assets/*"] }', affinity: false } as const;

  test('keeps pages and their parts at one version, over all its instances', async () => {
    await shop.start(settings);
    const first = await shop.page();
    const cookie = set(first);
    expect(cookie).toMatch(/^release=d1\./);
    // Together, so that the balancer needs both.
    const answers = await Promise.all(
      Array.from({ length: 40 }, async (_, n) => await shop.get('/x', { cookie, navigates: n % 2 === 0 })),
    );
    for (const seen of answers) expect([seen.version, set(seen)]).toEqual([first.version, '']);
    expect(new Set(answers.map(({ instance }) => instance)).size).toBe(2);
  });

  test('does not go to an instance, and leaves the others as they are', async () => {
    await shop.start(settings);
    const cookie = set(await shop.page());
    shop.cookies = [];
    await shop.get('/x', { cookie: `a=1; ${cookie}; b=2` });
    await shop.get('/x', { cookie: 'a=1; b=2' });
    expect(shop.cookies).toEqual(['a=1; b=2', 'a=1; b=2']);
  });

  test('that is forged is as none', async () => {
    await shop.start(settings);
    const [name, value] = set(await shop.page()).split('=');
    const forged = `${name}=${value?.slice(0, -3)}AAA`;
    const seen = new Set<string>();
    for (let n = 0; n < 40; n++) {
      const answer = await shop.get('/x', { cookie: forged });
      expect(answer.status).toBe(200);
      seen.add(answer.version);
    }
    expect(seen.size).toBe(2);
  });

  test('is on no asset, and on nothing that a shared cache keeps', async () => {
    await shop.start({ ...settings, affinity: true });
    const page = await shop.page();
    expect(valuesOf(page.rawHeaders, 'set-cookie')).toHaveLength(2);
    expect(valuesOf(page.rawHeaders, 'cache-control')).toEqual(['private']);
    for (const path of ['/assets/v1.js', '/assets/v2.js']) expect(set(await shop.get(path))).toBe('');
    shop.caching = 'public, max-age=60';
    expect(set(await shop.page())).toBe('');
  });
});

describe('an asset that a version does not have', () => {
  const settings = { versions: '{ assets: ["/assets/*"] }', affinity: false } as const;

  test('is asked of the others, newest first, and counted', async () => {
    await shop.start({ ...settings, running: [0, 2, 4] });
    for (let n = 0; n < 30; n++) {
      for (const version of ['v1', 'v2', 'v3']) {
        const seen = await shop.get(`/assets/${version}.js`);
        expect([seen.status, seen.version, String(seen.body)]).toEqual([
          200,
          version,
          `${version} /assets/${version}.js`,
        ]);
      }
    }
    // Whoever is asked first, the newest that is left is next.
    shop.asked = VERSIONS.map(() => []);
    await shop.get('/assets/none.js?dpl=v1');
    expect(shop.asked.map((each) => each.length)).toEqual([1, 0, 1, 0, 1]);
    expect((await shop.counts('spillway_picks_total', 'reason'))['rescue']).toBeGreaterThan(30);
  });

  test('is a 404 when nobody has it, after three, of the last one asked', async () => {
    await shop.start({ ...settings, running: [0, 2, 4] });
    const seen = await shop.get('/assets/none.js?dpl=v3');
    expect([seen.status, seen.version, String(seen.body)]).toEqual([404, 'v1', 'not here']);
    expect(shop.asked.flat()).toHaveLength(3);
  });

  test('is asked once where it is no asset, no GET or HEAD, or nobody else could have it', async () => {
    await shop.start({ ...settings, running: [0, 2] });
    expect((await shop.get('/assets/v2.js?dpl=v1', { method: 'HEAD' })).status).toBe(200);
    expect((await shop.get('/assets/v2.js?dpl=v1', { method: 'POST' })).status).toBe(404);
    await shop.reload({ versions: '{ assets: ["/other/*"] }', affinity: false, running: [0, 2] });
    expect((await shop.get('/assets/v2.js?dpl=v1')).status).toBe(404);
    await shop.start({ ...settings, running: [0, 1] });
    shop.asked = VERSIONS.map(() => []);
    expect((await shop.get('/assets/v2.js')).status).toBe(404);
    expect(shop.asked.flat()).toHaveLength(1);
  });

  test('is not asked for more than a hundred times a second', async () => {
    await shop.start({ ...settings, running: [0, 2] });
    const startedMs = performance.now();
    for (let n = 0; n < 300; n++) await shop.get('/assets/none.js');
    const seconds = (performance.now() - startedMs) / 1000;
    const rescues = shop.asked.flat().length - 300;
    expect(rescues).toBeGreaterThanOrEqual(100);
    expect(rescues).toBeLessThanOrEqual(100 + 100 * seconds + 1);
  });
});

test('a worker that begins anew reads the cookies of the one before', async () => {
  await shop.start({ versions: '{ cookie: release }', affinity: true });
  const first = await shop.page();
  const [pid = 0] = shop.gateway.workerPids();
  process.kill(pid, 'SIGKILL');
  await eventually('another worker serves', async () => {
    try {
      return (await shop.page(set(first))).version === first.version;
    } catch {
      return false;
    }
  });
  for (let n = 0; n < 10; n++)
    expect((await shop.get('/x', { cookie: set(first) })).instance).toBe(first.instance);
});
