import type { RequestAdditions } from '../../../src/forwarding/request-headers.ts';

/** What the gateway adds to a request of a stranger at 192.0.2.7 over plain HTTP. */
export function additionsOf(changes: Partial<RequestAdditions> = {}): RequestAdditions {
  return {
    requestId: 'req-00000001',
    peerAddress: '192.0.2.7',
    peerTrusted: false,
    clientAddress: '192.0.2.7',
    proto: 'http',
    viaName: 'gw',
    client: 'acme',
    tier: 'gold',
    remainingMs: 9_999.7,
    attempt: 1,
    traceparent: '',
    cookie: undefined,
    fallbackHost: '127.0.0.1:9001',
    instanceHost: '',
    ...changes,
  };
}

/** Name and values of a flat list, names in lower case, in order. */
export function fieldsOf(list: readonly string[]): Map<string, string[]> {
  const fields = new Map<string, string[]>();
  for (let index = 0; index < list.length; index += 2) {
    const name = (list[index] ?? '').toLowerCase();
    fields.set(name, [...(fields.get(name) ?? []), list[index + 1] ?? '']);
  }
  return fields;
}
