/**
 * The list and watch of EndpointSlices by itself, in everything that an API server does to its watchers: it ends them, cuts them,
 * calls their version too old, falls silent, refuses, babbles; in a cluster with the pod's own account.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import type { DiscoveryFault, Found } from '../../src/discovery/source.ts';
import { KubernetesSource, type KubernetesQuestion } from '../../src/io/discovery/kubernetes.ts';
import { issueCertificate, makeAuthority } from '../harness/certificates.ts';
import { KubeApi, podSlice } from '../harness/kube-api.ts';
import { eventually } from '../harness/ports.ts';

const HOSTS = ['127.0.0.1', '127.0.0.2', '127.0.0.3'] as const;

describe('the source', () => {
  let api: KubeApi;
  let source: Source;

  class Source {
    sets: (readonly Found[])[] = [];
    readonly faults: DiscoveryFault[] = [];
    readonly stop: () => void;

    constructor(more: Partial<KubernetesQuestion> = {}, folder = '', relistMs = 60_000) {
      const question = {
        service: 'shop',
        namespace: undefined,
        scheme: 'http',
        port: undefined,
        url: api.url,
        token: undefined,
        ca: undefined,
        ...more,
      };
      const cluster = { host: '127.0.0.1', port: String(api.port), folder };
      const parts = { now: () => performance.now(), random: () => 0.999, cluster, relistMs };
      const source = new KubernetesSource(question, parts, {
        onSet: (set) => this.sets.push(set),
        onFault: (fault) => this.faults.push(fault),
      });
      this.stop = () => source.stop();
    }

    hosts(): string {
      return (this.sets.at(-1) ?? [])
        .map(({ url }) => new URL(url).hostname.slice(-1))
        .sort()
        .join('');
    }

    async shows(hosts: string): Promise<void> {
      await eventually(`it shows ${hosts}`, () => this.hosts() === hosts);
    }

    async faulty(kind: DiscoveryFault['kind'], times = 1): Promise<void> {
      const from = this.faults.length;
      await eventually(
        `${times} more faults, ${kind}`,
        () => this.faults.slice(from).filter((fault) => fault.kind === kind).length >= times,
      );
    }
  }

  /** Starts a source that shows pods 1 and 2 and watches. */
  async function watching(...parameters: ConstructorParameters<typeof Source>): Promise<void> {
    source = new Source(...parameters);
    await source.shows('12');
    await eventually('it watches', () => api.openWatches === 1);
  }

  beforeEach(async () => {
    api = await KubeApi.start();
    api.set('shop-1', podSlice(8080, HOSTS.slice(0, 2)));
  });

  afterEach(async () => {
    source.stop();
    await api[Symbol.asyncDispose]();
  });

  test('reads a list in pages', async () => {
    for (let index = 10; index < 1210; index += 1)
      api.set(`many-${index}`, podSlice(8080, [`10.0.${Math.floor(index / 256)}.${index % 256}`]));
    source = new Source();
    await eventually('all are there', () => source.sets.at(-1)?.length === 1202);
    expect(api.lists).toBe(3);
  });

  test('watches on within 250 ms when the server ends the watch, without a list, and misses nothing', async () => {
    await watching();
    for (let round = 0; round < 3; round += 1) {
      const { watches } = api;
      const from = performance.now();
      api.endWatches();
      // In the gap: a watch from the last version is told of it.
      api.set('shop-2', round % 2 === 0 ? podSlice(8080, [HOSTS[2]]) : undefined);
      await eventually('it watches again', () => api.watches > watches, 5000, 2);
      // 200 ms + 10 %, and what a busy machine adds.
      expect(performance.now() - from).toBeLessThan(1000);
      await source.shows(round % 2 === 0 ? '123' : '12');
    }
    expect([api.lists, source.faults]).toEqual([1, []]);
  });

  test('goes on where a broken connection ended, in the middle of a line', async () => {
    await watching();
    api.cut();
    api.set('shop-2', podSlice(8080, [HOSTS[2]]));
    await source.shows('123');
    expect([api.lists, source.faults]).toEqual([1, []]);
  });

  test('goes on from the last bookmark', async () => {
    await watching();
    api.bookmark();
    api.bookmark();
    api.endWatches();
    await eventually('it watches again', () => api.watches === 2 && api.openWatches === 1);
    const versions = api.asked.filter((path) => path.includes('watch=1')).map((path) => versionOf(path));
    expect(versions[1]).toBe((versions[0] ?? 0) + 2);
  });

  test.each([false, true])(
    'reads the list again when its version is too old (as a status: %s)',
    async (status) => {
      await watching();
      api.expiresByStatus = status;
      api.set('other', { service: 'other', endpoints: [] });
      api.expireWatches();
      api.set('shop-2', podSlice(8080, [HOSTS[2]]));
      await source.shows('123');
      expect(source.faults).toEqual([]);
      expect(api.lists).toBeGreaterThanOrEqual(2);
    },
  );

  test('is not driven into a storm by a server that calls every version too old', async () => {
    await watching();
    api.oldest = Infinity;
    api.expireWatches();
    api.oldest = Infinity;
    await eventually('some lists', () => api.lists >= 3);
    const from = performance.now();
    await eventually('two more', () => api.lists >= 5);
    expect(performance.now() - from).toBeGreaterThan(1000);
    api.oldest = 0;
    api.set('shop-2', podSlice(8080, [HOSTS[2]]));
    await source.shows('123');
  });

  test('finds out by a list what a watch that fell asleep did not tell, and says so', async () => {
    await watching({}, '', 500);
    api.deaf = true;
    api.set('shop-2', podSlice(8080, [HOSTS[2]]));
    await source.faulty('silent');
    await source.shows('123');
  });

  test('reads the list again now and then without a fault where nothing was missed', async () => {
    await watching({}, '', 200);
    await eventually('some lists', () => api.lists >= 4);
    expect(source.faults).toEqual([]);
  });

  test('tells of a server that is away, refuses or babbles, and goes on when it is well', async () => {
    await watching();
    await Promise.all([source.faulty('unreachable', 2), api.away()]);
    await api.back();
    await eventually('it watches', () => api.openWatches === 1);
    api.watch = 500;
    api.endWatches();
    await source.faulty('refused', 2);
    api.watch = 'ok';
    await eventually('it watches', () => api.openWatches === 1);
    const malformed = source.faulty('malformed');
    api.babble('{"type":');
    await malformed;
    await eventually('it watches', () => api.openWatches === 1);
    api.set('shop-2', podSlice(8080, [HOSTS[2]]));
    await source.shows('123');
  });

  test('tells what ports there are where the one that is asked for is not', async () => {
    source = new Source({ port: 'https' });
    await source.faulty('malformed');
    expect(source.sets).toEqual([]);
    expect(source.faults[0]?.reason).toContain('8080 (http)');
  });

  test('asks for its namespace and service only', async () => {
    api.set('shop-9', podSlice(8080, ['127.0.0.9']), 'elsewhere');
    api.set('other', { ...podSlice(8080, ['127.0.0.8']), service: 'other' });
    await watching();
    source.stop();
    source = new Source({ namespace: 'elsewhere' });
    await source.shows('9');
  });

  test('stops for good', async () => {
    await watching();
    source.stop();
    await eventually('nobody watches', () => api.openWatches === 0);
    const { lists, watches } = api;
    const sets = source.sets.length;
    api.set('shop-2', podSlice(8080, [HOSTS[2]]));
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect([api.lists, api.watches, source.sets.length, source.faults]).toEqual([lists, watches, sets, []]);
  });
});

