import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { scanRequest } from '../../src/forwarding/request-head.ts';
import {
  buildRequestHeaders,
  buildTunnelHeaders,
  requestPlan,
} from '../../src/forwarding/request-headers.ts';
import { buildResponseHeaders, responsePlan } from '../../src/forwarding/response-headers.ts';
import { listMembers, trimOws, wholeNumber } from '../../src/forwarding/tokens.ts';
import { formatProblem } from '../../src/kernel/problem.ts';
import { additionsOf, fieldsOf } from '../unit/forwarding/additions.ts';

/** A fixed seed, so that a red run can be run again. */
const RUNS = { numRuns: 10_000, seed: 20_251_121 };
const NO_CHANGES = { set: {}, remove: [] };
const NO_PLAN = requestPlan(NO_CHANGES);
const NO_ANSWER_PLAN = responsePlan(NO_CHANGES, {
  prefix: '/',
  rewrite: null,
  instances: ['http://127.0.0.1:1'],
});

const NAMES = [
  'Host',
  'Connection',
  'Keep-Alive',
  'Proxy-Connection',
  'Proxy-Authorization',
  'Proxy',
  'TE',
  'Trailer',
  'Upgrade',
  'Transfer-Encoding',
  'Content-Length',
  'HTTP2-Settings',
  'Expect',
  'Cookie',
  'Authorization',
  'Content-Type',
  'Via',
  'X-Forwarded-For',
  'X_Forwarded_For',
  'X.Forwarded.For',
  'X-Forwarded-Port',
  'Forwarded',
  'X-Real-IP',
  'X-Request-Id',
  'X-Api-Key',
  'X-Spillway-Client',
  'X_Spillway_Tier',
  'Traceparent',
  'Tracestate',
  'Max-Forwards',
  'X-A',
  'X-B',
  'Accept',
] as const;
const spelled = fc
  .tuple(fc.constantFrom(...NAMES), fc.constantFrom('as it is', 'small', 'capitals'))
  .map(([name, way]) =>
    way === 'small' ? name.toLowerCase() : way === 'capitals' ? name.toUpperCase() : name,
  );
/** Field values as the parser lets them by: no controls but the tab. */
const value = fc.oneof(
  fc.constantFrom(
    'close',
    'keep-alive, X-A',
    'upgrade',
    'x-forwarded-for',
    'websocket',
    'chunked',
    '5',
    '0',
    '100-continue',
  ),
  fc.constantFrom('1.1 gw', 'trailers', 'a, b', 'h2c', 'X-B', ' ', '', 'text/html', 'a.example', 'u@a'),
  fc.string({
    unit: fc
      .integer({ min: 0x20, max: 0xff })
      .map((code) => (code === 0x7f ? '\t' : String.fromCharCode(code))),
    maxLength: 20,
  }),
);
const section = fc.array(fc.tuple(spelled, value), { maxLength: 14 }).map((fields) => fields.flat());
const method = fc.constantFrom('GET', 'HEAD', 'POST', 'DELETE', 'OPTIONS', 'PUT');

const NEVER_UPSTREAM = [
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authorization',
  'proxy',
  'trailer',
  'upgrade',
  'transfer-encoding',
  'http2-settings',
  'expect',
  'x_forwarded_for',
  'x.forwarded.for',
  'x_spillway_tier',
];
const ONE_OF_OURS = [
  'host',
  'x-forwarded-for',
  'forwarded',
  'x-real-ip',
  'via',
  'x-request-id',
  'x-spillway-client',
];

