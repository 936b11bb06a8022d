/**
 * A front end is deployed: four instances of one version are replaced by four of the next, one by one, while pages are loaded,
 * each of them a document and five parts whose names exist in its own version only. Nobody may get a 404, whatever tells
 * his version: his session, the signed cookie, what the page writes into its addresses or its script sends, or nothing.
 */
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { Agent, request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { startRollingInstance } from '../harness/rolling-instance.ts';
import type { RollingInstance } from '../harness/rolling-instance.ts';
import { parseExposition } from '../integration/metrics-text.ts';
import { serviceOf } from '../integration/path-fixture.ts';

const LOADS = 10_000;
const BROWSERS = 12;
const INSTANCES = 4;
/** Pages that a caller with cookies loads before the next caller takes his place. */
const PAGES_A_CALLER = 8;
/** What tells a caller's version; one of twenty has nothing at all, which stays below a hundred rescues a second. */
const KINDS = ['session', 'session', 'cookie', 'query', 'header'] as const;
type Kind = (typeof KINDS)[number] | 'nothing';

interface Got {
  readonly status: number;
  readonly body: string;
  readonly cookies: readonly string[];
  readonly mismatch: boolean;
}

/** What was loaded, and what went wrong, in words. */
class Ledger {
  readonly pages = new Map<string, number>();
  readonly faults: string[] = [];
  loads = 0;
  parts = 0;
  mismatches = 0;
}

async function get(
  port: number,
  agent: Agent,
  path: string,
  headers: Readonly<Record<string, string>>,
): Promise<Got> {
  return await new Promise((resolve, reject) => {
    const sent = httpRequest({
      host: '127.0.0.1',
      port,
      path,
      agent,
      headers: { host: 'a.test', ...headers },
    });
    sent.once('error', reject);
    sent.once('response', (response) => {
      let body = '';
      response.setEncoding('latin1');
      response.on('data', (chunk: string) => {
        body += chunk;
      });
      response.once('error', reject);
      response.once('end', () => {
        resolve({
          status: response.statusCode ?? 0,
          body,
          cookies: response.headers['set-cookie'] ?? [],
          mismatch: response.headers['x-deployment-mismatch'] === '1',
        });
      });
    });
    sent.end();
  });
}

/** One caller at a time, on one connection: a document, then its parts together. */
class Browser {
  readonly #port: number;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 3 });
  readonly #ledger: Ledger;
  #jar = new Map<string, string>();

  constructor(port: number, ledger: Ledger) {
    this.#port = port;
    this.#ledger = ledger;
  }

  async load(kind: Kind): Promise<void> {
    const kept = kind === 'session' ? 'seat' : kind === 'cookie' ? 'release' : '';
    const page = await this.#get('/', kept, { 'sec-fetch-mode': 'navigate' });
    this.#ledger.loads += 1;
    if (page.status !== 200) {
      this.#ledger.faults.push(`${kind}: ${page.status} for a page`);
      return;
    }
    const [version = '', ...parts] = page.body.split('\n');
    this.#ledger.pages.set(version, (this.#ledger.pages.get(version) ?? 0) + 1);
    await Promise.all(
      parts.map(async (part) => {
        const path = kind === 'query' ? `${part}?dpl=${version}` : part;
        const got = await this.#get(path, kept, {
          'sec-fetch-mode': 'no-cors',
          ...(kind === 'header' ? { 'x-deployment-id': version } : {}),
        });
        this.#ledger.parts += 1;
        if (got.mismatch) this.#ledger.mismatches += 1;
        if (got.status !== 200 || got.body !== part)
          this.#ledger.faults.push(`${kind}: ${got.status} for ${part}`);
      }),
    );
  }

  /** Another person sits down. */
  forget(): void {
    this.#jar = new Map();
  }

  close(): void {
    this.#agent.destroy();
  }

  async #get(path: string, kept: string, headers: Readonly<Record<string, string>>): Promise<Got> {
    const cookie = this.#jar.get(kept);
    const got = await get(this.#port, this.#agent, path, {
      ...headers,
      ...(cookie === undefined ? {} : { cookie }),
    });
    for (const line of got.cookies) {
      const [pair = ''] = line.split(';');
      this.#jar.set(pair.slice(0, pair.indexOf('=')), pair);
    }
    return got;
  }
}

