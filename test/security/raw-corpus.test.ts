import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { seededRandom } from '../../src/kernel/random.ts';
import { EXPECTATIONS, type Expectation } from './expectations.ts';
import { BYTE_BY_BYTE, WHOLE, judge, randomCuts, type Cuts, type Placement, type RawCase } from './judge.ts';
import { JUDGED, type JudgedGateway } from './judged-gateway.ts';
import { CLASS_CASES, CLASS_EXPECTATIONS } from './class-cases.ts';
import { OWN_CASES, OWN_EXPECTATIONS } from './own-cases.ts';
import { RawOrigin } from './raw-origin.ts';
import { readRequests, type StrictRequest } from './strict-parser.ts';

const CORPUS = JSON.parse(
  readFileSync(new URL('corpus/raw-requests.json', import.meta.url), 'utf8'),
) as readonly RawCase[];

const CASES = [...CORPUS, ...OWN_CASES, ...CLASS_CASES];

function expectationOf(rawCase: RawCase): Expectation {
  const expectation =
    EXPECTATIONS[rawCase.id] ?? OWN_EXPECTATIONS[rawCase.id] ?? CLASS_EXPECTATIONS[rawCase.id];
  if (expectation === undefined) throw new Error(`no expectation for ${rawCase.id}`);
  return expectation;
}

describe('the corpus and what we expect of it', () => {
  it('name the same cases', () => {
    expect(CORPUS.map(({ id }) => id).sort()).toEqual(Object.keys(EXPECTATIONS).sort());
  });

  it.each(CORPUS)('$id: statuses and close agree with "$wanted"', (rawCase) => {
    const { statuses, closes } = expectationOf(rawCase);
    const words = rawCase.wanted.split(/[,(]/)[0] ?? '';
    const named = [...words.matchAll(/\b[2345]\d\d\b/g)].map(([text]) => Number(text));
    if (named.length > 0) expect(statuses).toEqual(expect.arrayContaining(named));
    else
      expect(statuses).toEqual(
        [/400/.test(rawCase.wanted) ? expect.any(Number) : 200].slice(0, statuses.length),
      );
    if (/^[\d/]+ C\b/.test(rawCase.wanted)) expect(closes).toBe(true);
  });
});

describe('the second parser tolerates nothing', () => {
  const head = 'POST /x HTTP/1.1\r\nHost: a\r\n';
  it.each([
    `${head}Content-Length: 1\r\nContent-Length: 1\r\n\r\nZ`,
    `${head}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    `${head}Transfer-Encoding: chunked\r\n\r\n1;a\r\nZ\r\n0\r\n\r\n`,
    `${head}Transfer-Encoding: chunked\r\n\r\n1\r\nZZ\r\n0\r\n\r\n`,
    `${head}Transfer-Encoding: chunked\r\n\r\n0\r\nX: 1\r\n\r\n`,
    `${head}Content-Length: 01\r\n\r\nZ`,
    `${head}Host: b\r\n\r\n`,
    `${head}X : 1\r\n\r\n`,
    'POST /x HTTP/1.0\r\nHost: a\r\n\r\n',
    'GET /x HTTP/1.1\nHost: a\r\n\r\n',
  ])('%j', (text) => {
    expect(readRequests(text).fault).not.toBe('');
  });

  it('and reads what is right', () => {
    const text = `${head}Content-Length: 1\r\n\r\nZ${head}Transfer-Encoding: chunked\r\n\r\n1\r\nZ\r\n0\r\n\r\nGET /`;
    const { requests, rest, fault } = readRequests(text);
    expect([requests.map(({ body }) => body), rest, fault]).toEqual([['Z', 'Z'], 'GET /', '']);
  });
});

/** What went upstream of each case, by who was before the judge. */
const wentUp = new Map<string, Map<string, readonly StrictRequest[]>>();

const OWN_EACH_TIME: ReadonlySet<string> = new Set([
  'x-request-id',
  'traceparent',
  'x-request-deadline-ms',
  'via',
  'x-spillway-client',
]);

/** Without what is another one each time, or each process's own. */
function lasting({ fields, ...request }: StrictRequest): unknown {
  return {
    ...request,
    fields: fields
      .filter(([name]) => !OWN_EACH_TIME.has(name))
      // The Host of an instance, for who named none: these are two.
      .map(([name, value]) => [name, value.replace(/127\.0\.0\.1:\d+/, 'INSTANCE')]),
  };
}

describe.each(JUDGED)('raw requests before $name', ({ name: judgedName, start, slicings }) => {
  let origin: RawOrigin;
  let target: JudgedGateway;

  beforeAll(async () => {
    origin = await RawOrigin.start();
    target = await start(origin.port);
  });

  afterAll(async () => {
    await target.close();
    await origin[Symbol.asyncDispose]();
  });

  async function faultsOf(rawCase: RawCase, placement: Placement, cuts: Cuts): Promise<string[]> {
    const expectation = expectationOf(rawCase);
    return judge({ port: target.port, origin, rawCase, expectation, placement, cuts });
  }

  describe.each(CASES)('$id $name', (rawCase) => {
    it('is answered as wanted', async () => {
      expect(await faultsOf(rawCase, 'alone', WHOLE)).toEqual([]);
      const ofName = wentUp.get(judgedName) ?? new Map<string, readonly StrictRequest[]>();
      wentUp.set(judgedName, ofName.set(rawCase.id, origin.seen().requests));
    });

    it('is answered the same one byte a write', async () => {
      expect(await faultsOf(rawCase, 'alone', BYTE_BY_BYTE)).toEqual([]);
    });

    it('is answered the same however it is sliced', async () => {
      const random = seededRandom(CASES.indexOf(rawCase) + 1);
      for (let slicing = 0; slicing < slicings; slicing++) {
        expect(await faultsOf(rawCase, 'alone', randomCuts(random))).toEqual([]);
      }
    });

    it('is answered the same behind a good request', async () => {
      expect(await faultsOf(rawCase, 'after a good one', WHOLE)).toEqual([]);
      expect(await faultsOf(rawCase, 'after a good one', BYTE_BY_BYTE)).toEqual([]);
    });

    if (expectationOf(rawCase).endless !== true) {
      it('is not mixed with a good request behind it', async () => {
        expect(await faultsOf(rawCase, 'before a good one', WHOLE)).toEqual([]);
        expect(await faultsOf(rawCase, 'before a good one', BYTE_BY_BYTE)).toEqual([]);
      });
    }
  });
});

test('both mounts send the same bytes', () => {
  const [plain, rewriting] = ['the real process', 'a rewriting route'].map((name) => wentUp.get(name));
  expect(plain?.size).toBe(CASES.length);
  let served = 0;
  for (const { id } of CASES) {
    const sent = plain?.get(id) ?? [];
    served += sent.length;
    expect([id, rewriting?.get(id)?.map(lasting)]).toEqual([id, sent.map(lasting)]);
  }
  expect(served).toBeGreaterThan(80);
});
