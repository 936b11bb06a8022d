/**
 * The rows of the design's table of upstream faults, U01 to U46, and where each is tested: a row without a test, and a test
 * that is gone, fail here.
 */
import { readFileSync } from 'node:fs';

import { describe, expect, test } from 'vitest';

const FAULTS = 'faults/upstream-faults';
const ACCOUNT = 'faults/upstream-account';
const NETWORK = 'faults/upstream-network';
const LIFE = 'faults/upstream-life';
const FLEET = 'faults/upstream-fleet';
const WEBSOCKET = 'integration/path-websocket';

/** Where a row is tested: a file, and words of the test's name; without words the row's number stands in the name. */
type Place = readonly [file: string, words?: string];

const MATRIX: Readonly<Record<string, readonly Place[]>> = {
  U01: [[FAULTS], ['integration/path-retries', 'with one instance that refuses connections']],
  U02: [[NETWORK]],
  U03: [[NETWORK]],
  U04: [[NETWORK]],
  U05: [[NETWORK]],
  U06: [[FAULTS], [ACCOUNT], [NETWORK]],
  U07: [[FAULTS], [ACCOUNT], [NETWORK]],
  U08: [[FAULTS], [ACCOUNT], [NETWORK]],
  U09: [[FAULTS]],
  U10: [[FAULTS], [ACCOUNT]],
  U11: [[FAULTS], [ACCOUNT]],
  U12: [[LIFE]],
  U13: [[FAULTS], [ACCOUNT]],
  U14: [[FAULTS], [ACCOUNT], [NETWORK]],
  U15: [[FAULTS], [ACCOUNT]],
  U16: [[FAULTS], [ACCOUNT]],
  U17: [[FAULTS], [ACCOUNT]],
  U18: [[FAULTS], [ACCOUNT]],
  U19: [[FAULTS]],
  U20: [[FAULTS], [ACCOUNT]],
  U21: [[FAULTS], [ACCOUNT]],
  U22: [[FAULTS], [ACCOUNT]],
  U23: [[FAULTS], [ACCOUNT]],
  U24: [[FAULTS], [ACCOUNT], ['integration/path-messages', 'early hints pass with all their fields']],
  U25: [[FAULTS], [ACCOUNT]],
  U26: [[FAULTS], [ACCOUNT]],
  U27: [[FAULTS], [ACCOUNT]],
  U28: [[FAULTS], [ACCOUNT], [NETWORK]],
  U29: [[FAULTS], [ACCOUNT]],
  U30: [[FAULTS], [ACCOUNT]],
  U31: [[LIFE], ['integration/path-messages', 'trailers pass to whoever says']],
  U32: [[LIFE], ['integration/path-uploads', 'early 413 is read by a client that is still sending']],
  U33: [[FAULTS], ['integration/path-deadlines', 'to an instance that stops reading is 504']],
  U34: [[FAULTS], [ACCOUNT]],
  U35: [[FAULTS], [ACCOUNT]],
  U36: [[FAULTS], [ACCOUNT], [LIFE]],
  U37: [[FAULTS], [ACCOUNT]],
  U38: [[FAULTS], [ACCOUNT]],
  U39: [[LIFE], [NETWORK], ['integration/path-streaming', 'pauses the service instead of filling']],
  U40: [[FLEET]],
  U41: [[FLEET]],
  U42: [['integration/upstream-tls'], ['integration/path-http-proxy-traps', 'nobody vouches for']],
  U43: [['faults/upstream-h2-faults']],
  U44: [
    [WEBSOCKET, 'by silence is 504 at the deadline'],
    [WEBSOCKET, 'by a reset is 502'],
    [WEBSOCKET, 'is ended after `timeout.tunnelIdle`'],
    [WEBSOCKET, 'that vanishes closes the connection upstream'],
    [WEBSOCKET, '%i by the instance is relayed'],
  ],
  U45: [[FLEET]],
  U46: [[FAULTS]],
};

/** What stands in the quotes of a test's name, or of a table's row. */
function names(file: string): readonly string[] {
  const text = readFileSync(new URL(`../${file}.test.ts`, import.meta.url), 'utf8');
  return [...text.matchAll(/'((?:[^'\\\n]|\\.)+)'|"([^"\n]+)"|`([^`\n]+)`/g)].map(
    ([, single, double, back]) => single ?? double ?? back ?? '',
  );
}

describe('the table of upstream faults', () => {
  test('has a row for each of U01 to U46', () => {
    const rows = Array.from({ length: 46 }, (_, index) => `U${String(index + 1).padStart(2, '0')}`);
    expect(Object.keys(MATRIX)).toEqual(rows);
  });

  test.each(Object.entries(MATRIX))('%s is tested where it says', (row, places) => {
    expect(places.length).toBeGreaterThan(0);
    for (const [file, words] of places) {
      const found = names(file).some((name) =>
        words === undefined ? new RegExp(`\\b${row}\\b`).test(name) : name.includes(words),
      );
      expect([file, words ?? row, found]).toEqual([file, words ?? row, true]);
    }
  });
});
