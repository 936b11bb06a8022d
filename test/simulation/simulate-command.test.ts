/** `spillway simulate` as a process: what it prints, how it ends, and that the report's files hold the run they tell of. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const ROOT = path.resolve(import.meta.dirname, '../..');
const CHARTS = ['goodput', 'limit', 'latency', 'success', 'peers'] as const;

interface Ending {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function simulate(...given: readonly string[]): Ending {
  return spawnSync(process.execPath, ['src/main.ts', 'simulate', ...given], { cwd: ROOT, encoding: 'utf8' });
}

describe('a report of one scenario', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'spillway-simulate-'));
  const name = 'reference: A 0.7 C';
  const stem = 'reference-a-0.7-c';
  let ending: Ending;
  const read = (file: string): string => readFileSync(path.join(folder, 'made', file), 'utf8');
  const figures = (): {
    missed: number;
    scenarios: {
      name: string;
      files: string;
      misses: string[];
      runs: Record<string, number>[];
      peers: Record<string, unknown>[];
    }[];
  } => JSON.parse(read('report.json'));

  beforeAll(() => {
    ending = simulate(
      '--seeds',
      '2',
      '--scenario',
      'REFERENCE: a ',
      '--report',
      path.join(folder, 'made'),
      '--peers',
    );
  }, 60_000);
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });

  test('prints a row with its bounds and a line for each peer', () => {
    expect(ending.stderr).toBe('');
    const lines = ending.stdout.split('\n');
    const row = lines.findIndex((line) => line.startsWith(name));
    expect(lines[row]).toMatch(/ 0\.\d{3} \/ 0\.\d{3} +\d+ +\d\.\d{3} +(kept|SHORT|MISSED)$/);
    expect(lines[row + 1]).toContain('shedShare ≤ 0.001');
    for (const peer of ['Spillway', 'none', 'fixed 40', 'Envoy', 'Gradient2', 'Vegas', 'prototype'])
      expect(ending.stdout).toMatch(new RegExp(`^ {4}${peer} +\\d\\.\\d{3} / \\d+ ms`, 'm'));
    expect(ending.stdout).toMatch(
      /\n1 scenario, 2 seeds: \d bounds? kept, \d short of their bound.*, \d missed\n$/,
    );
  });

  test('ends with 0, or with 6 when a bound was missed, and says which with the seed', () => {
    const { missed, scenarios } = figures();
    expect(ending.status).toBe(missed === 0 ? 0 : 6);
    const misses = scenarios.flatMap((scenario) => scenario.misses);
    expect(misses.length).toBeGreaterThanOrEqual(missed);
    for (const miss of misses) expect(ending.stdout).toContain(`MISSED ${miss}`);
    expect(ending.stdout.match(/^ {4}MISSED /gm) ?? []).toHaveLength(misses.length);
  });

  test('has a page, the figures, a course and five charts', () => {
    expect(readdirSync(path.join(folder, 'made')).sort()).toEqual(
      ['report.html', 'report.json', `${stem}.csv`, ...CHARTS.map((chart) => `${stem}-${chart}.svg`)].sort(),
    );
  });

  test('the course adds up to the figures', () => {
    const [head = '', ...lines] = read(`${stem}.csv`).trimEnd().split('\n');
    const columns = head.split(',');
    const rows = lines.map((line) => {
      const values = line.split(',').map(Number);
      expect(values).toHaveLength(columns.length);
      return (column: string): number => values[columns.indexOf(column)] ?? Number.NaN;
    });
    const sum = (column: string, some = rows): number => some.reduce((total, row) => total + row(column), 0);
    expect(rows).toHaveLength(505);
    expect(rows.map((row) => row('end_ms'))).toEqual(rows.map((_, i) => 100 * (i + 1)));

    const settled = rows.filter((row) => row('end_ms') > 17_000 && row('end_ms') <= 35_000);
    const [run] = figures().scenarios[0]?.runs ?? [];
    expect(sum('goodput', settled) / 18 / 1600).toBeCloseTo(run?.['goodput'] ?? 0, 9);

    const sheds = columns.filter((column) => /^shed_[a-z]+$/.test(column));
    const codes = columns.filter((column) => column.startsWith('SPW_'));
    const shed = sheds.reduce((total, column) => total + sum(column), 0);
    expect(sheds).toHaveLength(4);
    expect(codes.reduce((total, column) => total + sum(column), 0)).toBe(shed);
    expect(sum('goodput') + sum('late') + sum('failed') + shed).toBe(sum('offered'));
    for (const row of rows.slice(20)) {
      expect(row('limit')).toBeGreaterThanOrEqual(4);
      expect(row('baseline_ms')).toBeGreaterThan(10);
      expect(row('slowdown_x50')).toBeCloseTo(row('p50_ms') / row('baseline_ms'), 2);
      expect(row('capacity_per_second')).toBe(1600);
    }
  });

  test('the figures are of both seeds, and of each peer with the first', () => {
    const [scenario] = figures().scenarios;
    expect(scenario).toMatchObject({ name: 'A 0.7 C', files: stem });
    expect(scenario?.runs.map(({ seed }) => seed)).toEqual([1001, 1002]);
    expect(scenario?.runs[0]?.['goodput']).not.toBe(scenario?.runs[1]?.['goodput']);
    const [ours, ...peers] = scenario?.peers ?? [];
    expect(ours).toMatchObject({ name: 'Spillway', goodput: scenario?.runs[0]?.['goodput'] });
    expect(peers.map((peer) => peer['name'])).toContain('Gradient2');
    for (const peer of peers) expect(peer['goodput']).toBeGreaterThan(0.5);
  });

  test('the charts are drawn and named', () => {
    for (const chart of CHARTS) {
      const svg = read(`${stem}-${chart}.svg`);
      expect(svg).toMatch(/^<svg [^>]*xmlns="http:\/\/www\.w3\.org\/2000\/svg"/);
      expect(svg).toContain(name);
      expect(svg).toContain('time, s');
      // A line of a hundred points or so.
      expect(svg).toMatch(/<path d="M[^"]{800,}" fill="none"/);
    }
    expect(read(`${stem}-limit.svg`)).toContain('true knee: slots');
    expect(read(`${stem}-latency.svg`)).toContain('SLA 250 ms');
    expect(read(`${stem}-peers.svg`)).toContain('Envoy');
  });

  test('the page has both tables and the charts, and needs no other file', () => {
    const html = read('report.html');
    const { goodput } = figures().scenarios[0]?.runs[0] ?? {};
    expect(html).toContain(`<td>${name}</td>`);
    expect(html).toContain('Ours beside the peers');
    expect(html).toContain((goodput ?? 0).toFixed(3));
    expect(html.match(/<svg /g)).toHaveLength(CHARTS.length);
    expect(html).not.toMatch(/(?:src|href)="(?!#)/);
  });
});

describe('a bound that is known to be missed', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'spillway-simulate-'));
  let ending: Ending;

  beforeAll(() => {
    ending = simulate('--seeds', '2', '--scenario', 'drown five slots', '--report', folder);
  }, 60_000);
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });

  test('is listed with its worst, its seeds and why, is counted, and ends the command with 0', () => {
    expect(ending.stdout).toMatch(/drown five slots .* SHORT\n/);
    expect(ending.stdout).toMatch(
      /\nShort of their bound\n {2}workers: S18 sixteen workers do not drown five slots\n {4}SHORT goodput ≥ 0\.9: 0\.\d{3}, seed \d{4}, missed by 2 of 2 seeds\. Every worker has a floor/,
    );
    expect(ending.stdout).toMatch(
      /\n1 scenario, 2 seeds: 0 bounds kept, 2 short of their bound \(listed above\), 0 missed\n$/,
    );
    expect(ending.status).toBe(0);
  });

  test('is in the report, on the page and in the figures', () => {
    const report = JSON.parse(readFileSync(path.join(folder, 'report.json'), 'utf8'));
    expect(report).toMatchObject({ kept: 0, short: 2, missed: 0 });
    expect(report.scenarios[0]).toMatchObject({
      verdict: 'SHORT',
      misses: [],
      shortfalls: [
        { bound: 'goodput ≥ 0.9', missedBy: 2, of: 2 },
        { bound: 'p99Ms ≤ 250', missedBy: 2, of: 2 },
      ],
    });
    const html = readFileSync(path.join(folder, 'report.html'), 'utf8');
    expect(html).toContain('Short of their bound');
    expect(html).toContain('Every worker has a floor of one permit');
  });
});

describe('the command line', () => {
  test('tells its options', () => {
    const { status, stdout } = simulate('--help');
    expect(status).toBe(0);
    for (const option of ['--seeds', '--scenario', '--report', '--peers', '--long'])
      expect(stdout).toContain(option);
  });

  test.each([
    ['an option that does not exist', ['--speed', '3'], '--speed'],
    ['no seed at all', ['--seeds', '0'], '--seeds'],
    ['a report without a folder', ['--report'], '--report'],
    ['a filter that nothing passes', ['--scenario', 'no such thing'], 'no such thing'],
    ['a word too many', ['overload'], 'overload'],
  ])('%s is answered with the usage and 2', (_what, given, named) => {
    const { status, stdout, stderr } = simulate(...given);
    expect(status).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toContain(named);
    expect(stderr).toContain('usage: spillway simulate');
  });
});
