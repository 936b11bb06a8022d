/**
 * What `/readyz` waits for: the first answer of every source, and after ten seconds one of them, or a service that is listed. The
 * sources are real and dead, or a file; only the clock is the test's.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, expect, test } from 'vitest';

import { readInstanceFile } from '../../config/instance-file.ts';
import { loadConfigurationText } from '../../config/load.ts';
import type { Configuration } from '../../config/schema.ts';
import { Discoveries } from '../../src/io/discovery/discoveries.ts';
import { Meter } from '../../src/io/meter.ts';
import { eventually } from '../harness/ports.ts';

const DEAD = '{ discovery: { dns: { name: shop.test, servers: ["127.0.0.1:1"] } } }';
const LISTED = '{ instances: [http://127.0.0.1:1] }';

let folder = '';

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'spillway-first-'));
});

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

function configurationOf(services: Readonly<Record<string, string>>): Configuration {
  const rows = Object.entries(services).map(([name, text]) => `${name}: ${text}`);
  const text = `
listeners: [{ port: 8080 }]
services: { ${rows.join(', ')} }
routes: [{ path: /, service: ${Object.keys(services)[0] ?? ''} }]`;
  const loaded = loadConfigurationText(text, 'first', {});
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.faults));
  return loaded.configuration;
}

class World implements Disposable {
  now = 0;
  readonly found = new Map<string, number>();
  readonly faults: string[] = [];
  readonly discoveries: Discoveries;

  constructor(services: Readonly<Record<string, string>>) {
    const meter = new Meter();
    this.discoveries = new Discoveries({
      now: () => this.now,
      random: () => 0.5,
      log: {
        info: () => undefined,
        warn: ({ fault }: { fault: string }) => this.faults.push(fault),
      } as never,
      meter,
      fleets: {
        discovered: (service, instances) => this.found.set(service, instances.length),
        probePasses: () => true,
      },
      readInstances: readInstanceFile,
      cluster: { host: '', port: '', folder: '' },
      onAnswer: () => undefined,
    });
    expect(this.discoveries.answeredOnce()).toBe(false);
    this.discoveries.configure(configurationOf(services));
  }

  async dark(): Promise<void> {
    await eventually('it is dark', () => this.faults.length > 0);
  }

  [Symbol.dispose](): void {
    this.discoveries.stop();
  }
}

test('without a service that is found there is nothing to wait for', () => {
  using world = new World({ shop: LISTED });
  expect(world.discoveries.answeredOnce()).toBe(true);
});

test('every source is waited for; after ten seconds a service that is listed is enough', async () => {
  using world = new World({ shop: DEAD, stock: LISTED });
  await world.dark();
  world.now = 9999;
  expect(world.discoveries.answeredOnce()).toBe(false);
  world.now = 10_000;
  expect(world.discoveries.answeredOnce()).toBe(true);
});

test('where all are found, one answer is needed, and enough after ten seconds', async () => {
  const file = join(folder, 'late.yaml');
  using world = new World({ shop: DEAD, stock: `{ discovery: { file: ${file} } }` });
  await world.dark();
  world.now = 60_000;
  expect(world.discoveries.answeredOnce()).toBe(false);
  await writeFile(file, '- http://127.0.0.1:1\n');
  await eventually('the file is read', () => world.found.get('stock') === 1);
  expect(world.discoveries.answeredOnce()).toBe(true);
});

test('once answered is answered: a source that a reload brings is not waited for', async () => {
  using world = new World({ shop: LISTED });
  expect(world.discoveries.answeredOnce()).toBe(true);
  world.discoveries.configure(configurationOf({ shop: LISTED, stock: DEAD }));
  await world.dark();
  expect(world.discoveries.answeredOnce()).toBe(true);
});
