import { Buffer } from 'node:buffer';
import { EITHER, HOST, OPEN, field, get, post, type Case } from './case-words.ts';
import { andCloses, refused, served, target, without, type Expectation } from './expectations.ts';
import { FRAMING, HOPS } from './framing-cases.ts';
import type { RawCase } from './judge.ts';
import { fieldOf } from './strict-parser.ts';

/**
 * The classes of the corpus, filled: RL request line, HO Host, HS header syntax, FR framing, HB hop-by-hop and spoofing
 * (forwarding.md §7). Each case is one way to be read differently by two readers that we know of.
 */

const REQUEST_LINES: readonly Case[] = [
  ['a method in mixed case', `Get / HTTP/1.1\r\n${HOST}\r\n`, refused(400)],
  ['a method nobody knows', `FOO / HTTP/1.1\r\n${HOST}\r\n`, refused(400)],
  ['a method with a colon', `GET: / HTTP/1.1\r\n${HOST}\r\n`, refused(400)],
  ['a method with a NUL', `GE\0T / HTTP/1.1\r\n${HOST}\r\n`, refused(400)],
  ['no method', ` / HTTP/1.1\r\n${HOST}\r\n`, refused(400)],
  ['HTTP/0.9 without a version', 'GET /\r\n\r\n', refused([400, 505])],
  ['HTTP/1.10', `GET / HTTP/1.10\r\n${HOST}\r\n`, refused([400, 505])],
  ['HTTP/01.1', `GET / HTTP/01.1\r\n${HOST}\r\n`, refused([400, 505])],
  ['HTTP/1,1', `GET / HTTP/1,1\r\n${HOST}\r\n`, refused(400)],
  ['HTTP/+1.1', `GET / HTTP/+1.1\r\n${HOST}\r\n`, refused(400)],
  ['HTTP/3.0', `GET / HTTP/3.0\r\n${HOST}\r\n`, refused([400, 505])],
  ['HTTP/9.9', `GET / HTTP/9.9\r\n${HOST}\r\n`, refused([400, 505])],
  ['words behind the version', `GET / HTTP/1.1 x\r\n${HOST}\r\n`, refused(400)],
  ['a space behind the version', `GET / HTTP/1.1 \r\n${HOST}\r\n`, refused(400)],
  ['a space in the target', `GET /a b HTTP/1.1\r\n${HOST}\r\n`, refused(400)],
  ['a bare CR in the target', `GET /a\rb HTTP/1.1\r\n${HOST}\r\n`, refused(400)],
  ['a vertical tab between', `GET\u000b/ HTTP/1.1\r\n${HOST}\r\n`, refused(400)],
  ['a space in front', ` GET / HTTP/1.1\r\n${HOST}\r\n`, refused(400)],
  // An empty line in front may be skipped (RFC 9112 §2.2), and the parser skips half of one too; it never goes up.
  ['a bare CR in front', `\rGET / HTTP/1.1\r\n${HOST}\r\n`, EITHER],
  ['a lone LF behind the line', `GET / HTTP/1.1\n${HOST}\r\n`, refused(400)],
  ['DEL in the target', `GET /a\u007f HTTP/1.1\r\n${HOST}\r\n`, refused(400)],
  ['a fragment of an absolute URI', `GET http://a.example/x#y HTTP/1.1\r\n${HOST}\r\n`, refused(400)],
  ['a fragment in the query', get('/x?a#b'), refused(400)],
  ['a scheme alone', `GET http:// HTTP/1.1\r\n${HOST}\r\n`, refused(400, OPEN)],
  ['an empty authority', `GET http:///x HTTP/1.1\r\n${HOST}\r\n`, refused(400, OPEN)],
  [
    'an absolute URI with another port',
    `GET http://a.example:81/x HTTP/1.1\r\n${HOST}\r\n`,
    refused(400, OPEN),
  ],
  ['an absolute URI with dots', `GET http://a.example/../x HTTP/1.1\r\n${HOST}\r\n`, refused(400, OPEN)],
  ['an absolute URI in capitals', `GET HTTP://A.EXAMPLE/x HTTP/1.1\r\n${HOST}\r\n`, served(target('/x'))],
  ['https in an absolute URI on a plain port', `GET https://a.example/x HTTP/1.1\r\n${HOST}\r\n`, EITHER],
  ['a javascript URI', `GET javascript:alert(1) HTTP/1.1\r\n${HOST}\r\n`, refused(400, OPEN)],
  ['an authority as the target of a GET', `GET a.example:80 HTTP/1.1\r\n${HOST}\r\n`, refused(400, OPEN)],
  ['an asterisk with a path', `OPTIONS *x HTTP/1.1\r\n${HOST}\r\n`, refused(400, OPEN)],
  ['an asterisk with POST', `POST * HTTP/1.1\r\n${HOST}Content-Length: 0\r\n\r\n`, refused(400, OPEN)],
  [
    'OPTIONS with an absolute URI without a path',
    `OPTIONS http://a.example HTTP/1.1\r\n${HOST}\r\n`,
    refused(204, { ...OPEN, allow: true }),
  ],
  ['CONNECT with a path', `CONNECT /x HTTP/1.1\r\n${HOST}\r\n`, refused([400, 405], OPEN)],
  ['TRACE with a body', `TRACE / HTTP/1.1\r\n${HOST}Content-Length: 3\r\n\r\nabc`, refused([400, 405], OPEN)],
  ['plain dots', get('/a/../b'), refused(400, OPEN)],
  ['dots at the end', get('/a/..'), refused(400, OPEN)],
  ['half encoded dots', get('/a/.%2e/b'), refused(400, OPEN)],
  ['dots with an encoded parameter', get('/a/..%3bx/b'), refused(400, OPEN)],
  ['one dot with a parameter', get('/a/.;x/b'), refused(400, OPEN)],
  ['a backslash', get('/a\\..\\b'), refused(400, OPEN)],
  ['a capital encoded slash', get('/a%2Fb'), refused(400, OPEN)],
  ['an encoded NUL', get('/a%00'), refused(400, OPEN)],
  ['a percent sign at the end', get('/a%'), refused(400, OPEN)],
  ['a percent sign and one digit', get('/a%4'), refused(400, OPEN)],
  ['%u', get('/a%u002e'), refused(400, OPEN)],
  ['overlong slash', get('/a%c0%afb'), refused(400, OPEN)],
  ['a surrogate', get('/a%ed%a0%80'), refused(400, OPEN)],
  ['a lone continuation', get('/a%80'), refused(400, OPEN)],
  ['unreserved letters encoded', get('/%6f%6B'), served(target('/ok'))],
  ['small hex digits', get('/%e2%82%ac'), served(target('/%E2%82%AC'))],
  ['an encoded question mark', get('/a%3fb?c'), served(target('/a%3Fb?c'))],
  ['an encoded number sign', get('/a%23b'), served(target('/a%23b'))],
  ['many slashes', get('////a////'), served(target('/a/'))],
  ['a dot at the end', get('/a/.'), served(target('/a/'))],
  ['dots that are names', get('/.../..a/a..'), served(target('/.../..a/a..'))],
  ['a query with dots, slashes and %zz', get('/x?../..//%zz\\'), served(target('/x?../..//%zz\\'))],
  ['an empty query', get('/x?'), served(target('/x?'))],
  ['a target of 8 KiB and one', get(`/${'a'.repeat(8192)}`), refused([414, 431])],
  ['a target of 8 KiB', get(`/${'a'.repeat(8191)}`), served()],
  ['two leading CRLF', `\r\n\r\nGET /ok HTTP/1.1\r\n${HOST}\r\n`, EITHER],
];

