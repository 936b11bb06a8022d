import { describe, expect, it } from 'vitest';
import {
  judgeAnswer,
  NOTHING_EXPECTED,
  type ProbeAnswer,
  type ProbeExpectation,
} from '../../../src/readiness/probe-document.ts';

const HEALTH = 'application/health+json';

function judge(answer: Partial<ProbeAnswer>, expected: Partial<ProbeExpectation> = {}): string {
  const { kind, reason, failingChecks, refused } = judgeAnswer(
    { status: 200, contentType: 'text/plain', drainHeader: '', serviceHeader: '', body: '', ...answer },
    { ...NOTHING_EXPECTED, ...expected },
  );
  expect(refused).toBe(false);
  return [kind, reason, failingChecks.join('+')].join('|');
}

function judgeJson(
  document: unknown,
  expected: Partial<ProbeExpectation> = {},
  contentType = HEALTH,
): string {
  return judge({ contentType, body: JSON.stringify(document) }, expected);
}

describe('a probe answer without a document', () => {
  it('is judged by its status', () => {
    expect(judge({ status: 200, body: 'fine' })).toBe('pass||');
    expect(judge({ status: 204 })).toBe('pass||');
    for (const status of [301, 302, 400, 401, 404])
      expect(judge({ status })).toBe(`absent|status ${status}|`);
    for (const status of [500, 502, 503, 599]) expect(judge({ status })).toBe(`explicit|status ${status}|`);
    expect(judge({ status: 429 })).toBe('void|status 429|');
  });

  it('is absent when longer than 64 KiB, unless its status already says no', () => {
    expect(judge({ body: undefined })).toBe('absent|answer longer than 64 KiB|');
    expect(judge({ status: 503, body: undefined })).toBe('explicit|status 503|');
  });

  it('a drain notice keeps sessions, with 200 as with 503; a 500 is a no all the same', () => {
    for (const status of [200, 404, 503]) {
      expect(judge({ status, drainHeader: '1' })).toBe('drain|the instance says that it drains|');
    }
    expect(judge({ status: 500, drainHeader: '1' })).toBe('explicit|status 500|');
    expect(judge({ drainHeader: '0' })).toBe('pass||');
  });
});

describe('an application/health+json document', () => {
  it.each([
    ['pass', 'pass||'],
    ['ok', 'pass||'],
    ['UP', 'pass||'],
    ['warn', 'warn|the document says warn|'],
    ['fail', 'explicit|the document says fail|'],
    ['error', 'explicit|the document says fail|'],
    ['down', 'explicit|the document says fail|'],
    ['weird', 'pass||'],
  ])('with the word %s is %s', (status, result) => {
    expect(judgeJson({ status })).toBe(result);
  });

  it('a status of 500 and more beats the document, which still names its checks', () => {
    const body = JSON.stringify({ status: 'pass', checks: { 'db:time': [{ status: 'fail' }] } });
    expect(judge({ status: 503, contentType: HEALTH, body })).toBe(
      'explicit|status 503, check db failing|db',
    );
  });

  it('a required check that fails is an explicit no, whatever the word', () => {
    const document = {
      status: 'pass',
      checks: { 'postgres:latency': [{ status: 'pass' }, { status: 'fail' }] },
    };
    expect(judgeJson(document, { requiredChecks: ['postgres'] })).toBe(
      'explicit|check postgres failing|postgres',
    );
    expect(judgeJson(document, { requiredChecks: ['post'] })).toBe('warn|check postgres failing|postgres');
  });

  it('only optional checks failing is a warning, even if the word is fail', () => {
    const document = { status: 'fail', checks: { 'cache:hits': [{ status: 'fail' }] } };
    expect(judgeJson(document, { optionalChecks: ['cache'] })).toBe('warn|check cache failing|cache');
    expect(judgeJson(document)).toBe('explicit|the document says fail, check cache failing|cache');
    const both = { status: 'fail', checks: { cache: [{ status: 'fail' }], disk: { status: 'fail' } } };
    expect(judgeJson(both, { optionalChecks: ['cache'] })).toBe(
      'explicit|the document says fail, checks cache, disk failing|cache+disk',
    );
  });

  it('output or a note that is exactly draining is a notice', () => {
    expect(judgeJson({ status: 'fail', output: 'draining' })).toMatch(/^drain\|/);
    expect(judgeJson({ status: 'pass', notes: ['x', 'draining'] })).toMatch(/^drain\|/);
    expect(judgeJson({ status: 'pass', output: 'not draining' })).toBe('pass||');
  });

  it('that is malformed, or no object, is absence', () => {
    for (const body of ['{"status":', '[]', '3', 'null', '']) {
      expect(judge({ contentType: `${HEALTH}; charset=utf-8`, body })).toBe('absent|malformed document|');
    }
  });

  it('of another service is an explicit no', () => {
    const expected = { identity: 'shop' };
    expect(judgeJson({ status: 'pass', serviceId: 'shop' }, expected)).toBe('pass||');
    expect(judge({ serviceHeader: 'shop' }, expected)).toBe('pass||');
    const foreign = 'explicit|another service answers at this address|';
    expect(judgeJson({ status: 'pass', serviceId: 'stock' }, expected)).toBe(foreign);
    expect(judge({}, expected)).toBe(foreign);
  });
});

