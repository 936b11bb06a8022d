import { describe, expect, it } from 'vitest';

import {
  grpcContentType,
  grpcMessage,
  grpcRefusalFields,
  grpcStatusOf,
} from '../../../src/forwarding/grpc-status.ts';
import { ERRORS } from '../../../src/kernel/errors.ts';

describe('a refusal in the words of gRPC', () => {
  it.each([
    [429, 8],
    [502, 14],
    [503, 14],
    [504, 4],
    [401, 16],
    [404, 12],
    [405, 12],
    [400, 13],
    [403, 13],
    [413, 13],
    [421, 13],
    [500, 13],
  ])('%i is status %i', (status, code) => {
    expect(grpcStatusOf(status)).toBe(code);
  });

  it('has a status for every row of the error table', () => {
    for (const { status } of Object.values(ERRORS))
      expect([4, 8, 12, 13, 14, 16]).toContain(grpcStatusOf(status));
  });

  it('names the caller\u2019s kind of gRPC, and nothing else he sent', () => {
    expect(grpcContentType('application/grpc')).toBe('application/grpc');
    expect(grpcContentType('application/grpc+proto')).toBe('application/grpc+proto');
    expect(grpcContentType('application/grpc-web+json; charset=x')).toBe('application/grpc-web+json');
    expect(grpcContentType(`application/grpc${'x'.repeat(100)}`)).toBe('application/grpc');
    expect(grpcContentType('application/grpc,text/html')).toBe('application/grpc');
  });

  it('has a message of printable ASCII', () => {
    expect(grpcMessage('100 % of caf\u00e9\n')).toBe('100 %25 of caf%C3%A9%0A');
    expect(grpcMessage('\ud800')).toBe('%EF%BF%BD');
  });

  it('asks to wait where Retry-After would, in milliseconds', () => {
    const refusal = { contentType: 'application/grpc', httpStatus: 429, message: 'm', requestId: 'r' };
    expect(grpcRefusalFields({ ...refusal, retryAfterS: 3 })).toEqual([
      'content-type',
      'application/grpc',
      'grpc-status',
      '8',
      'grpc-message',
      'm',
      'cache-control',
      'no-store',
      'x-request-id',
      'r',
      'grpc-retry-pushback-ms',
      '3000',
    ]);
    expect(grpcRefusalFields({ ...refusal, retryAfterS: 0 })).not.toContain('grpc-retry-pushback-ms');
  });
});