test('in a cluster it uses the service account: authority, namespace, and a token that is renewed', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'spillway-account-'));
  const authority = makeAuthority(folder);
  const issued = issueCertificate(folder, authority, 'api', ['localhost']);
  const [cert, key, ca] = await Promise.all(
    [issued.cert, issued.key, authority.cert].map(async (file) => await readFile(file, 'utf8')),
  );
  await using api = await KubeApi.start({ cert: cert ?? '', key: key ?? '' });
  api.token = 'first';
  api.set('shop-1', podSlice(8080, HOSTS.slice(0, 2)), 'shops');
  for (const [name, text] of [
    ['token', 'first\n'],
    ['namespace', 'shops'],
    ['ca.crt', ca ?? ''],
  ] as const)
    await writeFile(join(folder, name), text);
  const sets: (readonly Found[])[] = [];
  const faults: DiscoveryFault[] = [];
  const source = new KubernetesSource(
    {
      service: 'shop',
      namespace: undefined,
      scheme: 'http',
      port: 8080,
      url: undefined,
      token: undefined,
      ca: undefined,
    },
    {
      now: () => performance.now(),
      random: () => 0.5,
      cluster: { host: 'localhost', port: String(api.port), folder },
    },
    { onSet: (set) => sets.push(set), onFault: (fault) => faults.push(fault) },
  );
  await eventually('the endpoints', () => sets.at(-1)?.length === 2 && api.openWatches === 1);
  expect(faults).toEqual([]);
  api.token = 'second';
  await writeFile(join(folder, 'token'), 'second');
  api.endWatches();
  await eventually('it watches with the new token', () => api.watches === 2);
  expect(faults).toEqual([]);
  // A server that somebody else has signed for is told nothing.
  await writeFile(join(folder, 'ca.crt'), await readFile(makeAuthority(folder, 'stranger').cert));
  api.endWatches();
  await eventually('it is refused', () => faults.length > 0);
  expect(faults[0]?.kind).toBe('unreachable');
  expect(api.watches).toBe(2);
  source.stop();
  await rm(folder, { recursive: true, force: true });
});

function versionOf(path: string): number {
  return Number(new URL(path, 'http://api').searchParams.get('resourceVersion'));
}
