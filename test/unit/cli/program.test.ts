import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { findAdmin, UsageError } from '../../../src/cli/admin-address.ts';
import type { RunOptions } from '../../../src/cli/context.ts';
import { packageVersion } from '../../../src/cli/package-root.ts';
import { runCli } from '../../../src/cli/program.ts';
import { table } from '../../../src/cli/table.ts';
import { ratesBetween, readTotals } from '../../../src/cli/top-rates.ts';

interface Ran {
  code: number;
  out: string;
  err: string;
  runs: RunOptions[];
}

async function spillway(...argv: string[]): Promise<Ran> {
  const ran: Ran = { code: -1, out: '', err: '', runs: [] };
  ran.code = await runCli(argv, {
    run: async (options) => {
      ran.runs.push(options);
      return 0;
    },
    stdout: { write: (text) => (ran.out += text) },
    stderr: { write: (text) => (ran.err += text) },
    environment: {},
  });
  return ran;
}

const run = async (): Promise<number> => {
  throw new Error('no luck');
};

describe('the command line', () => {
  test('without a word it prints a short help with three examples', async () => {
    const { code, out, err } = await spillway();
    expect(code).toBe(0);
    expect(out.match(/^ {2}spillway \w/gm)).toHaveLength(3);
    expect(err).toBe('');
  });

  test('help and version are data and no failure', async () => {
    const help = await spillway('--help');
    expect([help.code, help.err]).toStrictEqual([0, '']);
    for (const name of [
      'run',
      'check',
      'schema',
      'reload',
      'roll',
      'status',
      'drain',
      'undrain',
      'explain',
      'top',
      'loadtest',
      'simulate',
      'healthcheck',
    ]) {
      expect(help.out).toMatch(new RegExp(`^ {2}${name}\\b`, 'm'));
    }
    expect(await spillway('--version')).toMatchObject({ code: 0, out: `${packageVersion()}\n`, err: '' });
    expect(await spillway('drain', '--help')).toMatchObject({ code: 0, err: '' });
  });

  test.each([
    [['stauts'], 'unknown command', 'Did you mean status?'],
    [['status', '--jsno'], 'unknown option', 'Did you mean --json?'],
    [['--verison'], 'unknown option', 'Did you mean --version?'],
    [['run', '--config'], 'argument missing', ''],
    [['run', 'spillway.yaml'], 'too many arguments', ''],
    [['drain'], 'missing required argument', ''],
    [['drain', 'shop'], 'SERVICE/INSTANCE is expected', ''],
    [['drain', 'shop/'], 'SERVICE/INSTANCE is expected', ''],
    [['undrain', '/127.0.0.1:9001'], 'SERVICE/INSTANCE is expected', ''],
    [['drain', 'shop/127.0.0.1:9001', '--ttl', '10'], 'A duration such as 30s or 10m', ''],
    [['drain', 'shop/127.0.0.1:9001', '--wait', '--timeout', '0s'], 'A duration such as 30s or 10m', ''],
    [['status', '--admin', 'http://['], 'is not a URL', ''],
  ])('%j is a usage error: exit 2, told on stderr', async (argv, message, suggestion) => {
    const { code, out, err, runs } = await spillway(...argv);
    expect(code).toBe(2);
    expect(out).toBe('');
    expect(err).toContain(message);
    expect(err).toContain(suggestion);
    expect(runs).toStrictEqual([]);
  });

  test('a failure that nobody foresaw is exit 1 and one line', async () => {
    let err = '';
    const code = await runCli(['run', '-c', 'x.yaml'], {
      run,
      stdout: { write: () => true },
      stderr: { write: (text) => (err += text) },
      environment: {},
    });
    expect([code, err]).toStrictEqual([1, 'spillway: no luck\n']);
  });

  test('schema prints the schema; check judges a file by its exit code', async () => {
    const schema = await spillway('schema');
    expect(schema.code).toBe(0);
    expect(JSON.parse(schema.out)).toMatchObject({ $schema: expect.stringContaining('2020-12') });
    const missing = await spillway('check', '-c', path.join(tmpdir(), 'no-such-file.yaml'));
    expect(missing.code).toBe(3);
    expect(missing.err).toContain('no-such-file.yaml:1:1: error:');
  });
});

