/**
 * The readers of what strangers send, each with one property for all of its input: it never throws, and what it makes of it
 * is read the same again. The suite runs ten thousand of each, `node test/security/fuzz.ts parsers 10000000` as many as
 * one has patience for; a find becomes a case of the corpus.
 */
import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';

import * as fc from 'fast-check';

import { loadConfigurationText } from '../../config/load.ts';
import { SessionCookies, stripCookie } from '../../src/affinity/session-cookie.ts';
import { clientAddress, parseNetworks } from '../../src/clients/address.ts';
import { formatAddress, parseAddress } from '../../src/clients/ip.ts';
import { tighterLimitMs } from '../../src/forwarding/deadline.ts';
import { checkHost } from '../../src/forwarding/host.ts';
import { scanRequest } from '../../src/forwarding/request-head.ts';
import { ResponseReader } from '../../src/forwarding/response-reader.ts';
import { normalizeTarget } from '../../src/forwarding/target.ts';
import { listMembers } from '../../src/forwarding/tokens.ts';
import { isTraceparent } from '../../src/forwarding/trace-context.ts';
import { isLoop } from '../../src/forwarding/via.ts';
import { parseDurationMs, parseRatePerSecond, parseRatio, parseSizeBytes } from '../../src/kernel/units.ts';

/** A string of words that mean something to the reader, and of any octets. */
function soup(words: readonly string[], maxLength = 12): fc.Arbitrary<string> {
  const octets = fc.string({
    unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)),
    maxLength: 6,
  });
  return fc.array(fc.oneof(fc.constantFrom(...words), octets), { maxLength }).map((parts) => parts.join(''));
}

const PATH_WORDS = ['/', '//', '/.', '/..', '..;', '%2e', '%2E', '%2f', '%5c', '%25', '%00', '\\', '?', '#'];
const MORE_PATH = [
  'a',
  '~',
  '%41',
  '%c0%ae',
  '%e2%82%ac',
  '%ed%a0%80',
  '%zz',
  '%4',
  ';',
  '%3b',
  ' ',
  '*',
  ':',
  '@',
];
const target = fc.tuple(
  fc.constantFrom('GET', 'OPTIONS', 'CONNECT'),
  soup([...PATH_WORDS, ...MORE_PATH, 'http://', 'HTTPS://a', 'a.example', '[::1]']),
  fc.boolean(),
);

const address = soup(
  ['1.2.3.4', '10.0.0.1', '::1', '2001:db8::', '[', ']', ':', '.', ',', ' ', '"', '%', 'ffff', '0'],
  10,
);
const forwarded = soup(
  ['for=', 'For="', '"', '\\', ',', ';', ' ', '[::1]', '1.2.3.4', '10.0.0.1', ':80', '_x', 'unknown', 'by=a'],
  14,
);
const TRUSTED = parseNetworks(['10.0.0.0/8', 'fd00::/8', '127.0.0.1']);

const JAR = new SessionCookies({
  cookieName: 'spillway',
  keys: [{ id: 'k1', secret: 'a secret of the test' }],
  idleMs: 60_000,
  absoluteMs: 600_000,
  service: 'shop',
});
const NOW = Date.UTC(2026, 4, 4);
const COOKIE = JAR.issue(JAR.tagOf('a:1'), '', NOW, undefined, true).cookie.split(';')[0] ?? '';

const NUMBER_WORDS = [
  '0',
  '1',
  '9',
  '99999999999999999999',
  '.',
  '-',
  '+',
  'e',
  '0x',
  ' ',
  'ms',
  's',
  'm',
  'h',
  'd',
];
const UNIT_WORDS = ['KiB', 'MiB', 'GiB', 'B', '/', '%', 'NaN', 'Infinity', '_', '\u0661'];

/** What YAML and the configuration are made of. */
export const YAML_WORDS = [
  'listeners',
  'services',
  'routes',
  'tiers',
  'port',
  'shop',
  'instances',
  'http://h:1',
  '250ms',
  '10/s',
  '# ',
  '%YAML 1.1\n',
  '__proto__',
  'constructor',
  ': ',
  ':\n  ',
  '\n',
  '\n  - ',
  '{ ',
  ' }',
  '[',
  ']',
  ', ',
  '&a ',
  '*a',
  '<<: ',
  '!!str ',
  '!x ',
  '? ',
  '| \n',
  '"',
  "'",
  '---\n',
  '\t',
  '${A}',
  '${A:-',
];

const ANSWER_WORDS = [
  'HTTP/1.1 200 OK\r\n',
  'HTTP/1.0 204 No\r\n',
  'HTTP/1.1 103 Early Hints\r\n',
  'content-length: 2\r\n',
  'transfer-encoding: chunked\r\n',
  'connection: close\r\n',
  'x: y\r\n',
  '\r\n',
  '\n',
  '\r',
  'ok',
  '2\r\nok\r\n',
  '0\r\n\r\n',
  '0\r\nx: y\r\n\r\n',
  ';a=b',
  ' ',
  ':',
];