describe('a Spring Boot document', () => {
  const SPRING = 'application/vnd.spring-boot.actuator.v3+json';

  it('has words and components of its own', () => {
    expect(judgeJson({ status: 'UP', components: { db: { status: 'UP' } } }, {}, SPRING)).toBe('pass||');
    expect(judgeJson({ status: 'OUT_OF_SERVICE' }, {}, SPRING)).toBe('explicit|the document says fail|');
    expect(judgeJson({ status: 'UNKNOWN' }, {}, SPRING)).toBe('pass||');
    const nested = {
      status: 'DOWN',
      components: {
        stores: { status: 'DOWN', components: { redis: { status: 'DOWN' }, disk: { status: 'UP' } } },
      },
    };
    expect(judgeJson(nested, { optionalChecks: ['stores', 'redis'] }, SPRING)).toBe(
      'warn|checks stores, redis failing|stores+redis',
    );
  });
});

describe('a document that nests without end', () => {
  it('is read four levels deep', () => {
    let components: unknown = {};
    for (let level = 9; level >= 1; level--) components = { [`c${level}`]: { status: 'DOWN', components } };
    expect(judgeJson({ status: 'UP', components }, {}, 'application/json')).toBe(
      'warn|checks c1, c2, c3, c4 failing|c1+c2+c3+c4',
    );
  });
});

describe('other JSON', () => {
  it('is read where it is a document and left to the status where it is none', () => {
    expect(judgeJson({ status: 'fail' }, {}, 'application/json')).toBe('explicit|the document says fail|');
    expect(judgeJson({ status: 200 }, {}, 'application/json')).toBe('pass||');
    expect(judge({ contentType: 'application/json', body: 'OK' })).toBe('pass||');
    expect(judge({ contentType: 'text/html', body: '{"status":"fail"}' })).toBe('pass||');
  });

  it('names are cut and counted', () => {
    const checks = Object.fromEntries(
      Array.from({ length: 100 }, (_, index) => [`${'x'.repeat(100)}${index}`, { status: 'fail' }]),
    );
    const { failingChecks } = judgeAnswer(
      {
        status: 200,
        contentType: HEALTH,
        drainHeader: '',
        serviceHeader: '',
        body: JSON.stringify({ status: 'pass', checks: { ...checks, a: { status: 'fail' } } }),
      },
      NOTHING_EXPECTED,
    );
    expect(failingChecks).toEqual(['x'.repeat(64), 'a']);
  });
});