/** Loads pages until all are loaded. */
async function browse(browser: Browser, ledger: Ledger, seat: number): Promise<void> {
  for (let load = 0; ledger.loads < LOADS; load += 1) {
    if (load % PAGES_A_CALLER === 0) browser.forget();
    const kind = (load * BROWSERS + seat) % 20 === 0 ? 'nothing' : KINDS[(load + seat) % KINDS.length];
    await browser.load(kind ?? 'nothing');
  }
}

async function startInstance(version: string): Promise<RollingInstance> {
  // Longer than sessions take to leave, and then for the parts of their last pages.
  return await startRollingInstance({
    version,
    page: true,
    drain: 'notice',
    drainMs: 3000,
    slots: 64,
    meanMs: 1,
  });
}

async function untilOpen(gateway: Gateway, id: string): Promise<void> {
  await eventually(`${id} takes sessions`, async () => {
    const { instances } = await serviceOf(gateway, 'shop');
    return ['ready', 'warming'].includes(instances.find((instance) => instance.id === id)?.state ?? '');
  });
}

test('10 000 pages and their parts through a deploy of two versions: no 404, nothing that fails', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'spillway-versions-'));
  const file = join(folder, 'shop.json');
  const running = new Map<RollingInstance, string>();
  const list = async (): Promise<void> => {
    const entries = [...running].map(([{ url }, version]) => ({ url, version }));
    await writeFile(`${file}.new`, JSON.stringify(entries));
    await rename(`${file}.new`, file);
  };
  for (let index = 0; index < INSTANCES; index += 1) running.set(await startInstance('a'), 'a');
  await list();
  await using gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 2
shedding: { mode: 'off' }
services:
  shop:
    discovery: { file: ${file} }
    sla: 5s
    readiness: { path: /ready, interval: 200ms, timeout: 10s, rise: 1 }
    balancing: { slowStart: 0s }
    drain: { sessionTimeout: 2s }
    affinity: { cookie: seat, keys: [{ id: k1, secret: 0123456789abcdef }] }
    versions: { assets: ["/assets/*"], cookie: release }
routes: [{ path: /, service: shop }]
log: { access: 'off' }
`);
  const ledger = new Ledger();
  const browsers = Array.from({ length: BROWSERS }, () => new Browser(gateway.port, ledger));
  const left: Promise<unknown>[] = [];
  const olds = [...running.keys()];
  try {
    const browsing = Promise.all(browsers.map(async (each, seat) => await browse(each, ledger, seat)));
    for (const [step, old] of olds.entries()) {
      await eventually(`step ${step}`, () => ledger.loads > ((step + 1) * LOADS) / (INSTANCES + 2));
      const next = await startInstance('b');
      running.set(next, 'b');
      await list();
      await untilOpen(gateway, next.id);
      running.delete(old);
      await list();
      left.push(old.term());
    }
    await browsing;
    await Promise.all(left);
    const page = parseExposition(String((await gateway.admin('/metrics')).body));
    const picks = new Map(
      page.all('spillway_picks_total').map(({ labels, value }) => [labels['reason'], value]),
    );
    const { faults, mismatches } = ledger;
    expect({ faults: faults.length, first: faults.slice(0, 20), mismatches }).toEqual({
      faults: 0,
      first: [],
      mismatches: 0,
    });
    expect(ledger.loads).toBeGreaterThanOrEqual(LOADS);
    expect(ledger.parts).toBe(5 * ledger.loads);
    // It was a deploy, and each way to tell a version was taken.
    expect(ledger.pages.get('a')).toBeGreaterThan(LOADS / 10);
    expect(ledger.pages.get('b')).toBeGreaterThan(LOADS / 10);
    for (const reason of ['version', 'pinned', 'rescue'])
      expect(picks.get(reason), reason).toBeGreaterThan(100);
  } finally {
    for (const browser of browsers) browser.close();
    for (const instance of [...olds, ...running.keys()]) await instance[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  }
});
