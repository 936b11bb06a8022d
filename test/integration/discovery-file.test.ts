/**
 * Instances that are listed in a file: replaced as a whole, swapped by a link, broken, emptied, gone, and taken up again after
 * a restart. In all of it no caller may notice anything, which `serving` and `untilAnsweredBy` ask for with each look.
 */
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { startGateway, type Gateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import {
  discoveredYaml,
  figureOf,
  serving,
  startNamed,
  statesOf,
  untilAnsweredBy,
  untilFault,
  type NamedInstance,
} from './discovery-fixture.ts';
import { reload, statusOf } from './control-fixture.ts';

let folder = '';
let list = '';
let fleet: NamedInstance[] = [];

function named(...indices: number[]): NamedInstance[] {
  return indices.map((index) => {
    const instance = fleet[index];
    if (instance === undefined) throw new Error(`no instance ${index}`);
    return instance;
  });
}

function yamlOf(instances: readonly NamedInstance[]): string {
  return instances.map(({ id }) => `- { url: "http://${id}", version: v1 }\n`).join('') || '[]\n';
}

/** Replaces the file in one step. */
async function replace(text: string): Promise<void> {
  await writeFile(`${list}.new`, text);
  await rename(`${list}.new`, list);
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'spillway-list-'));
  list = join(folder, 'shop.yaml');
  fleet = await Promise.all([0, 1, 2, 3].map(async () => await startNamed()));
});

