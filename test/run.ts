/**
 * `npm test`: everything, as a stranger runs it on a fresh checkout.
 *
 * Makes sure of what npm cannot bring (`harness/executable.ts`: Debian's packages, installed when this may be done, no service
 * of theirs left running), runs all vitest projects, and ends with `N passed, N failed` alone on a line. Arguments are handed to
 * vitest (`npm test -- --project unit shedding`). The exit code is vitest's.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { isInstalled, TOOLS } from './harness/executable.ts';

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

/** Installs Debian's packages; a policy file keeps them from starting services. */
function installPackages(packages: readonly string[]): boolean {
  const root = elevation();
  if (root === undefined || !succeeds('apt-get', ['--version'])) return false;
  const run = (args: readonly string[]): boolean => {
    const [command = '', ...rest] = [...root, 'env', 'DEBIAN_FRONTEND=noninteractive', ...args];
    return spawnSync(command, rest, { stdio: ['ignore', 'ignore', 'inherit'] }).status === 0;
  };
  process.stderr.write(`missing, and installed with apt-get: ${packages.join(', ')}\n`);
  const mayWrite = root.length === 0 && !existsSync(POLICY_FILE);
  if (mayWrite) writeFileSync(POLICY_FILE, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    const install = ['apt-get', 'install', '-y', '-q', '--no-install-recommends', ...packages];
    if (!run(install) && !(run(['apt-get', 'update', '-q']) && run(install))) return false;
    if (!mayWrite && packages.includes('redis-server')) run(['service', 'redis-server', 'stop']);
    return true;
  } finally {
    if (mayWrite) rmSync(POLICY_FILE, { force: true });
  }
}

/** Packages of which no program is there. */
function missingPackages(): string[] {
  return TOOLS.filter((tool) => !isInstalled(tool)).map((tool) => tool.package);
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
  const missing = missingPackages();
  if (missing.length > 0 && !(installPackages(missing) && missingPackages().length === 0)) {
    process.stderr.write(
      `The tests need these packages, install them and try again: ${missing.join(', ')}\n`,
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