describe('in a folder of its own', () => {
  const home = process.cwd();
  let folder = '';
  beforeEach(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'spillway-cli-'));
    process.chdir(folder);
  });
  afterEach(async () => {
    process.chdir(home);
    await rm(folder, { recursive: true });
  });

  test('run takes the file that is named, else spillway.yaml, else the demo', async () => {
    expect((await spillway('run')).runs.map((run) => run.config)).toStrictEqual([undefined]);
    await writeFile('spillway.yaml', '');
    expect((await spillway('run')).runs.map((run) => run.config)).toStrictEqual(['spillway.yaml']);
    expect((await spillway('run', '-c', 'other.yaml')).runs.map((run) => run.config)).toStrictEqual([
      'other.yaml',
    ]);
  });

  test('the admin address is what is said, else the environment, else the file, else the default', async () => {
    expect(await findAdmin({}, {})).toStrictEqual({ url: 'http://127.0.0.1:9090', token: '' });
    await writeFile(
      'spillway.yaml',
      'admin: { host: "::", port: 9191, token: "${ADMIN_TOKEN:-from-file}" }\nlisteners: [\n',
    );
    // The list is never closed: `status` must work while the file has the fault that one wants to mend.
    expect(await findAdmin({}, {})).toStrictEqual({ url: 'http://[::1]:9191', token: 'from-file' });
    await writeFile(
      'spillway.yaml',
      'admin: { host: "::", port: 9191, token: "${ADMIN_TOKEN:-from-file}" }\nlisteners: 7\n',
    );
    expect(await findAdmin({}, {})).toStrictEqual({ url: 'http://[::1]:9191', token: 'from-file' });
    expect(await findAdmin({}, { ADMIN_TOKEN: 't' })).toStrictEqual({ url: 'http://[::1]:9191', token: 't' });
    const environment = { SPILLWAY_ADMIN: 'gateway:9300', SPILLWAY_ADMIN_TOKEN: 'e' };
    expect(await findAdmin({}, environment)).toStrictEqual({ url: 'http://gateway:9300', token: 'e' });
    expect(await findAdmin({ admin: 'https://gw:1/x', token: 'o' }, environment)).toStrictEqual({
      url: 'https://gw:1',
      token: 'o',
    });
    await expect(findAdmin({ admin: 'http://[' }, {})).rejects.toThrow(UsageError);
  });

  test('a token may lie in a file beside the configuration', async () => {
    await writeFile('token.txt', 'from-a-file\n');
    await writeFile('gateway.yaml', 'admin: { token: { file: token.txt } }\n');
    expect(await findAdmin({ config: path.join(folder, 'gateway.yaml') }, {})).toStrictEqual({
      url: 'http://127.0.0.1:9090',
      token: 'from-a-file',
    });
  });
});

const page = (requests: number, shed: number): string =>
  `# TYPE spillway_requests_total counter\nspillway_requests_total{route="/",service="shop",status="200"} ${requests}\n` +
  `spillway_requests_total{route="/x",service="shop",status="503"} 5\nspillway_shed_total{service="shop",code="x"} ${shed}\n`;

describe('what is printed', () => {
  test('columns align, numbers stand right, and nothing controls the terminal', () => {
    expect(
      table([
        ['NAME', 'COUNT'],
        ['a\u001b[31m', 7],
        ['longer', 1234],
      ]),
    ).toStrictEqual(['NAME    COUNT', 'a [31m      7', 'longer   1234']);
  });

  test('rates are differences a second; a counter that began again counts from zero', () => {
    const before = readTotals(page(100, 50), 1000);
    expect(before.services.get('shop')).toStrictEqual({ requests: 105, inTime: 0, shed: 50 });
    const rates = ratesBetween(before, readTotals(page(300, 10), 3000));
    expect(rates.get('shop')).toStrictEqual({ requests: 100, inTime: 0, shed: 5 });
  });
});
