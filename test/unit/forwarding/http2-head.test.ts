import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { translateHead } from '../../../src/forwarding/http2-head.ts';
import { STREAM_MAJOR, STREAM_MINOR } from '../../../src/forwarding/request-facts.ts';
import { scanRequest } from '../../../src/forwarding/request-head.ts';
import { normalizeTarget } from '../../../src/forwarding/target.ts';

const PSEUDO = [':method', 'GET', ':scheme', 'https', ':authority', 'a.test', ':path', '/x?y'];

function factsOf(raw: readonly string[], endStream = true): ReturnType<typeof scanRequest> {
  const { fields, method } = translateHead(raw, endStream);
  return scanRequest(fields, method, STREAM_MAJOR, STREAM_MINOR);
}

describe('the head of a stream', () => {
  it('becomes the request of HTTP/1.1 that says the same', () => {
    const head = translateHead([...PSEUDO, 'accept', '*/*', 'x-a', '1', 'x-a', '2'], true);
    expect(head).toEqual({
      method: 'GET',
      target: '/x?y',
      authority: 'a.test',
      fields: ['host', 'a.test', 'accept', '*/*', 'x-a', '1', 'x-a', '2'],
      bodyUntold: false,
    });
    expect(factsOf([...PSEUDO])).toMatchObject({ code: '', http2: true, hostName: 'a.test', trailers: true });
  });

  it.each([
    ['the same', ['host', 'a.test']],
    ['the same with the port of https', ['host', 'a.test:443']],
  ])('a host that is %s is left out', (_name, host) => {
    expect(translateHead([...PSEUDO, ...host], true).fields).toEqual(['host', 'a.test']);
  });

  it('a host that is another is refused, like a second Host', () => {
    expect(factsOf([...PSEUDO, 'host', 'b.test'])).toMatchObject({
      code: 'SPW_BAD_REQUEST',
      reason: 'two Hosts',
    });
    expect(factsOf([...PSEUDO, 'host', 'a.test:80']).code).toBe('SPW_BAD_REQUEST');
  });

  it('host stands in where no authority came; none is refused', () => {
    const without = PSEUDO.filter((_, index) => index !== 4 && index !== 5);
    expect(translateHead([...without, 'host', 'b.test'], true).fields).toEqual(['host', 'b.test']);
    expect(factsOf([...without]).code).toBe('SPW_BAD_REQUEST');
    expect(factsOf([...without, 'host', 'b.test', 'host', 'b.test']).code).toBe('SPW_BAD_REQUEST');
  });

  it('crumbs of a cookie are one field, where the first stood', () => {
    const { fields } = translateHead(
      [...PSEUDO, 'cookie', 'a=1', 'x-a', '1', 'cookie', 'b=2', 'cookie', 'c=3'],
      true,
    );
    expect(fields).toEqual(['host', 'a.test', 'cookie', 'a=1; b=2; c=3', 'x-a', '1']);
  });

  it('an open stream without a length has a body of unknown length (D10)', () => {
    const post = PSEUDO.with(1, 'POST');
    expect(factsOf(post, false)).toMatchObject({ code: '', hasBody: true, chunked: true, contentLength: -1 });
    expect(factsOf([...post, 'content-length', '5'], false)).toMatchObject({
      chunked: false,
      contentLength: 5,
    });
    expect(factsOf(post, true)).toMatchObject({ hasBody: false, chunked: false });
    expect(factsOf(PSEUDO, false)).toMatchObject({ code: 'SPW_BAD_REQUEST', unusualBody: true });
  });

  it.each([
    ['GET', [], false, true],
    ['HEAD', [], false, true],
    ['GET', [], true, false],
    ['GET', ['content-length', '0'], false, false],
    ['POST', [], false, false],
    ['OPTIONS', [], false, false],
  ] as const)(
    'whether a %s with %j has a body is told by its head or not',
    (method, fields, ends, untold) => {
      expect(translateHead([...PSEUDO.with(1, method), ...fields], ends).bodyUntold).toBe(untold);
    },
  );

  it.each([
    ['absolute', 'https', 'GET', 'http://a.test/'],
    ['empty', 'https', 'GET', ''],
    ['without a slash', 'https', 'GET', 'x'],
    ['an asterisk for GET', 'https', 'GET', '*'],
    ['of another scheme', 'ftp', 'GET', '/x'],
    ['with a space', 'https', 'GET', '/x HTTP/1.1'],
  ])('a path that is %s has no normal form', (_name, scheme, method, path) => {
    const raw = [':method', method, ':scheme', scheme, ':authority', 'a.test', ':path', path];
    expect(normalizeTarget(method, translateHead(raw, true).target).code).toBe('SPW_BAD_REQUEST');
  });

  it('an asterisk is for OPTIONS', () => {
    const raw = [':method', 'OPTIONS', ':scheme', 'https', ':authority', 'a.test', ':path', '*'];
    expect(normalizeTarget('OPTIONS', translateHead(raw, true).target)).toMatchObject({
      code: '',
      asterisk: true,
    });
  });

  it('no text of HTTP/1 is taken for a stream', () => {
    for (const [major, minor] of [
      [0, 9],
      [2, 0],
      [1, 2],
      [3, 0],
    ] as const)
      expect(scanRequest(['host', 'a.test'], 'GET', major, minor).code).toBe('SPW_HTTP_VERSION');
  });

  it('never throws, and never lets a pseudo-field through', () => {
    const name = fc.oneof(
      fc.constantFrom(':method', ':path', ':authority', ':scheme', ':x', 'host', 'cookie', 'content-length'),
      fc.string(),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(name, fc.string())), fc.boolean(), (pairs, endStream) => {
        const { fields, method } = translateHead(pairs.flat(), endStream);
        expect(fields.length % 2).toBe(0);
        expect(fields.some((text, index) => index % 2 === 0 && text.startsWith(':'))).toBe(false);
        scanRequest(fields, method, STREAM_MAJOR, STREAM_MINOR);
      }),
    );
  });
});
