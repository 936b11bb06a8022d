/** An address that discovery found is as inner as one of the configuration: no `Location` tells it. */
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import { eventually } from '../harness/ports.ts';
import { discoveredYaml } from './discovery-fixture.ts';
import { ask, startService, valueOf } from './path-fixture.ts';

test('a `Location` that names a found instance becomes relative, also of one that was found later', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'spillway-found-'));
  const list = join(folder, 'shop.yaml');
  const places: string[] = [];
  const start = async (): ReturnType<typeof startService> => {
    const service = await startService((request, response) => {
      const place = `127.0.0.1:${service.port}`;
      // Its own address, its sibling's, and that of somebody else.
      const named = { '/own': place, '/other': places.find((each) => each !== place) ?? place }[
        request.url ?? ''
      ];
      const location = `http://${named ?? '127.0.0.1:1'}/next?a=1`;
      response.writeHead(302, { location, 'content-length': 0, 'x-place': place }).end();
    });
    places.push(`127.0.0.1:${service.port}`);
    return service;
  };
  const write = async (): Promise<void> => {
    await writeFile(`${list}.new`, places.map((place) => `- { url: "http://${place}" }\n`).join(''));
    await rename(`${list}.new`, list);
  };
  await using _first = await start();
  await write();
  await using gateway = await startGateway(discoveredYaml(`{ file: ${list} }`));
  try {
    await using _second = await start();
    await write();
    const answeredBy = new Set<string | undefined>();
    await eventually('both answer', async () => {
      const { rawHeaders } = await ask(gateway.port, { path: '/own' });
      expect(valueOf(rawHeaders, 'location')).toBe('/next?a=1');
      answeredBy.add(valueOf(rawHeaders, 'x-place'));
      return answeredBy.size === 2;
    });
    for (const [path, wanted] of [
      ['/other', '/next?a=1'],
      ['/stranger', 'http://127.0.0.1:1/next?a=1'],
    ] as const) {
      expect(valueOf((await ask(gateway.port, { path })).rawHeaders, 'location')).toBe(wanted);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
