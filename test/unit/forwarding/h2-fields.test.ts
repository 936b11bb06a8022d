import { describe, expect, it } from 'vitest';
import { h2RequestFields, plainFields } from '../../../src/forwarding/h2-fields.ts';

const PSEUDO = [':method', 'GET', ':scheme', 'https', ':authority', 'A.test:1', ':path', '/p?q'];

describe('a header section for HTTP/2', () => {
  it('begins with the pseudo-fields, and Host is the authority', () => {
    expect(h2RequestFields(['host', 'A.test:1', 'X-B', 'c'], 'GET', '/p?q', 'https')).toEqual([
      ...PSEUDO,
      'x-b',
      'c',
    ]);
  });

  it('has no field of a connection, and of TE only trailers', () => {
    const fields = ['host', 'a', 'Connection', 'close', 'Keep-Alive', '1', 'transfer-encoding', 'chunked'];
    const more = ['upgrade', 'h2c', 'te', 'gzip', 'te', 'trailers', 'proxy-connection', 'x'];
    expect(h2RequestFields([...fields, ...more], 'GET', '/', 'http').slice(8)).toEqual(['te', 'trailers']);
  });

  it('keeps order, repetitions and octets', () => {
    const fields = ['b', '1', 'a', '\u00e9', 'b', '2'];
    expect(h2RequestFields(['host', 'a', ...fields], 'GET', '/', 'http').slice(8)).toEqual(fields);
  });
});

describe('a header section that came over HTTP/2', () => {
  it('loses the pseudo-fields and nothing else', () => {
    expect(plainFields([':status', '200', 'a', '1', 'a', '2'])).toEqual(['a', '1', 'a', '2']);
    const trailers = ['grpc-status', '0'];
    expect(plainFields(trailers)).toBe(trailers);
  });
});
