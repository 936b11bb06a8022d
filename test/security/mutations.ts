import { Buffer } from 'node:buffer';
import { setImmediate as nextTurn } from 'node:timers/promises';
import * as fc from 'fast-check';
import { openRaw, readAnswers } from '../harness/raw.ts';
import type { RawCase } from './judge.ts';
import type { RawOrigin } from './raw-origin.ts';

/**
 * Mutations of the corpus: what no list holds. A mutation has no wanted status; what holds of each is that the answers
 * parse, that there are not more of them than heads were sent (F8), and that whatever went upstream is HTTP for a strict
 * reader and carries no second framing (F9).
 */

const PIECES = [
  '\r\n',
  '\n',
  '\r',
  ' ',
  '\t',
  '\0',
  '\u000b',
  '\u00a0',
  ':',
  ',',
  ';',
  '_',
  '0',
  '1',
  'f',
  '+',
  '-',
  '0x',
  'Content-Length: 5\r\n',
  'content_length: 5\r\n',
  'Content-Length : 5\r\n',
  'Transfer-Encoding: chunked\r\n',
  'Transfer-Encoding:\u000bchunked\r\n',
  'Transfer-Encoding: x\r\n',
  'transfer_encoding: chunked\r\n',
  'Host: b.example\r\n',
  'Connection: close\r\n',
  'Connection: Transfer-Encoding\r\n',
  'Expect: 100-continue\r\n',
  'Upgrade: websocket\r\nConnection: Upgrade\r\n',
  '0\r\n\r\n',
  '5\r\nhello\r\n',
  'GET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\n',
  'HTTP/1.1',
  'HTTP/1.0',
] as const;

interface Edit {
  readonly at: number;
  readonly drop: number;
  readonly insert: string;
}

/** Anywhere: a bias towards the beginning would break nothing but method names. */
const place = fc.noBias(fc.integer({ min: 0, max: 9999 })).map((part) => part / 10_000);

const edit: fc.Arbitrary<Edit> = fc.record({
  at: place,
  drop: fc.constantFrom(0, 0, 0, 1, 1, 2, 5, 20),
  insert: fc.oneof(
    fc.constantFrom('', ...PIECES),
    fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)),
  ),
});

function edited(text: string, edits: readonly Edit[]): string {
  let result = text;
  for (const { at, drop, insert } of edits) {
    const start = Math.floor(at * (result.length + 1));
    result = result.slice(0, start) + insert + result.slice(start + drop);
  }
  return result;
}

export interface Mutation {
  readonly bytes: string;
  /** Where the bytes are cut into writes. */
  readonly cuts: readonly number[];
}

/** One or two cases behind one another, edited once to four times. */
export function mutations(cases: readonly RawCase[]): fc.Arbitrary<Mutation> {
  // Long cases have long middles that are all alike: mutating them finds what the short ones find.
  const texts = cases
    .map(({ rawBase64 }) => Buffer.from(rawBase64, 'base64').toString('latin1'))
    .filter(({ length }) => length < 3000);
  return fc
    .tuple(
      fc.array(fc.constantFrom(...texts), { minLength: 1, maxLength: 2 }),
      fc.noBias(fc.array(edit, { minLength: 1, maxLength: 3 })),
      fc.array(place, { maxLength: 3 }),
    )
    .map(([parts, edits, places]) => {
      const bytes = edited(parts.join(''), edits);
      const cuts = places.map((part) => Math.floor(part * bytes.length)).sort((a, b) => a - b);
      return { bytes, cuts };
    });
}

/** How many heads can at most be seen in these bytes, by the most generous reader. */
function mostHeads(bytes: string): number {
  return (bytes.match(/\n\r?\n/g) ?? []).length;
}

const METHODS_OF = /(?:^|\n|\0)*(HEAD|CONNECT)\b/;

/** Sends a mutation and a FIN; what is wrong with what came back, '' when nothing. */
export async function judgeMutation(port: number, { bytes, cuts }: Mutation): Promise<string> {
  await using connection = await openRaw(port);
  let from = 0;
  for (const cut of [...cuts, bytes.length]) {
    if (connection.isClosed()) break;
    connection.write(bytes.slice(from, cut));
    from = cut;
    await nextTurn();
  }
  connection.halfClose();
  try {
    await connection.untilClosed(20_000);
  } catch {
    return 'the connection does not end after a FIN';
  }
  const text = connection.received();
  // An answer to HEAD has a length and no body: whoever does not know which it is cannot read what follows.
  const toHead = METHODS_OF.test(bytes);
  const { answers, rest } = readAnswers(text, true, toHead ? Array<string>(8).fill('HEAD') : []);
  if (toHead) return /^(HTTP\/1\.1 \d|$)/.test(text) ? '' : 'no status line in front';
  // Behind an answer that was cut nothing can be read, and the cut one's own bytes are no status line.
  if (rest !== '') return `bytes that are no answer: ${JSON.stringify(rest.slice(0, 200))}`;
  const finals = answers.filter(({ status }) => status >= 200 || status === 101).length;
  // Bytes that end in mid-head, and garbage instead of one, are told so once.
  const most = mostHeads(bytes) + 1;
  if (finals > most) return `${finals} answers to ${most - 1} heads`;
  const inside = answers.find(({ body }) => /HTTP\/1\.[01] \d{3} /.test(body));
  if (inside !== undefined)
    return `a status line inside a body: ${JSON.stringify(inside.body.slice(0, 200))}`;
  return '';
}

/** In the spelling of CGI, too. */
const FRAMING = /^(content[-_]length|transfer[-_]encoding)$/;

/** What is wrong with what the origin has seen since it forgot, '' when nothing. */
export function judgeUpstream(origin: RawOrigin): string {
  const { requests, faults, partialBytes, pending } = origin.seen();
  if (faults.length > 0) return `upstream got what is no HTTP: ${faults.join('; ')}`;
  if (pending > 0) return `${pending} unfinished requests hang upstream, ${partialBytes} bytes`;
  for (const { fields, target } of requests) {
    const names = fields.map(([name]) => name).filter((name) => FRAMING.test(name));
    if (names.length > 1 || names.some((name) => name.includes('_')))
      return `framed by ${names.join(' and ')}: ${target}`;
  }
  return '';
}
