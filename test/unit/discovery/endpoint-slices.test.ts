import { describe, expect, test } from 'vitest';

import { EndpointSlices } from '../../../src/discovery/endpoint-slices.ts';

interface Conditions {
  readonly ready?: boolean | null;
  readonly serving?: boolean | null;
  readonly terminating?: boolean | null;
}

function endpoint(host: number, conditions: Conditions | undefined = { ready: true }, uid = `pod-${host}`) {
  return { addresses: [`10.0.0.${host}`], conditions, targetRef: { kind: 'Pod', uid } };
}

function slice(name: string, endpoints: readonly unknown[], more: object = {}) {
  return {
    metadata: { name, resourceVersion: '7' },
    addressType: 'IPv4',
    ports: [{ name: 'http', protocol: 'TCP', port: 8080 }],
    endpoints,
    ...more,
  };
}

function listed(...slices: unknown[]): EndpointSlices {
  const known = new EndpointSlices({ scheme: 'http', port: undefined });
  known.replace(slices, '5');
  return known;
}

function urls(slices: EndpointSlices): string[] {
  return slices
    .instances()
    .map(({ url }) => url)
    .sort();
}

test('an endpoint is an instance with the name of its pod', () => {
  expect(listed(slice('a', [endpoint(1)])).instances()).toEqual([
    {
      uid: 'pod-1',
      url: 'http://10.0.0.1:8080',
      version: '',
      weight: 1,
      leaving: false,
      readyHint: 'ready',
    },
  ]);
});

test.each([
  ['nothing at all', undefined, false, 'ready'],
  ['no conditions', {}, false, 'ready'],
  ['ready: null', { ready: null }, false, 'ready'],
  ['ready: true', { ready: true }, false, 'ready'],
  ['ready: false', { ready: false }, false, 'notReady'],
  ['terminating and serving', { ready: false, serving: true, terminating: true }, true, 'ready'],
  ['terminating, no longer serving', { ready: false, serving: false, terminating: true }, true, 'notReady'],
  ['terminating, of before serving was told', { ready: false, terminating: true }, true, 'notReady'],
  ['terminating with nulls', { ready: null, serving: null, terminating: true }, true, 'ready'],
] as const)('%s', (_, conditions, leaving, readyHint) => {
  const bare = { addresses: ['10.0.0.1'] };
  const [found] = listed(slice('a', [conditions === undefined ? bare : endpoint(1, conditions)])).instances();
  expect(found).toMatchObject({ leaving, readyHint });
});

describe('several slices', () => {
  test('are one set, and an endpoint that stands in two is one instance', () => {
    const slices = listed(slice('a', [endpoint(1), endpoint(2)]), slice('b', [endpoint(2), endpoint(3)]));
    expect(urls(slices)).toEqual(['http://10.0.0.1:8080', 'http://10.0.0.2:8080', 'http://10.0.0.3:8080']);
  });

  test('of which one knows more of an end: that one counts, in either order', () => {
    const fresh = slice('a', [endpoint(1, { ready: false, serving: true, terminating: true })]);
    const stale = slice('b', [endpoint(1)]);
    for (const order of [
      [fresh, stale],
      [stale, fresh],
    ])
      expect(listed(...order).instances()).toMatchObject([{ leaving: true }]);
  });

  test('with two pods at one address have both, for the fleet to tell apart', () => {
    const slices = listed(slice('a', [endpoint(1, {}, 'old'), endpoint(1, {}, 'new')]));
    expect(slices.instances().map(({ uid }) => uid)).toEqual(['old', 'new']);
  });

  test('of both families name a pod once, by IPv4; IPv6 alone is as good', () => {
    const six = (uid: string) =>
      slice('six', [{ addresses: ['fd00::1'], conditions: {}, targetRef: { uid } }], { addressType: 'IPv6' });
    expect(urls(listed(slice('four', [endpoint(1)]), six('pod-1')))).toEqual(['http://10.0.0.1:8080']);
    expect(urls(listed(slice('four', [endpoint(1)]), six('pod-2')))).toHaveLength(2);
    expect(urls(listed(six('pod-1')))).toEqual(['http://[fd00::1]:8080']);
  });
});