/** Everything that a reader tells of one connection, as one text. */
function readingOf(text: string, cuts: readonly number[], method: string): string {
  const told: string[] = [];
  let body = '';
  const flush = (): void => {
    if (body !== '') told.push(`body ${body}`);
    body = '';
  };
  const reader: ResponseReader = new ResponseReader({
    interim: (status, raw) => void told.push(`interim ${status} ${raw.join('|')}`),
    head: (status, raw) => void told.push(`head ${status} ${raw.join('|')}`),
    text: (all) => {
      body += all;
    },
    bytes: (chunk) => {
      body += chunk.toString('latin1');
    },
    end: (trailers) => {
      flush();
      told.push(`end ${trailers.join('|')} ${reader.persistent}`);
    },
  });
  reader.begin(method);
  let from = 0;
  let fault = '';
  for (const cut of [...cuts, text.length]) {
    const bytes = Buffer.from(text.slice(from, cut), 'latin1');
    from = cut;
    fault = bytes.length === 0 ? '' : reader.read(bytes, bytes.length);
    if (fault !== '' || reader.surplus) break;
  }
  flush();
  const closed = fault === '' && reader.close();
  flush();
  // Which fault it is may depend on how much of it is there; that it is one may not.
  return [...told, fault === '' ? `surplus ${reader.surplus} ${closed}` : 'fault'].join('\n');
}

/** By name, each over all inputs of its reader. */
export const PARSERS: Readonly<Record<string, fc.IRawProperty<unknown>>> = {
  target: fc.property(target, ([method, raw, pass]) => {
    const once = normalizeTarget(method, raw, pass);
    if (once.code !== '' || method === 'CONNECT') return;
    assert.match(once.path, /^(\*|\/[!-~]*)$/);
    const twice = normalizeTarget(method, once.path + once.query, pass);
    assert.deepEqual([twice.code, twice.path, twice.query], ['', once.path, once.query]);
  }),
  host: fc.property(
    soup(['a', 'A.b', '.', ':', '80', '65536', '[', ']', '::', '1', '0x', '@', ',', '/', ' ']),
    (raw) => {
      const { ok, host, port } = checkHost(raw);
      if (ok) assert.deepEqual(checkHost(port < 0 ? host : `${host}:${port}`), { ok, host, port });
    },
  ),
  'x-forwarded-for': fc.property(address, (value) => {
    for (const peer of ['10.0.0.1', '192.0.2.1', '::ffff:10.0.0.1', '']) {
      const found = clientAddress(peer, 'x-forwarded-for', value, TRUSTED);
      const parsed = parseAddress(found);
      assert.equal(parsed === undefined ? 'unknown' : formatAddress(parsed), found);
      if (peer === '192.0.2.1') assert.equal(found, peer);
    }
  }),
  forwarded: fc.property(forwarded, (value) => {
    for (const peer of ['10.0.0.1', '192.0.2.1']) {
      const found = clientAddress(peer, 'forwarded', value, TRUSTED);
      assert.notEqual(parseAddress(found), undefined);
      if (peer === '192.0.2.1') assert.equal(found, peer);
    }
  }),
  connection: fc.property(
    soup(['close', 'keep-alive', 'X-A', 'x-forwarded-for', 'Host', ',', ' ', '\t', 'upgrade', 'te'], 20),
    (value) => {
      assert.ok(listMembers(value, 33).length <= 33);
      const facts = scanRequest(['Host', 'a', 'X-A', '1', 'Connection', value], 'GET', 1, 1);
      assert.ok(['', 'SPW_BAD_REQUEST'].includes(facts.code));
      // Host is never what a nomination takes away.
      assert.equal(facts.host, 'a');
    },
  ),
  fields: fc.property(
    fc.array(
      fc.tuple(
        soup(['via', 'expect', 'content-length', 'te', 'X_', '-'], 3),
        soup(['1', '100-continue', ',', 'gw', ' '], 5),
      ),
      {
        maxLength: 6,
      },
    ),
    (pairs) => {
      scanRequest(['Host', 'a', ...pairs.flat()], 'POST', 1, 1);
      for (const [, value] of pairs) {
        isLoop(value, 'gw');
        isTraceparent(value);
        assert.ok(tighterLimitMs(1000, value) <= 1000);
      }
    },
  ),
  cookie: fc.property(
    soup(['spillway=', COOKIE, '; ', ';', '=', ' ', '"', ',', 'a=b', COOKIE.slice(0, 30), COOKIE.slice(-30)]),
    (header) => {
      const { pin } = JAR.read(header, NOW);
      // What verifies is what we signed, whole.
      if (pin !== undefined) assert.ok(header.includes(COOKIE));
      const stripped = stripCookie(header, 'spillway');
      assert.equal(stripCookie(stripped, 'spillway'), stripped);
      assert.equal(JAR.read(stripped, NOW).result, 'none');
    },
  ),
  units: fc.property(soup([...NUMBER_WORDS, ...UNIT_WORDS], 5), (text) => {
    for (const parse of [parseDurationMs, parseSizeBytes, parseRatePerSecond, parseRatio]) {
      const value = parse(text);
      if (value !== undefined) assert.ok(Number.isFinite(value) && value >= 0, `${text}: ${value}`);
    }
  }),
  configuration: fc.property(soup(YAML_WORDS, 40), (text) => {
    const result = loadConfigurationText(text, 'any.yaml', { A: 'x' });
    if (!result.ok) assert.ok(result.faults.length > 0);
    assert.equal(({} as Record<string, unknown>)['port'], undefined);
  }),
  answer: fc.property(
    soup(ANSWER_WORDS, 10),
    fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 5 }),
    fc.constantFrom('GET', 'HEAD'),
    (tail, places, method) => {
      const text = `HTTP/1.1 200 OK\r\n${tail}`;
      const cuts = places.map((place) => Math.floor(place * text.length)).sort((a, b) => a - b);
      const whole = readingOf(text, [], method);
      assert.equal(readingOf(text, cuts, method), whole);
      assert.equal(
        readingOf(
          text,
          Array.from(text, (_, index) => index),
          method,
        ),
        whole,
      );
    },
  ),
};