const HOSTS: readonly Case[] = [
  ['two equal Hosts', `GET / HTTP/1.1\r\n${HOST}${HOST}\r\n`, refused(400)],
  ['a second Host in another spelling', `GET / HTTP/1.1\r\n${HOST}hOST: b\r\n\r\n`, refused(400)],
  ['a Host with a path', 'GET / HTTP/1.1\r\nHost: a/b\r\n\r\n', refused(400, OPEN)],
  ['a Host with a scheme', 'GET / HTTP/1.1\r\nHost: http://a\r\n\r\n', refused(400, OPEN)],
  ['a Host with an empty port', 'GET / HTTP/1.1\r\nHost: a:\r\n\r\n', EITHER],
  ['a Host with a port of letters', 'GET / HTTP/1.1\r\nHost: a:x\r\n\r\n', refused(400, OPEN)],
  ['a Host with two ports', 'GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n', refused(400, OPEN)],
  ['a Host with a signed port', 'GET / HTTP/1.1\r\nHost: a:+80\r\n\r\n', refused(400, OPEN)],
  ['a Host of a port alone', 'GET / HTTP/1.1\r\nHost: :80\r\n\r\n', refused(400, OPEN)],
  ['bare IPv6', 'GET / HTTP/1.1\r\nHost: ::1\r\n\r\n', refused(400, OPEN)],
  ['an open bracket', 'GET / HTTP/1.1\r\nHost: [::1\r\n\r\n', refused(400, OPEN)],
  ['a bracketed name', 'GET / HTTP/1.1\r\nHost: [a.example]\r\n\r\n', refused(400, OPEN)],
  ['a zone', 'GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]\r\n\r\n', refused(400, OPEN)],
  ['an IPv4 address out of range', 'GET / HTTP/1.1\r\nHost: 256.1.1.1\r\n\r\n', refused(400, OPEN)],
  ['empty labels', 'GET / HTTP/1.1\r\nHost: a..b\r\n\r\n', refused(400, OPEN)],
  ['a percent sign', 'GET / HTTP/1.1\r\nHost: a%2eb\r\n\r\n', refused(400, OPEN)],
  ['obs-text', 'GET / HTTP/1.1\r\nHost: a\u00e9\r\n\r\n', refused(400, OPEN)],
  ['a tab inside', 'GET / HTTP/1.1\r\nHost: a\tb\r\n\r\n', refused(400, OPEN)],
  ['a query', 'GET / HTTP/1.1\r\nHost: a?b\r\n\r\n', refused(400, OPEN)],
  ['a name of 300 letters', `GET / HTTP/1.1\r\nHost: ${'a'.repeat(300)}\r\n\r\n`, refused(400, OPEN)],
  ['only blanks', 'GET / HTTP/1.1\r\nHost:  \t \r\n\r\n', refused(400, OPEN)],
  [
    'a bracketed IPv6 with a port',
    'GET /ok HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n\r\n',
    served(field('host', '[2001:db8::1]:8080')),
  ],
  [
    'no Host in 1.0',
    'GET /ok HTTP/1.0\r\n\r\n',
    andCloses(served((request) => (fieldOf(request, 'host') === '' ? 'no host' : ''))),
  ],
  ['two Hosts in 1.0', 'GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n', refused(400)],
  [
    'another Host behind an absolute URI without Host',
    'GET http://a.example/x HTTP/1.1\r\n\r\n',
    refused(400),
  ],
];

