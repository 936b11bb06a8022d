import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { PROJECT_ROOT } from '../harness/gateway.ts';
import { startProcess } from '../harness/process.ts';
import type { RunningProcess } from '../harness/process.ts';
import { startListener } from '../harness/origin.ts';
import { eventually } from '../harness/ports.ts';

const run = promisify(execFile);

/** The demo as a stranger sees it: an empty folder, no arguments. */
async function startDemo(folder: string): Promise<RunningProcess> {
  return startProcess(process.execPath, [join(PROJECT_ROOT, 'src/main.ts'), 'run'], { cwd: folder });
}

/** The command behind a word at the start of a line that the demo printed. */
async function commandOf(demo: RunningProcess, word: string): Promise<string> {
  const match = await demo.waitForLine(new RegExp(`^\\s+${word}\\s+(\\S.*curl.*|curl.*)$`), 60_000);
  return match[1] ?? '';
}

describe('the demo that `npm start` gives', () => {
  let folder = '';
  let demo: RunningProcess;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'spillway-demo-'));
    demo = await startDemo(folder);
    await commandOf(demo, 'shed');
  });

  afterAll(async () => {
    await demo[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  test('its first line to try is served', async () => {
    const { stdout } = await run('sh', ['-c', await commandOf(demo, 'served')]);
    expect(stdout).toMatch(/^HTTP\/1\.1 200 /);
  });

  /** What the command printed, at one of several tries: on a busy machine its parts may be too far apart to meet. */
  async function eventuallyPrints(word: string, wanted: RegExp): Promise<string> {
    const command = await commandOf(demo, word);
    let text = '';
    await eventually(`${word}: ${String(wanted)}`, async () => {
      text = (await run('sh', ['-c', command])).stdout;
      return wanted.test(text);
    });
    return text;
  }

  test('its second line to try is limited', async () => {
    await eventuallyPrints('limited', /\b429\b/);
  });

  test('its third line to try is shed', async () => {
    const stdout = await eventuallyPrints('shed', /^HTTP\/1\.1 503 /m);
    expect(stdout).toMatch(/SPW_SHED_\w+/);
    expect(stdout).toMatch(/^retry-after: \d+/im);
  });

  test('the addresses it prints answer', async () => {
    const [, admin = ''] = await demo.waitForLine(/^\s+admin\s+(http:\S+)/);
    expect((await fetch(new URL('/readyz', admin))).status).toBe(200);
    const status = (await (await fetch(new URL('/v1/status', admin))).json()) as { summary: string };
    expect(status.summary.length).toBeGreaterThan(10);
  });

  test('a second demo takes the next free port and says so', async () => {
    await using second = await startDemo(folder);
    const [, url = ''] = await second.waitForLine(/^\s+traffic\s+(http:\S+)/);
    const [, firstUrl = ''] = await demo.waitForLine(/^\s+traffic\s+(http:\S+)/);
    expect(url).not.toBe(firstUrl);
    expect(second.stdout()).toMatch(/taken/);
    expect((await fetch(url)).status).toBe(200);
  });

  test('SIGTERM ends it with 0, its instances too', async () => {
    await using third = await startDemo(folder);
    await third.waitForLine(/^\s+shed\s/);
    const [, line = ''] = await third.waitForLine(/^\s+instances\s+(http:.*)$/);
    const exit = await third.stop();
    expect(exit).toEqual({ code: 0, signal: null });
    for (const instance of line.trim().split(/\s+/)) {
      // Nobody listens there any more, so the port can be bound.
      const origin = await startListener((_, response) => response.end(), Number(new URL(instance).port));
      await origin.close();
    }
  });
});
