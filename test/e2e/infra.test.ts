/** What infra/ gives an operator holds against the real program. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { describe, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';

import { PROJECT_ROOT, startGateway } from '../harness/gateway.ts';
import { startEcho } from '../harness/origin.ts';

const run = promisify(execFile);
const MAIN = join(PROJECT_ROOT, 'src/main.ts');

/** `spillway check --strict` on a configuration text, far from its network; its output when it is refused. */
async function check(text: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'spillway-infra-'));
  try {
    await writeFile(join(folder, 'spillway.yaml'), text);
    await run(process.execPath, [MAIN, 'check', '--strict', '--no-resolve', '-c', 'spillway.yaml'], {
      cwd: folder,
      env: {
        ...process.env,
        SPILLWAY_ADMIN_TOKEN: 'a-token-of-a-test',
        SPILLWAY_KEY_SECRET: 'a-secret-of-a-test',
      },
    });
    return '';
  } catch (error) {
    return String((error as { stderr?: string }).stderr ?? error);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

describe('infra/ and the program', () => {
  test('the configuration of the compose file is valid without a warning', async () => {
    expect(await check(await readFile(join(PROJECT_ROOT, 'infra/compose/spillway.yaml'), 'utf8'))).toBe('');
  });

  test('the configuration in the ConfigMap is valid without a warning', async () => {
    const text = await readFile(join(PROJECT_ROOT, 'infra/kubernetes/configmap.yaml'), 'utf8');
    const [map] = parseAllDocuments(text).map(
      (document) => document.toJS() as { data: Readonly<Record<string, string>> },
    );
    expect(await check(map?.data['spillway.yaml'] ?? '')).toBe('');
  });

  test('every metric that an alert names is on the page of a gateway that has just started', async () => {
    const rules = await readFile(join(PROJECT_ROOT, 'infra/prometheus/rules.yaml'), 'utf8');
    const names = new Set([...rules.matchAll(/(?<![\w:])spillway_\w+/g)].map((match) => match[0]));
    expect(names.size).toBeGreaterThan(8);
    await using origin = await startEcho();
    await using gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
services: { shop: { instances: [${origin.url}], sla: 250ms } }
routes: [{ path: /, service: shop }]
`);
    const page = String((await gateway.admin('/metrics')).body);
    for (const name of names) expect(page).toMatch(new RegExp(`^# TYPE ${name} `, 'm'));
  });

  test('the health check of the image says 0 of a gateway that runs and 1 of one that does not', async () => {
    await using origin = await startEcho();
    const gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
services: { shop: { instances: [${origin.url}], sla: 250ms } }
routes: [{ path: /, service: shop }]
`);
    const ask = async (): Promise<number> => {
      try {
        await run(process.execPath, [MAIN, 'healthcheck', '-c', gateway.configFile]);
        return 0;
      } catch (error) {
        return (error as { code: number }).code;
      }
    };
    try {
      expect(await ask()).toBe(0);
      await gateway.stop();
      expect(await ask()).toBe(1);
    } finally {
      await gateway[Symbol.asyncDispose]();
    }
  });
});
