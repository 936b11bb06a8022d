import { Buffer } from 'node:buffer';
import { andCloses, broken, refused, served, target, without, type Expectation } from './expectations.ts';
import type { RawCase } from './judge.ts';

/** Cases of the corpus' classes that we found ourselves: what node's parser lets by, and what others were bitten by. */

const HEAD = 'Host: a.example\r\n';
const CHUNKED = `POST /ok HTTP/1.1\r\n${HEAD}Transfer-Encoding: chunked\r\n\r\n`;

const CASES: readonly (readonly [name: string, raw: string, expectation: Expectation])[] = [
  ['HTTP/0.9 with a version', `GET / HTTP/0.9\r\n${HEAD}\r\n`, refused(505)],
  ['the HTTP/2 preface', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', { ...refused(505), endless: true }],
  ['a small http in the version', `GET / http/1.1\r\n${HEAD}\r\n`, refused(400)],
  ['RTSP', `DESCRIBE rtsp://a.example/ RTSP/1.0\r\n${HEAD}\r\n`, refused(400)],
  ['asterisk with GET', `GET * HTTP/1.1\r\n${HEAD}\r\n`, refused(400)],
  ['userinfo in an absolute URI', `GET http://u@a.example/ HTTP/1.1\r\n${HEAD}\r\n`, refused(400)],
  [
    'an absolute URI without a path',
    `GET HTTP://A.example:80?x HTTP/1.1\r\n${HEAD}\r\n`,
    served(target('/?x')),
  ],
  ['a fragment', `GET /a#b HTTP/1.1\r\n${HEAD}\r\n`, refused(400)],
  ['a raw octet above ASCII', `GET /\u00e4 HTTP/1.1\r\n${HEAD}\r\n`, refused(400)],
  ['overlong dots', `GET /a/%c0%ae%c0%ae/b HTTP/1.1\r\n${HEAD}\r\n`, refused(400)],
  ['an encoded backslash', `GET /a%5c..%5cb HTTP/1.1\r\n${HEAD}\r\n`, refused(400)],
  ['an encoded NUL', `GET /a%00b HTTP/1.1\r\n${HEAD}\r\n`, refused(400)],
  ['a folded field', `GET / HTTP/1.1\r\n${HEAD}X: a\r\n b\r\n\r\n`, refused(400)],
  ['101 fields', `GET / HTTP/1.1\r\n${HEAD}${'X: y\r\n'.repeat(100)}\r\n`, refused(431)],
  ['a coding in 1.0', `POST / HTTP/1.0\r\n${HEAD}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, refused(400)],
  ['a length with a plus', `POST / HTTP/1.1\r\n${HEAD}Content-Length: +5\r\n\r\nhello`, refused(400)],
  [
    'a length above 2^53',
    `POST / HTTP/1.1\r\n${HEAD}Content-Length: 9007199254740993\r\n\r\nhello`,
    { ...refused(400), endless: true },
  ],
  [
    'chunked with a parameter',
    `POST / HTTP/1.1\r\n${HEAD}Transfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n`,
    refused([400, 501]),
  ],
  [
    'two codings in two fields',
    `POST / HTTP/1.1\r\n${HEAD}Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    refused([400, 501]),
  ],
  [
    'a length and its double with an underscore',
    `POST /ok HTTP/1.1\r\n${HEAD}Content_Length: 99\r\nContent-Length: 5\r\n\r\nhello`,
    served(without('content_length')),
  ],
  ['a chunk size with 0x', `${CHUNKED}0x1\r\nZ\r\n0\r\n\r\n`, broken(400)],
  ['a chunk size with a space', `${CHUNKED}1 \r\nZ\r\n0\r\n\r\n`, broken(400)],
  ['a chunk size of 17 digits', `${CHUNKED}10000000000000000\r\nZ\r\n0\r\n\r\n`, broken(400)],
  ['a length in the trailers', `${CHUNKED}1\r\nZ\r\n0\r\nContent-Length: 5\r\n\r\n`, broken(400)],
  [
    'an expectation padded',
    `POST /ok HTTP/1.1\r\n${HEAD}Content-Length: 1\r\nExpect: y 100-continue\r\n\r\nZ`,
    refused(417),
  ],
  [
    'an expectation twice',
    `POST /ok HTTP/1.1\r\n${HEAD}Content-Length: 1\r\nExpect: 100-continue\r\nExpect: 100-continue\r\n\r\nZ`,
    refused(400),
  ],
  ['nominating Cookie', `GET /ok HTTP/1.1\r\n${HEAD}Cookie: a=1\r\nConnection: Cookie\r\n\r\n`, refused(400)],
  [
    'h2c with a body',
    `POST /ok HTTP/1.1\r\n${HEAD}Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc`,
    andCloses(served(without('upgrade'))),
  ],
];

export const OWN_CASES: readonly RawCase[] = CASES.map(([name, raw], index) => ({
  id: `OWN${index + 1}`,
  name,
  rawBase64: Buffer.from(raw, 'latin1').toString('base64'),
  halfClose: false,
  wanted: '',
}));

export const OWN_EXPECTATIONS: Readonly<Record<string, Expectation>> = Object.fromEntries(
  CASES.map(([, , expectation], index) => [`OWN${index + 1}`, expectation]),
);
