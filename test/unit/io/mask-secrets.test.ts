/** What an operator may see of a configuration: everything but what would let him be somebody else. */
import { describe, expect, test } from 'vitest';
import { maskSecrets } from '../../../src/io/mask-secrets.ts';

describe('a secret', () => {
  test.each(['token', 'secret', 'keySecret', 'key', 'password'])(
    'under `%s` is masked at any depth',
    (name) => {
      expect(maskSecrets({ a: [{ b: { [name]: 'hidden', kept: 'shown' } }] })).toEqual({
        a: [{ b: { [name]: '***', kept: 'shown' } }],
      });
    },
  );

  test('that is empty is shown as empty, so that its absence can be seen', () => {
    expect(maskSecrets({ admin: { token: '' } })).toEqual({ admin: { token: '' } });
  });

  test('in a list under its name is masked too', () => {
    expect(
      maskSecrets({
        keys: [
          { key: 'k-1', client: 'a' },
          { key: 'k-2', client: 'b' },
        ],
      }),
    ).toEqual({
      keys: [
        { key: '***', client: 'a' },
        { key: '***', client: 'b' },
      ],
    });
  });

  test('that is a PEM text is masked whatever its name', () => {
    const pem = '-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----';
    expect(maskSecrets({ certificate: pem })).toEqual({ certificate: '***' });
  });
});

test('what a route sets for instances may be a credential: names are shown, values are not', () => {
  const route = { path: '/', headers: { request: { set: { authorization: 'Basic abc' }, remove: ['x-a'] } } };
  expect(maskSecrets({ routes: [route] })).toEqual({
    routes: [{ path: '/', headers: { request: { set: { authorization: '***' }, remove: ['x-a'] } } }],
  });
});

test('of a page that was read its path is shown, as of every file', () => {
  expect(maskSecrets({ errorPage: { path: '/etc/page.html', text: '<p>long</p>' } })).toEqual({
    errorPage: '/etc/page.html',
  });
  expect(maskSecrets({ errorPage: null })).toEqual({ errorPage: null });
});

describe('an address', () => {
  test.each([
    ['redis://user:pass@127.0.0.1:6379/2', 'redis://***@127.0.0.1:6379/2'],
    ['redis://:pass@cache.test', 'redis://***@cache.test'],
    ['rediss://cache.test:6380', 'rediss://cache.test:6380'],
    ['http://127.0.0.1:9001', 'http://127.0.0.1:9001'],
    ['not an address', 'not an address'],
    ['https://login.test/keys?tenant=a&code=s3cret', 'https://login.test/keys?***'],
    ['redis://cache.test:6379/2?password=s3cret', 'redis://cache.test:6379/2?***'],
  ])('%s is shown as %s', (url, shown) => {
    expect(maskSecrets({ redis: { url } })).toEqual({ redis: { url: shown } });
    expect(maskSecrets({ jwt: { jwksUrl: url } })).toEqual({ jwt: { jwksUrl: shown } });
  });

  test('with a password that needs escaping gives nothing of it away', () => {
    const shown = JSON.stringify(maskSecrets({ url: 'redis://us%40er:p%3Ass%2Fword@host:1' }));
    expect(shown).not.toMatch(/p%3Ass|word|us%40er/);
  });

  test('with a password as it was typed, not as a parser would write it, gives nothing away either', () => {
    const shown = JSON.stringify(maskSecrets({ url: 'redis://user:pä ss@host:1' }));
    expect(shown).not.toContain('ss@');
    expect(shown).not.toContain('pä');
  });
});

test('figures, flags, nothing and order stay as they are, and the original too', () => {
  const original = { z: 1, a: null, list: [true, 0.5, 'text'], token: 'x' };
  const shown = maskSecrets(original);
  expect(shown).toEqual({ z: 1, a: null, list: [true, 0.5, 'text'], token: '***' });
  expect(Object.keys(shown as object)).toEqual(['z', 'a', 'list', 'token']);
  expect(original.token).toBe('x');
});
