import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { LineWriter, MAX_LINE_BYTES, MAX_STRING_BYTES, type AccessRecord } from '../../src/io/access-line.ts';

function formatLine(given: AccessRecord): string {
  return new LineWriter().write(given).end();
}

/** Whatever a caller can send: any UTF-16 with lone halves, controls, quotes, very long. */
const units = fc
  .array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 60 })
  .map((codes) => String.fromCharCode(...codes));
const nasty = fc.constantFrom(
  '"',
  '\\',
  '\n',
  '\u2028',
  '\u2029',
  '\u0000',
  '\u007f',
  '\u0085',
  '\ud800',
  '\udc00',
  '😀',
  'é',
  '\u202e',
  '',
);
const text = fc.oneof(
  fc.string(),
  units,
  fc.tuple(nasty, fc.integer({ min: 0, max: 3000 })).map(([piece, times]) => piece.repeat(times)),
);
const number = fc.oneof(
  fc.double(),
  fc.integer(),
  fc.constantFrom(0, -0, NaN, Infinity, -Infinity, Number.MAX_SAFE_INTEGER),
);

const record: fc.Arbitrary<AccessRecord> = fc.record({
  wallMs: number,
  requestId: text,
  client: text,
  tier: text,
  route: text,
  service: text,
  instance: text,
  method: text,
  path: text,
  status: number,
  code: text,
  durationMs: number,
  queueMs: number,
  upstreamMs: number,
  bytesIn: number,
  bytesOut: number,
  attempts: number,
  priority: text,
});

const STRINGS = [
  'requestId',
  'client',
  'tier',
  'route',
  'service',
  'instance',
  'method',
  'path',
  'code',
  'priority',
] as const;

/** What must never stand raw in a line: controls, line separators, lone halves. */
function offender(line: string): string {
  for (const character of line) {
    const code = character.codePointAt(0) ?? 0;
    const control = code < 0x20 || (code >= 0x7f && code <= 0x9f) || code === 0x2028 || code === 0x2029;
    if (control || (code >= 0xd800 && code <= 0xdfff)) return code.toString(16);
  }
  return '';
}

/** Characters a reader must find again: lone halves cannot be written in UTF-8. */
function readable(value: string): string {
  return value.toWellFormed();
}

test('whatever callers send, a line is one valid JSON object of at most 4 KiB', () => {
  fc.assert(
    fc.property(record, (given) => {
      const line = formatLine(given);
      expect(line.endsWith('\n')).toBe(true);
      expect(Buffer.byteLength(line)).toBeLessThanOrEqual(MAX_LINE_BYTES);
      expect(offender(line.slice(0, -1))).toBe('');
      const parsed = JSON.parse(line) as Record<string, unknown>;
      for (const key of STRINGS) {
        const found = parsed[key] as string;
        const wanted = readable(key === 'path' ? (given.path.split('?')[0] ?? '') : given[key]);
        expect(Buffer.byteLength(found)).toBeLessThanOrEqual(MAX_STRING_BYTES);
        if (found !== wanted) {
          // Cut: a beginning of what was sent, and an ellipsis unless the line had no byte left at all.
          expect(found === '' || found.endsWith('…')).toBe(true);
          expect(wanted.startsWith(found.slice(0, -1))).toBe(true);
        }
      }
    }),
    { numRuns: 2000, seed: 7 },
  );
});

test('a string that fits is never cut', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 150, unit: 'binary' }), (path) => {
      const line = formatLine({ ...BASE, path: `/${path.replaceAll('?', '')}` });
      expect((JSON.parse(line) as { path: string }).path).toBe(`/${path.replaceAll('?', '')}`);
    }),
    { numRuns: 500, seed: 8 },
  );
});

test('a writer that has written before writes what a fresh one writes', () => {
  // Few values, so that middles are found again; long and nasty ones among them, which must not be kept.
  const few = fc.constantFrom('', 'a', 'shop', '"', 'é', 'x'.repeat(500), 'y'.repeat(1100));
  const similar = fc.record({ ...BASE_OF, client: few, instance: few, code: few, requestId: text });
  fc.assert(
    fc.property(fc.array(similar, { minLength: 2, maxLength: 30 }), (records) => {
      const writer = new LineWriter();
      for (const given of records) {
        const line = writer.write(given);
        const written = line.end();
        expect(written).toBe(formatLine(given));
        expect(line.wide || Buffer.byteLength(written) === written.length).toBe(true);
      }
    }),
    { numRuns: 500, seed: 9 },
  );
});

const BASE: AccessRecord = {
  wallMs: 1_700_000_000_000,
  requestId: 'abc-1',
  client: 'acme',
  tier: 'gold',
  route: '/',
  service: 'shop',
  instance: '127.0.0.1:9001',
  method: 'GET',
  path: '/',
  status: 200,
  code: '',
  durationMs: 12.3456,
  queueMs: 0,
  upstreamMs: 11,
  bytesIn: 0,
  bytesOut: 512,
  attempts: 1,
  priority: 'default',
};

const BASE_OF = Object.fromEntries(
  Object.entries(BASE).map(([key, value]) => [key, fc.constant(value)]),
) as unknown as { [Key in keyof AccessRecord]: fc.Arbitrary<AccessRecord[Key]> };