describe("a request's header section", () => {
  it('whatever it holds, goes up with one Host, one of each of ours and nothing hop-by-hop', () => {
    let forwarded = 0;
    fc.assert(
      fc.property(
        method,
        section,
        fc.boolean(),
        fc.constantFrom(0, 1),
        (verb, fields, peerTrusted, minor) => {
          const raw = ['Host', 'a.example', ...fields];
          const facts = scanRequest(raw, verb, 1, minor);
          if (facts.code !== '') return;
          forwarded++;
          const list = buildRequestHeaders(raw, facts, additionsOf({ peerTrusted }), NO_PLAN);
          const sent = fieldsOf(list);
          expect(list.length % 2).toBe(0);
          for (const name of NEVER_UPSTREAM) expect(sent.has(name)).toBe(false);
          expect(sent.get('te')).toEqual(facts.trailers ? ['trailers'] : undefined);
          for (const name of facts.nominated) {
            if (!ONE_OF_OURS.includes(name)) expect(sent.has(name)).toBe(false);
          }
          for (const name of ONE_OF_OURS) expect(sent.get(name)).toHaveLength(1);
          expect(sent.get('host')).toEqual(['a.example']);
          expect((sent.get('content-length') ?? []).length).toBeLessThanOrEqual(1);
          expect(sent.has('content-length') && facts.chunked).toBe(false);
          if (!peerTrusted) expect(sent.get('x-forwarded-for')).toEqual(['192.0.2.7']);
          for (const values of sent.values())
            for (const each of values) expect(each).toMatch(/^[\t\u0020-\u007e\u0080-\u00ff]*$/);
        },
      ),
      RUNS,
    );
    expect(forwarded).toBeGreaterThan(1000);
  });

  it('goes into a tunnel with one Upgrade and one Connection', () => {
    fc.assert(
      fc.property(section, (fields) => {
        const raw = ['Host', 'a.example', 'Connection', 'Upgrade', 'Upgrade', 'websocket', ...fields];
        const facts = scanRequest(raw, 'GET', 1, 1);
        if (!facts.websocket || facts.code !== '') return;
        const sent = fieldsOf(buildTunnelHeaders(raw, facts, additionsOf(), NO_PLAN));
        expect(sent.get('connection')).toEqual(['Upgrade']);
        expect(sent.get('upgrade')).toEqual(['websocket']);
        expect(sent.has('content-length') || sent.has('expect')).toBe(false);
      }),
      RUNS,
    );
  });

  it('is judged the same whatever the spelling of its names', () => {
    fc.assert(
      fc.property(method, section, (verb, fields) => {
        const small = fields.map((text, index) => (index % 2 === 0 ? text.toLowerCase() : text));
        const one = scanRequest(['host', 'a', ...fields], verb, 1, 1);
        const other = scanRequest(['host', 'a', ...small], verb, 1, 1);
        expect([one.code, one.classes]).toEqual([other.code, other.classes]);
      }),
      RUNS,
    );
  });
});

describe("an answer's header section", () => {
  const answerNames = fc.constantFrom(
    'Connection',
    'keep-alive',
    'Transfer-Encoding',
    'content-length',
    'X-A',
    'Location',
    'Trailer',
    'X-Request-Id',
    'Set-Cookie',
    'Proxy-Authenticate',
    'Upgrade',
  );
  it('comes back with at most one length and nothing hop-by-hop', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(answerNames, value), { maxLength: 10 }).map((fields) => fields.flat()),
        fc.integer({ min: 100, max: 999 }),
        method,
        (fields, status, verb) => {
          const head = buildResponseHeaders(fields, status, verb, NO_ANSWER_PLAN);
          const sent = fieldsOf(head.list);
          for (const name of [
            'connection',
            'keep-alive',
            'transfer-encoding',
            'trailer',
            'upgrade',
            'proxy-authenticate',
            'x-request-id',
          ]) {
            expect(sent.has(name)).toBe(false);
          }
          expect((sent.get('content-length') ?? []).length).toBeLessThanOrEqual(status === 204 ? 0 : 1);
          expect(head.code === '').toBe(head.reason === '');
          expect(head.list.join('')).not.toContain('http://127.0.0.1:1/');
        },
      ),
      RUNS,
    );
  });
});

describe('small readers', () => {
  it('agree with the plain way of doing it', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom('a', 'B', ',', ' ', '\t', '0', '9', '-'), maxLength: 20 }),
        (text) => {
          const trimmed = text.replaceAll(/^[ \t]+|[ \t]+$/g, '');
          expect(trimOws(text)).toBe(trimmed);
          const members = text
            .split(',')
            .map((each) => each.replaceAll(/^[ \t]+|[ \t]+$/g, '').toLowerCase());
          expect(listMembers(text, 100)).toEqual(members.filter((each) => each !== ''));
          expect(wholeNumber(text, Number.MAX_SAFE_INTEGER)).toBe(
            /^\d+$/.test(text) && Number(text) <= Number.MAX_SAFE_INTEGER ? Number(text) : -1,
          );
        },
      ),
      RUNS,
    );
  });

  it('write a problem that parses, for any id and any Accept', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string(), fc.boolean(), (id, accept, navigation) => {
        const { contentType, body } = formatProblem('SPW_BAD_REQUEST', id, accept, navigation);
        if (contentType === 'application/problem+json')
          expect(JSON.parse(body)).toMatchObject({ requestId: id });
        else expect(body).toContain('SPW_BAD_REQUEST');
      }),
      RUNS,
    );
  });
});
