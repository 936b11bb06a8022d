import { describe, expect, it } from 'vitest';
import { readAnswers } from './answers-read.ts';

const HEAD = 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n';

describe('the line of a chunk', () => {
  it.each(['2 ', '2\t', '0 ', ' 2', '2 x'])('has no white space but before an extension: %j', (line) => {
    expect(readAnswers('GET', [`${HEAD}${line}\r\nok\r\n0\r\n\r\n`]).fault).toBe('chunk size');
  });

  it.each(['2;a=b', '2 ;a', '2\t; a="b"'])('may name an extension: %j', (line) => {
    const { fault, told } = readAnswers('GET', [`${HEAD}${line}\r\nok\r\n0\r\n\r\n`]);
    expect([fault, told.at(-1)]).toEqual(['', 'end']);
  });
});