const HEADERS: readonly Case[] = [
  ['a tab before the colon', get('/', 'X\t: 1'), refused(400)],
  ['a fold with a tab', get('/', 'X: a\r\n\tb'), refused(400)],
  ['an empty name', get('/', ': a'), refused(400)],
  ['a name in brackets', get('/', 'X[y]: a'), refused(400)],
  ['a name with obs-text', get('/', 'X\u00e9: a'), refused(400)],
  ['a name with NUL', get('/', 'X\0: a'), refused(400)],
  ['a name with a slash', get('/', 'X/Y: a'), refused(400)],
  ['DEL in a value', get('/', 'X: a\u007fb'), refused(400)],
  ['an escape in a value', get('/', 'X: a\u001bb'), refused(400)],
  ['a bare CR before the end', get('/', 'X: a\r'), refused(400)],
  ['CR CR LF', `GET / HTTP/1.1\r\n${HOST}X: a\r\r\n\r\n`, refused(400)],
  ['LF LF as the end of the head', `GET / HTTP/1.1\r\n${HOST}\n\n`, refused(400)],
  ['LF CR LF as the end of the head', `GET / HTTP/1.1\r\nHost: a.example\n\r\n`, refused(400)],
  [
    'a field behind a bare LF',
    `GET / HTTP/1.1\r\n${HOST}X: a\nTransfer-Encoding: chunked\r\n\r\n`,
    refused(400),
  ],
  ['101 fields', `GET / HTTP/1.1\r\n${HOST}${'X: y\r\n'.repeat(100)}\r\n`, refused(431)],
  ['100 fields', `GET /ok HTTP/1.1\r\n${HOST}${'X: y\r\n'.repeat(99)}\r\n`, served()],
  ['2 001 fields', `GET / HTTP/1.1\r\n${HOST}${'X: y\r\n'.repeat(2000)}\r\n`, refused(431)],
  ['a name of 20 KiB', get('/', `${'x'.repeat(20_000)}: 1`), refused(431)],
  ['two Content-Types', get('/ok', 'Content-Type: a/b', 'Content-Type: c/d'), refused(400, OPEN)],
  [
    'two Expects',
    post('Z', 'Content-Length: 1', 'Expect: 100-continue', 'expect: 100-continue'),
    refused(400),
  ],
  ['X_Real_IP', get('/ok', 'X_Real_IP: 1.2.3.4'), served(without('x_real_ip'))],
  ['Content_Type', get('/ok', 'Content_Type: a/b'), served(without('content_type'))],
  ['x-spillway_client', get('/ok', 'X-Spillway_Client: me'), served(without('x-spillway_client'))],
  ['X.Forwarded.For', get('/ok', 'X.Forwarded.For: 1.2.3.4'), served(without('x.forwarded.for'))],
  ['Content.Length', post('Z', 'Content-Length: 1', 'Content.Length: 2'), served(without('content.length'))],
  ['x-real~ip', get('/ok', 'X-Real~IP: 1.2.3.4'), served(without('x-real~ip'))],
  ['a harmless dot', get('/ok', 'X.Colour: red'), served(field('x.colour', 'red'))],
  ['a harmless underscore', get('/ok', 'X_Colour: red'), served(field('x_colour', 'red'))],
  [
    'X-Spillway-Client',
    get('/ok', 'X-Spillway-Client: me', 'X-Spillway-Tier: gold', 'X-Spillway-Attempt: 7'),
    served((request) =>
      (fieldOf(request, 'x-spillway-tier') ?? '') === 'gold' ||
      fieldOf(request, 'x-spillway-attempt') !== undefined
        ? 'the caller was believed'
        : '',
    ),
  ],
  ['tabs around a value', get('/ok', 'X:\t a \t'), served(field('x', 'a'))],
  ['a colon in a value', get('/ok', 'X: a: b'), served(field('x', 'a: b'))],
  ['no space behind the colon', get('/ok', 'X:a'), served(field('x', 'a'))],
  ['an empty value', get('/ok', 'X:'), served(field('x', ''))],
  ['a name of every token character', get('/ok', "!#$%&'*+-.^_`|~9a: 1"), served()],
];

const CLASSES: readonly (readonly [prefix: string, cases: readonly Case[]])[] = [
  ['RL', REQUEST_LINES],
  ['HO', HOSTS],
  ['HS', HEADERS],
  ['FR', FRAMING],
  ['HB', HOPS],
];

export const CLASS_CASES: readonly RawCase[] = CLASSES.flatMap(([prefix, cases]) =>
  cases.map(([name, raw], index) => ({
    id: `${prefix}+${index + 1}`,
    name,
    rawBase64: Buffer.from(raw, 'latin1').toString('base64'),
    halfClose: false,
    wanted: '',
  })),
);

export const CLASS_EXPECTATIONS: Readonly<Record<string, Expectation>> = Object.fromEntries(
  CLASSES.flatMap(([prefix, cases]) =>
    cases.map(([, , expectation], index) => [`${prefix}+${index + 1}`, expectation] as const),
  ),
);
