/**
 * `npm test`: everything, as a stranger runs it on a fresh checkout.
 *
 * Makes sure of the one thing that npm cannot bring, `redis-server` (Debian's package, installed when this may be done,
 * and not left running), runs both vitest projects, and ends with `N passed, N failed` alone on a line. Arguments are handed to
 * vitest (`npm test -- --project unit shedding`). The exit code is vitest's.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { findRedisServer } from './harness/redis.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const POLICY_FILE = '/usr/sbin/policy-rc.d';

interface JsonReport {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly testResults: readonly {
    readonly status: string;
    readonly assertionResults: readonly { readonly status: string }[];
  }[];
}

function succeeds(command: string, args: readonly string[]): boolean {
  return spawnSync(command, [...args], { stdio: 'ignore' }).status === 0;
}

/** How to become root: nothing when we are, `sudo -n` when it asks no password, undefined when neither. */
function elevation(): readonly string[] | undefined {
  if (process.getuid?.() === 0) return [];
  return succeeds('sudo', ['-n', 'true']) ? ['sudo', '-n'] : undefined;
}

/** Installs Debian's redis-server; a policy file keeps the package from starting the service. */
function installRedis(): boolean {
  const root = elevation();
  if (root === undefined || !succeeds('apt-get', ['--version'])) return false;
  const run = (args: readonly string[]): boolean => {
    const [command = '', ...rest] = [...root, 'env', 'DEBIAN_FRONTEND=noninteractive', ...args];
    return spawnSync(command, rest, { stdio: ['ignore', 'ignore', 'inherit'] }).status === 0;
  };
  process.stderr.write('redis-server is missing; installing it with apt-get\n');
  const mayWrite = root.length === 0 && !existsSync(POLICY_FILE);
  if (mayWrite) writeFileSync(POLICY_FILE, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    const install = ['apt-get', 'install', '-y', '-q', '--no-install-recommends', 'redis-server'];
    if (!run(install) && !(run(['apt-get', 'update', '-q']) && run(install))) return false;
    if (!mayWrite) run(['service', 'redis-server', 'stop']);
    return true;
  } finally {
    if (mayWrite) rmSync(POLICY_FILE, { force: true });
  }
}

function hasRedis(): boolean {
  try {
    findRedisServer();
    return true;
  } catch {
    return false;
  }
}

/** Passed and failed tests; a file that could not even be loaded counts as one failed test. */
function counts(report: JsonReport): { passed: number; failed: number } {
  let failed = report.numFailedTests;
  for (const file of report.testResults) {
    const hasFailedTest = file.assertionResults.some((test) => test.status === 'failed');
    if (file.status === 'failed' && !hasFailedTest) failed += 1;
  }
  return { passed: report.numPassedTests, failed };
}

function main(): number {
  if (!hasRedis() && !(installRedis() && hasRedis())) {
    process.stderr.write(
      'The tests need redis-server on the PATH: install the package redis-server, then try again.\n',
    );
    return 1;
  }
  const folder = mkdtempSync(join(tmpdir(), 'spillway-run-'));
  const reportFile = join(folder, 'report.json');
  try {
    const run = spawnSync(
      process.execPath,
      [
        join(ROOT, 'node_modules', 'vitest', 'vitest.mjs'),
        'run',
        '--config=test/vitest.config.ts',
        '--reporter=default',
        '--reporter=json',
        `--outputFile.json=${reportFile}`,
        ...process.argv.slice(2),
      ],
      { cwd: ROOT, stdio: ['ignore', 'inherit', 'inherit'] },
    );
    const code = run.status ?? 1;
    let { passed, failed } = existsSync(reportFile)
      ? counts(JSON.parse(readFileSync(reportFile, 'utf8')) as JsonReport)
      : { passed: 0, failed: 1 };
    // An unhandled error fails the run without failing a test: it must not read as "0 failed".
    if (code !== 0) failed = Math.max(failed, 1);
    process.stdout.write(`\n${passed} passed, ${failed} failed\n`);
    return code === 0 && failed > 0 ? 1 : code;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

process.exitCode = main();