describe('the port', () => {
  const two = [
    { name: 'http', port: 8080 },
    { name: 'metrics', protocol: 'TCP', port: 9100 },
    { name: 'dns', protocol: 'UDP', port: 53 },
  ];
  const from = (port: number | string | undefined, ports: unknown): string[] => {
    const known = new EndpointSlices({ scheme: 'https', port });
    known.replace([slice('a', [endpoint(1)], { ports })], '1');
    return urls(known);
  };

  test.each([
    ['by its name', 'metrics', two, ':9100'],
    ['by its number', 8080, two, ':8080'],
    ['the only one', undefined, [{ name: '', port: 8443 }], ':8443'],
    ['a number where the service names none', 8000, null, ':8000'],
    ['a number where the slice stands for all', 8000, [{ name: 'x', port: null }], ':8000'],
  ] as const)('is found %s', (_, port, ports, end) => {
    expect(from(port, ports)).toEqual([`https://10.0.0.1${end}`]);
  });

  test.each([
    ['of another name', 'https', two],
    ['of another number', 80, two],
    ['of several, unnamed', undefined, two],
    ['of none, unnamed', undefined, null],
    ['that is none', 'http', [{ name: 'http', port: 'eighty' }]],
  ] as const)('%s is a fault, and no empty set', (_, port, ports) => {
    expect(() => from(port, ports)).toThrow(/port/);
  });

  test('of a slice without endpoints does not matter', () => {
    expect(urls(listed(slice('a', [endpoint(1)]), slice('b', [], { ports: null })))).toHaveLength(1);
  });
});

describe('a watch', () => {
  test('changes slices one by one, and moves the version along', () => {
    const slices = listed(slice('a', [endpoint(1)]));
    expect(slices.version).toBe('5');
    const event = (type: string, object: unknown) => slices.apply({ type, object });
    expect(
      event('ADDED', slice('b', [endpoint(2)], { metadata: { name: 'b', resourceVersion: '8' } })),
    ).toEqual({
      kind: 'changed',
    });
    expect([urls(slices).length, slices.version]).toEqual([2, '8']);
    event(
      'MODIFIED',
      slice('b', [endpoint(2), endpoint(3)], { metadata: { name: 'b', resourceVersion: '9' } }),
    );
    expect(urls(slices)).toHaveLength(3);
    event('DELETED', slice('b', [], { metadata: { name: 'b', resourceVersion: '10' } }));
    expect([urls(slices).length, slices.version]).toEqual([1, '10']);
    expect(event('BOOKMARK', { metadata: { resourceVersion: '99' } })).toEqual({ kind: 'bookmark' });
    expect([urls(slices).length, slices.version]).toEqual([1, '99']);
  });

  test('whose version is too old says so, any other error is a fault', () => {
    const slices = listed(slice('a', [endpoint(1)]));
    expect(slices.apply({ type: 'ERROR', object: { code: 410 } })).toEqual({ kind: 'expired' });
    expect(slices.apply({ type: 'ERROR', object: { code: 500, message: 'etcd' } })).toMatchObject({
      kind: 'fault',
    });
  });

  test.each([
    null,
    5,
    [],
    {},
    { type: 'ADDED' },
    { type: 'ADDED', object: {} },
    { type: 'ADDED', object: { metadata: { name: 'a' } } },
    { type: 'WHAT', object: { metadata: { name: 'a', resourceVersion: '1' } } },
  ])('that tells %j is a fault and changes nothing', (event) => {
    const slices = listed(slice('a', [endpoint(1)]));
    expect(slices.apply(event).kind).toBe('fault');
    expect(urls(slices)).toHaveLength(1);
  });
});

test('what is not written as it should be is passed over', () => {
  const odd = [
    null,
    5,
    {},
    { addresses: [] },
    { addresses: ['a b'] },
    { addresses: 'x' },
    { addresses: [7] },
  ];
  expect(urls(listed(null, 5, slice('a', [...odd, endpoint(1)]), slice('b', 'x' as never)))).toHaveLength(1);
});
