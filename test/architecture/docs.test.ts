/**
 * README and code do not part ways: the error table, the metrics, the dependencies.
 *
 * Format in README.md, wherever its tables stand: a row of the error table begins `| \`SPW_CODE\` | STATUS |`, one code a
 * row; a row of the metrics table `| \`spillway_name\` | labels, comma-separated in backquotes, or – |`; a row of the dependency table
 * `| \`package-name\` | reason |`.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { describe, expect, test } from 'vitest';

import { METRICS } from '../../src/io/metrics-table.ts';
import { ERRORS } from '../../src/kernel/errors.ts';

function projectFile(name: string): string {
  return readFileSync(fileURLToPath(new URL(`../../${name}`, import.meta.url)), 'utf8');
}

/** Rows of Markdown tables whose first cell is one backquoted word: [word, other cells…]. */
function tableRows(markdown: string): readonly (readonly [string, ...string[]])[] {
  const rows: [string, ...string[]][] = [];
  for (const line of markdown.split('\n')) {
    const match = /^\| `([^`]+)` \|(.*)\|\s*$/.exec(line);
    if (match === null) continue;
    rows.push([match[1] ?? '', ...(match[2] ?? '').split('|').map((cell) => cell.trim())]);
  }
  return rows;
}

interface PackageFile {
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
  readonly optionalDependencies: Readonly<Record<string, string>>;
}

describe('README and code agree', () => {
  test('every error code is in README once, with its status, and no other', () => {
    const documented = tableRows(projectFile('README.md'))
      .filter(([word]) => word.startsWith('SPW_'))
      .map(([code, status]) => `${code} ${status}`);
    const rows = Object.entries(ERRORS).map(([code, row]) => `${code} ${row.status}`);
    expect(documented.toSorted()).toEqual(rows.toSorted());
  });

  test('every metric is in README once, with its labels, and no other', () => {
    const documented = tableRows(projectFile('README.md'))
      .filter(([word]) => word.startsWith('spillway_'))
      .map(
        ([name, labels = '']) =>
          `${name} ${[...labels.matchAll(/`(\w+)`/g)].map((each) => each[1]).join(',')}`,
      );
    const rows = Object.entries(METRICS).map(([name, row]) => `${name} ${row.labels.join(',')}`);
    expect(documented.toSorted()).toEqual(rows.toSorted());
  });

  test('every dependency is named in README with the reason it is there, and none that is gone', () => {
    const file = JSON.parse(projectFile('package.json')) as PackageFile;
    const wanted = Object.keys({
      ...file.dependencies,
      ...file.devDependencies,
      ...file.optionalDependencies,
    });
    const [, section = ''] = projectFile('README.md').split(/^##+ .*dependenc.*$/im);
    const rows = tableRows(section.split(/^##? /m)[0] ?? '');
    expect(rows.map(([name]) => name).toSorted()).toEqual(wanted.toSorted());
    for (const [name, reason = ''] of rows) expect(reason.length, `reason for ${name}`).toBeGreaterThan(10);
  });

  test('no version is a range: what was tested is what is installed', () => {
    const file = JSON.parse(projectFile('package.json')) as PackageFile;
    const all = { ...file.dependencies, ...file.devDependencies, ...file.optionalDependencies };
    for (const [name, version] of Object.entries(all))
      expect(version, name).toMatch(/^\d+\.\d+\.\d+(-[\w.]+)?$/);
  });

  test('a row that lacks its code, has another status or is there twice would be found', () => {
    const text = '| `SPW_A` | 503 | when |\n| `SPW_B` | 429 | x |\n| SPW_C | 1 |\n| `SPW_B` | 503 | y |';
    expect(tableRows(text)).toEqual([
      ['SPW_A', '503', 'when'],
      ['SPW_B', '429', 'x'],
      ['SPW_B', '503', 'y'],
    ]);
  });
});
