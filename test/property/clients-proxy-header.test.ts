import { Buffer } from 'node:buffer';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { formatAddress, parseAddress } from '../../src/clients/ip.ts';
import { LONGEST_HEADER, readProxyHeader, type ProxyHeader } from '../../src/clients/proxy-header.ts';

const RUNS = 10_000;
const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');

const port = fc.nat({ max: 65_535 });

const v1 = fc
  .record({
    pair: fc.oneof(
      fc.tuple(fc.constant('TCP4'), fc.ipV4(), fc.ipV4()),
      fc.tuple(fc.constant('TCP6'), fc.ipV6(), fc.ipV6()),
    ),
    from: port,
    to: port,
  })
  .map(({ pair: [family, source, target], from, to }) => ({
    bytes: Buffer.from(`PROXY ${family} ${source} ${target} ${from} ${to}\r\n`),
    source,
    port: from,
  }));

const v2 = fc
  .record({
    address: fc.oneof(
      fc.uint8Array({ minLength: 12, maxLength: 12 }),
      fc.uint8Array({ minLength: 36, maxLength: 36 }),
    ),
    fields: fc.array(fc.tuple(fc.constantFrom(1, 2, 4, 5, 0xe0), fc.uint8Array({ maxLength: 40 })), {
      maxLength: 5,
    }),
  })
  .map(({ address, fields }) => {
    const tail = fields.map(([type, value]) => Buffer.concat([Buffer.from([type, 0, value.length]), value]));
    const rest = Buffer.concat([address, ...tail]);
    const head = Buffer.from([
      0x21,
      address.length === 12 ? 0x11 : 0x21,
      rest.length >> 8,
      rest.length & 255,
    ]);
    return Buffer.concat([SIGNATURE, head, rest]);
  });

const header = fc.oneof(
  v1.map(({ bytes }) => bytes),
  v2,
);

/** Good headers, broken ones and noise, with something behind. */
const anything = fc.oneof(
  fc.uint8Array({ maxLength: 700 }).map((bytes) => Buffer.from(bytes)),
  fc
    .tuple(header, fc.nat(), fc.nat({ max: 255 }), fc.uint8Array({ maxLength: 30 }))
    .map(([bytes, at, octet, behind]) => {
      const broken = Buffer.concat([bytes, behind]);
      broken[at % bytes.length] = octet;
      return broken;
    }),
  fc
    .tuple(fc.constantFrom('PROXY ', 'PROXY TCP4 ', 'PROXY UNKNOWN '), fc.string({ maxLength: 120 }))
    .map(([start, rest]) => Buffer.from(`${start}${rest}\r\n`, 'latin1')),
);

/** The verdict when the bytes come in these slices; nothing is looked at after it. */
function fed(bytes: Buffer, ends: readonly number[]): ProxyHeader {
  for (const end of [...new Set(ends)].toSorted((one, other) => one - other)) {
    const verdict = readProxyHeader(bytes.subarray(0, end));
    if (verdict.kind !== 'more') return verdict;
  }
  return readProxyHeader(bytes);
}

/** Bad is bad: which fault shows first depends on how much is there. */
function outcome(verdict: ProxyHeader): unknown {
  return verdict.kind === 'bad' ? 'bad' : verdict;
}

test('it never throws, and a header never reaches behind what came nor past its longest', () => {
  fc.assert(
    fc.property(anything, (bytes) => {
      const verdict = readProxyHeader(bytes);
      if (verdict.kind !== 'header') return;
      expect(verdict.length).toBeLessThanOrEqual(Math.min(bytes.length, LONGEST_HEADER));
      if (verdict.address === '') return;
      const parsed = parseAddress(verdict.address);
      expect(parsed === undefined ? '' : formatAddress(parsed)).toBe(verdict.address);
      expect(verdict.port).toBeLessThanOrEqual(65_535);
    }),
    { numRuns: RUNS },
  );
});

test('one octet at a time, in random slices and at once the verdict is the same', () => {
  const slices = fc.array(fc.nat({ max: 600 }), { maxLength: 20 });
  fc.assert(
    fc.property(anything, slices, (bytes, ends) => {
      const whole = outcome(readProxyHeader(bytes));
      const single = Array.from({ length: bytes.length }, (_, index) => index + 1);
      expect(outcome(fed(bytes, single))).toEqual(whole);
      expect(
        outcome(
          fed(
            bytes,
            ends.filter((end) => end <= bytes.length),
          ),
        ),
      ).toEqual(whole);
    }),
    { numRuns: RUNS },
  );
});

test('after 536 octets nobody waits any more', () => {
  fc.assert(
    fc.property(header, fc.uint8Array({ minLength: 600, maxLength: 600 }), (start, noise) => {
      expect(readProxyHeader(Buffer.concat([start.subarray(0, 14), noise])).kind).not.toBe('more');
    }),
    { numRuns: RUNS },
  );
});

test('every good line names its source', () => {
  fc.assert(
    fc.property(v1, ({ bytes, source, port: from }) => {
      const parsed = parseAddress(source);
      const address = parsed === undefined ? 'unreadable' : formatAddress(parsed);
      expect(readProxyHeader(bytes)).toEqual({ kind: 'header', length: bytes.length, address, port: from });
    }),
    { numRuns: RUNS },
  );
});

test('every good block is taken whole, and not a byte earlier', () => {
  fc.assert(
    fc.property(v2, (bytes) => {
      expect(readProxyHeader(bytes)).toMatchObject({ kind: 'header', length: bytes.length });
      expect(readProxyHeader(bytes.subarray(0, -1)).kind).toBe('more');
    }),
    { numRuns: RUNS },
  );
});
