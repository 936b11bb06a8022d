/** What is published, and what the image holds: the compiled program, without a compiler, under node_modules too. */
import { execFile } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { PROJECT_ROOT, startGateway } from '../harness/gateway.ts';
import { startEcho } from '../harness/origin.ts';
import { eventually } from '../harness/ports.ts';
import { isAlive } from '../harness/process.ts';

const run = promisify(execFile);

describe('the compiled package', () => {
  let folder = '';
  let entry = '';

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'spillway-package-'));
    // As npm installs it: Node strips no types below a node_modules folder, so nothing there may be TypeScript.
    const home = join(folder, 'node_modules', 'spillway');
    await mkdir(home, { recursive: true });
    await run('npm', ['run', 'build', '--', '--outDir', join(home, 'dist')], { cwd: PROJECT_ROOT });
    await copyFile(join(PROJECT_ROOT, 'package.json'), join(home, 'package.json'));
    await symlink(join(PROJECT_ROOT, 'node_modules'), join(home, 'node_modules'));
    entry = join(home, 'dist', 'src', 'main.js');
  }, 300_000);

  afterAll(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  test('says its version and its schema', async () => {
    const version = await run(process.execPath, [entry, '--version']);
    expect(version.stdout.trim()).toMatch(/^\d+\.\d+\.\d+/);
    const schema = await run(process.execPath, [entry, 'schema']);
    expect(JSON.parse(schema.stdout)).toHaveProperty('$schema');
  });

  test('carries traffic, replaces a worker, and ends in order', async () => {
    await using origin = await startEcho();
    await using gateway = await startGateway(
      `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
services: { shop: { instances: [${origin.url}], sla: 250ms } }
routes: [{ path: /, service: shop }]
`,
      { entry },
    );
    expect((await fetch(gateway.publicUrl)).status).toBe(200);
    const [worker = 0] = gateway.workerPids();
    process.kill(worker, 'SIGKILL');
    await eventually('another worker', () =>
      gateway.workerPids().some((pid) => pid !== worker && isAlive(pid)),
    );
    await eventually('it serves', async () => {
      try {
        return (await fetch(gateway.publicUrl)).status === 200;
      } catch {
        return false;
      }
    });
    expect(await gateway.stop()).toEqual({ code: 0, signal: null });
  });

  test('is what package.json names as its command, with a line that says who runs it', async () => {
    const { bin } = JSON.parse(await readFile(join(PROJECT_ROOT, 'package.json'), 'utf8')) as {
      bin: { spillway: string };
    };
    expect(entry.endsWith(bin.spillway)).toBe(true);
    expect((await readFile(entry, 'utf8')).split('\n')[0]).toBe('#!/usr/bin/env node');
  });
});