afterAll(async () => {
  for (const instance of fleet) await instance[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

describe('a list in a file', () => {
  let gateway: Gateway;

  beforeAll(async () => {
    await replace(yamlOf(named(0, 1)));
    gateway = await startGateway(discoveredYaml(`{ file: ${list} }`));
  });

  afterAll(async () => {
    await gateway[Symbol.asyncDispose]();
  });

  test('is served from the first request on', async () => {
    await untilAnsweredBy(gateway, named(0, 1));
    const { body } = await gateway.admin('/readyz?verbose');
    expect(body).toMatchObject({
      checks: expect.arrayContaining([
        { name: 'discovery', ok: true, detail: 'first answers are in' },
      ]) as unknown,
    });
  });

  test('that is replaced brings the new instance and drains the one that is missing', async () => {
    await replace(yamlOf(named(0, 2)));
    await untilAnsweredBy(gateway, named(0, 2));
  });

  test('may be JSON, and the order of its rows means nothing', async () => {
    await replace(JSON.stringify(named(2, 1, 0).map(({ id }) => ({ version: 'v1', url: `http://${id}` }))));
    await untilAnsweredBy(gateway, named(0, 1, 2));
  });

  test.each([
    ['broken', '- { url: "http://127.0.0.1:1"'],
    ['of something else', 'instances: 5'],
    ['with one row that is none', '- http://127.0.0.1:1\n- http://127.0.0.1:1/path\n'],
    ['of no bytes', ''],
  ])('that is %s changes nothing and is a fault', async (_, text) => {
    const fault = untilFault(gateway, 'malformed');
    await replace(text);
    await fault;
    expect(await serving(gateway)).toBe(3);
    await eventually('it is dark', async () => (await figureOf(gateway, 'age_seconds')) > 0);
  });

  test('that is gone changes nothing, and counts again when it is back', async () => {
    const fault = untilFault(gateway, 'unreachable');
    await rm(list);
    await fault;
    expect(await serving(gateway)).toBe(3);
    await replace(yamlOf(named(0, 1, 2)));
    await eventually('the source answers', async () => (await figureOf(gateway, 'age_seconds')) === 0);
    await eventually('the log tells', () => gateway.logs().includes('the source of instances answers again'));
  });

  test.each(['directory', 'pipe'])('that a %s stands for changes nothing, and counts again', async (kind) => {
    const fault = untilFault(gateway, 'unreachable');
    await rm(list);
    if (kind === 'pipe') execFileSync('mkfifo', [list]);
    else await mkdir(list);
    await fault;
    expect(await serving(gateway)).toBe(3);
    await rm(list, { recursive: true });
    await replace(yamlOf(named(0, 1, 2)));
    await eventually('the source answers', async () => (await figureOf(gateway, 'age_seconds')) === 0);
  });

  test('that is empty takes nobody away', async () => {
    const fault = untilFault(gateway, 'empty');
    await replace('[]\n');
    await fault;
    expect(await figureOf(gateway, 'held')).toBe(3);
    expect(await serving(gateway)).toBe(3);
    await replace(yamlOf(named(0, 1, 2)));
    await eventually('nobody is held', async () => (await figureOf(gateway, 'held')) === 0);
  });

  test('that lacks most instances is not believed while they answer, and is when they do not', async () => {
    const fault = untilFault(gateway, 'shrunk');
    await replace(yamlOf(named(0)));
    await fault;
    expect(await serving(gateway)).toBe(3);
    expect(await figureOf(gateway, 'held')).toBe(2);
    await replace(yamlOf(named(0, 1, 2)));
    await eventually('nobody is held', async () => (await figureOf(gateway, 'held')) === 0);
  });

  test('survives a reload, and another list of another file takes its place without a refusal', async () => {
    const other = join(folder, 'other.yaml');
    await writeFile(other, yamlOf(named(1, 3)));
    const same = await reload(gateway, discoveredYaml(`{ file: ${list} }`, 'sla: 400ms'));
    expect(same).toMatchObject({ status: 200, warnings: [] });
    expect(await serving(gateway)).toBe(3);
    expect((await reload(gateway, discoveredYaml(`{ file: ${other} }`))).status).toBe(200);
    await untilAnsweredBy(gateway, named(1, 3));
  });

  test('gives way to instances in the configuration, and they to a list again', async () => {
    const listed = discoveredYaml('null').replace(
      'discovery: null',
      `instances: [{ url: "http://${named(0)[0]?.id ?? ''}", version: v1 }]`,
    );
    expect((await reload(gateway, listed)).status).toBe(200);
    await untilAnsweredBy(gateway, named(0));
    await replace(yamlOf(named(2)));
    expect((await reload(gateway, discoveredYaml(`{ file: ${list} }`))).status).toBe(200);
    await untilAnsweredBy(gateway, named(2));
  });
});

test('a directory that is swapped by a link, as Kubernetes does, is a new list', async () => {
  const mount = join(folder, 'mount');
  await mkdir(join(mount, '..one'), { recursive: true });
  await mkdir(join(mount, '..two'));
  await writeFile(join(mount, '..one', 'shop.yaml'), yamlOf(named(0, 1)));
  await writeFile(join(mount, '..two', 'shop.yaml'), yamlOf(named(1, 2)));
  await symlink('..one', join(mount, '..data'));
  await symlink(join('..data', 'shop.yaml'), join(mount, 'shop.yaml'));
  await using gateway = await startGateway(discoveredYaml(`{ file: ${join(mount, 'shop.yaml')} }`));
  await untilAnsweredBy(gateway, named(0, 1));
  await symlink('..two', join(mount, '..data_tmp'));
  await rename(join(mount, '..data_tmp'), join(mount, '..data'));
  await untilAnsweredBy(gateway, named(1, 2), 3000);
});

test('a gateway that starts while its list is gone serves the set of its last run, or waits for a first one', async () => {
  const state = join(folder, 'state');
  const text = discoveredYaml(`{ file: ${list}, stateDir: ${state} }`);
  await replace(yamlOf(named(0, 1)));
  {
    await using first = await startGateway(text);
    expect(await serving(first)).toBe(2);
    await first.stop();
  }
  await rm(list);
  await using second = await startGateway(text);
  await untilAnsweredBy(second, named(0, 1));
  await eventually('it is dark', async () => (await figureOf(second, 'age_seconds')) > 0);
  // Of another list nothing is known: the state of the old one is not taken for it.
  const other = join(folder, 'none.yaml');
  const unknown = startGateway(discoveredYaml(`{ file: ${other}, stateDir: ${state} }`));
  await replace(yamlOf(named(0, 1)));
  await writeFile(other, yamlOf(named(3)));
  await using third = await unknown;
  expect(Object.keys(await statesOf(third))).toEqual(named(3).map(({ id }) => id));
  expect(await statusOf(third.port)).toBe(200);
});
