import { describe, expect, it } from 'vitest';
import { readAnswers } from './answers-read.ts';

describe('the reader of answers', () => {
  it('reads a body of known length that came with its head as one text', () => {
    const { told, fault } = readAnswers('GET', [
      'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A:  b \r\n\r\nhello',
    ]);
    expect(fault).toBe('');
    expect(told).toEqual(['head 200 Content-Length=5 X-A=b', 'text hello', 'end']);
  });

  it('reads a body that comes piece by piece', () => {
    const pieces = ['HTTP/1.1 200\r\ncontent-le', 'ngth: 6\r\n', '\r\nab', 'cd', 'ef'];
    expect(readAnswers('GET', pieces).told).toEqual([
      'head 200 content-length=6',
      'bytes ab',
      'bytes cd',
      'bytes ef',
      'end',
    ]);
  });

  it('reads chunks, drops their extensions and tells the trailers', () => {
    const answer =
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3;a=b\r\nabc\r\n00A ; x="y"\r\n0123456789\r\n0\r\nx-sum: 1\r\n\r\n';
    const { told, persistent } = readAnswers('GET', [answer]);
    expect(told).toEqual([
      'head 200 Transfer-Encoding=Chunked',
      'bytes abc',
      'bytes 0123456789',
      'end x-sum=1',
    ]);
    expect(persistent).toBe(true);
  });

  it('tells interim answers apart from the final one', () => {
    const answer = 'HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n';
    expect(readAnswers('GET', [answer]).told).toEqual(['interim 103 link=</a>', 'head 204', 'end']);
  });

  it.each([
    ['HEAD', 'HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n'],
    ['GET', 'HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n'],
    ['GET', 'HTTP/1.1 204 No Content\r\n\r\n'],
  ])('reads no body after %s and %j', (method, answer) => {
    const { told, persistent } = readAnswers(method, [answer]);
    expect(told.at(-1)).toBe('end');
    expect(persistent).toBe(true);
  });

  it('ends a body without framing with its connection, and only there', () => {
    const open = readAnswers('GET', ['HTTP/1.1 200 OK\r\n\r\nab', 'c']);
    expect(open.told).toEqual(['head 200', 'bytes ab', 'bytes c']);
    expect(open.persistent).toBe(false);
    expect(open.reader.close()).toBe(true);
    expect(open.told.at(-1)).toBe('end');
    expect(readAnswers('GET', ['HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab']).reader.close()).toBe(false);
  });

  it('never reads what stands behind an answer', () => {
    const { told, reader } = readAnswers('GET', [
      'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil',
    ]);
    expect(told).toEqual(['head 200 content-length=2', 'text ok', 'end']);
    expect(reader.surplus).toBe(true);
  });

  it('says nothing more once it was stopped', () => {
    const { told } = readAnswers('GET', ['HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'], {
      stopAt: 'head',
    });
    expect(told).toEqual(['head 200 content-length=2']);
  });

  it.each([
    ['close', 'HTTP/1.1', false],
    ['keep-alive', 'HTTP/1.1', true],
    ['keep-alive', 'HTTP/1.0', true],
    ['x-a', 'HTTP/1.0', false],
    ['X-A, Close', 'HTTP/1.1', false],
    ['close\r\nconnection: keep-alive', 'HTTP/1.1', false],
  ])('knows from `Connection: %s` of %s whether the connection lives: %s', (connection, version, lives) => {
    const answer = `${version} 200 OK\r\nconnection: ${connection}\r\ncontent-length: 0\r\n\r\n`;
    expect(readAnswers('GET', [answer]).persistent).toBe(lives);
  });

  it('keeps no connection on which a 204 announced a body', () => {
    expect(readAnswers('GET', ['HTTP/1.1 204 No Content\r\ncontent-length: 3\r\n\r\n']).persistent).toBe(
      false,
    );
  });

  it('reads how long the server keeps the connection', () => {
    const answer = 'HTTP/1.1 200 OK\r\nkeep-alive: max=9, timeout=15\r\ncontent-length: 0\r\n\r\n';
    expect(readAnswers('GET', [answer]).reader.keepAliveS).toBe(15);
  });

  it('judges the fields of every answer, though it remembers their names', () => {
    const { reader } = readAnswers('GET', ['HTTP/1.1 200 OK\r\nx-name: a\r\ncontent-length: 0\r\n\r\n']);
    const next = (answer: string): string => {
      reader.begin('GET');
      const bytes = Buffer.from(answer, 'latin1');
      return reader.read(bytes, bytes.length);
    };
    expect(next('HTTP/1.1 200 OK\r\nx-name : a\r\ncontent-length: 0\r\n\r\n')).toBe('field name');
    expect(next('HTTP/1.1 200 OK\r\nx-name: a\u0001\r\ncontent-length: 0\r\n\r\n')).toBe('field value');
    expect(next('HTTP/1.1 200 OK\r\nx-names: a\r\ncontent-length: 0\r\n\r\n')).toBe('');
  });

  const length = 'content-length: 2\r\n';
  it.each([
    ['garbage', 'SSH-2.0-OpenSSH\r\n', 'status line'],
    ['another protocol', 'HTTP/2 200\r\n\r\n', 'status line'],
    ['HTTP/1.2', `HTTP/1.2 200 OK\r\n${length}\r\n`, 'status line'],
    ['a status of four digits', `HTTP/1.1 2000 OK\r\n${length}\r\n`, 'status line'],
    ['the status 999', `HTTP/1.1 999 OK\r\n${length}\r\n`, 'status line'],
    ['a control character in the reason', `HTTP/1.1 200 O\u0000K\r\n${length}\r\n`, 'status line'],
    ['a bare LF', 'HTTP/1.1 200 OK\ncontent-length: 2\n\nok', 'line end'],
    ['a bare CR', 'HTTP/1.1 200 OK\r\na: b\rc\r\n\r\n', 'field value'],
    ['a fold', 'HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n', 'field line'],
    ['a line without colon', 'HTTP/1.1 200 OK\r\nab\r\nc: d\r\n\r\n', 'field line'],
    ['a space before the colon', 'HTTP/1.1 200 OK\r\na : b\r\n\r\n', 'field name'],
    ['NUL', 'HTTP/1.1 200 OK\r\na: b\u0000\r\n\r\n', 'field value'],
    ['two lengths', `HTTP/1.1 200 OK\r\n${length}${length}\r\n`, 'two lengths'],
    ['a list of lengths', 'HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\n', 'content-length'],
    ['a signed length', 'HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\n', 'content-length'],
    [
      'a length beyond counting',
      'HTTP/1.1 200 OK\r\ncontent-length: 9007199254740993\r\n\r\n',
      'content-length',
    ],
    [
      'length and coding',
      `HTTP/1.1 200 OK\r\n${length}transfer-encoding: chunked\r\n\r\n`,
      'length and transfer coding',
    ],
    ['another coding', 'HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n', 'transfer coding'],
    ['a coding in 1.0', 'HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n', 'transfer coding'],
    ['an unasked 100', 'HTTP/1.1 100 Continue\r\n\r\n', 'unasked interim answer'],
    ['an unasked 101', 'HTTP/1.1 101 Switching Protocols\r\n\r\n', 'unasked interim answer'],
    ['20 KiB of head', `HTTP/1.1 200 OK\r\na: ${'x'.repeat(20_480)}\r\n\r\n`, 'header section too large'],
  ])('refuses %s', (_what, answer, fault) => {
    const whole = readAnswers('GET', [answer]);
    expect(whole.fault).toBe(fault);
    expect(whole.told.filter((line) => line !== 'end')).toEqual([]);
    expect(readAnswers('GET', answer.split('')).fault).toBe(fault);
  });

  const chunked = 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n';
  it.each([
    ['a signed size', '+2\r\nok\r\n0\r\n\r\n', 'chunk size'],
    ['a prefix', '0x2\r\nok\r\n0\r\n\r\n', 'chunk size'],
    ['a space before the size', ' 2\r\nok\r\n0\r\n\r\n', 'chunk size'],
    ['no size', '\r\nok\r\n0\r\n\r\n', 'chunk size'],
    ['17 digits', '00000000000000002\r\nok\r\n0\r\n\r\n', 'chunk size'],
    ['a bare LF behind the size', '2\nok\r\n0\r\n\r\n', 'chunk line'],
    ['a bare CR in an extension', '2;a\rb\r\nok\r\n0\r\n\r\n', 'chunk line'],
    ['a chunk that is too long', '2\r\nokay\r\n0\r\n\r\n', 'chunk end'],
    ['an endless extension', `2;${'x'.repeat(5000)}\r\nok\r\n0\r\n\r\n`, 'chunk line'],
    ['a bare LF in the trailers', '0\r\na: b\n\r\n', 'trailer section'],
    ['a bad trailer', '0\r\na b\r\n\r\n', 'field line'],
  ])('refuses in a chunked body %s', (_what, body, fault) => {
    expect(readAnswers('GET', [chunked + body]).fault).toBe(fault);
    expect(readAnswers('GET', (chunked + body).split('')).fault).toBe(fault);
  });
});
