import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkHost, sameAuthority } from '../../src/forwarding/host.ts';
import { normalizeTarget } from '../../src/forwarding/target.ts';

/** A fixed seed, so that a red run can be run again. */
const RUNS = { numRuns: 10_000, seed: 20_251_121 };

/** Any octets, as node's parser hands them over. */
const latin1 = fc.string({
  unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)),
  maxLength: 60,
});
/** Mostly what attacks on paths are made of. */
const pathLike = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        '/',
        '//',
        '/.',
        '/..',
        '.',
        '..',
        ';',
        '%',
        '%2e',
        '%2E',
        '%2f',
        '%5c',
        '\\',
        '%25',
        '%00',
        '?',
        '#',
      ),
      fc.constantFrom(
        'a',
        'B',
        '~',
        '%41',
        '%7e',
        '%c0%ae',
        '%e2%82%ac',
        '%ff',
        '%zz',
        '%4',
        '..;',
        '.;',
        '%3b',
        'é',
        ' ',
      ),
      latin1,
    ),
    { maxLength: 12 },
  )
  .map((parts) => `/${parts.join('')}`);
const method = fc.constantFrom('GET', 'POST', 'OPTIONS', 'CONNECT', 'TRACE');
const anyTarget = fc.oneof(
  pathLike,
  latin1,
  pathLike.map((path) => `http://a${path}`),
  fc.constantFrom('*', 'http://a', ''),
);

function decodedSegments(path: string): string[] {
  return path.split('/').map((segment) => decodeURIComponent(segment));
}

describe('a target', () => {
  it('never throws, and what passes is a path, an asterisk or a CONNECT', () => {
    fc.assert(
      fc.property(method, anyTarget, fc.boolean(), (verb, raw, pass) => {
        const target = normalizeTarget(verb, raw, pass);
        if (target.code !== '') {
          expect(target.path + target.query).toBe('');
        } else if (verb !== 'CONNECT') {
          expect(target.path === '*' || target.path.startsWith('/')).toBe(true);
          expect(target.query === '' || target.query.startsWith('?')).toBe(true);
        }
      }),
      RUNS,
    );
  });

  it('in normal form stays as it is', () => {
    fc.assert(
      fc.property(anyTarget, fc.boolean(), (raw, pass) => {
        const once = normalizeTarget('GET', raw, pass);
        fc.pre(once.code === '');
        const twice = normalizeTarget('GET', once.path + once.query, pass);
        expect(twice).toMatchObject({ code: '', path: once.path, query: once.query });
      }),
      RUNS,
    );
  });

  it('leaves no reader anything to resolve: no dots, no empty segment, no byte that is none of a URI', () => {
    fc.assert(
      fc.property(pathLike, (raw) => {
        const { code, path, query } = normalizeTarget('GET', raw);
        fc.pre(code === '');
        expect(path).toMatch(/^\/[\u0021-\u007e]*$/);
        expect(path).not.toMatch(/\/\/|[?#\\]|%(?![0-9A-F]{2})/);
        for (const segment of decodedSegments(path)) {
          expect(segment === '.' || segment === '..').toBe(false);
          expect(/^\.\.?;|[/\\]/.test(segment) || segment.includes('\0')).toBe(false);
        }
        expect(query).toMatch(/^(\?[\u0021-\u0022\u0024-\u007e]*)?$/);
        expect(query === '' ? raw.includes('?') : !raw.endsWith(query)).toBe(false);
      }),
      RUNS,
    );
  });

  it('hides no dot segment behind an encoded slash', () => {
    fc.assert(
      fc.property(pathLike, (raw) => {
        const { code, path } = normalizeTarget('GET', raw, true);
        fc.pre(code === '');
        for (const segment of path
          .replaceAll('%2F', '/')
          .split('/')
          .map((each) => decodeURIComponent(each))) {
          expect(segment === '.' || segment === '..').toBe(false);
        }
      }),
      RUNS,
    );
  });
});

const hostLike = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        'a',
        'Example',
        '.',
        '..',
        ':',
        ':80',
        '[',
        ']',
        '::',
        '1',
        '255',
        '256',
        '0x',
        '.0X1',
        '@',
        ',',
        '/',
        ' ',
        '%',
        '-',
        '_',
      ),
      latin1,
    ),
    { maxLength: 8 },
  )
  .map((parts) => parts.join(''));

describe('a Host', () => {
  it('never throws; what passes is lower case, has no delimiter and is read the same again', () => {
    fc.assert(
      fc.property(hostLike, (value) => {
        const { ok, host, port } = checkHost(value);
        if (!ok) {
          expect(host).toBe('');
          return;
        }
        expect(host).toBe(host.toLowerCase());
        expect(host).toMatch(/^([a-z0-9._-]+|\[[0-9a-f:.]+\])$/);
        expect(port >= -1 && port <= 65_535).toBe(true);
        expect(checkHost(port < 0 ? host : `${host}:${port}`)).toEqual({ ok, host, port });
        expect(sameAuthority(value, value.toUpperCase(), 'http')).toBe(true);
      }),
      RUNS,
    );
  });

  it('is what the URL standard reads too', () => {
    fc.assert(
      fc.property(hostLike, (value) => {
        const { ok, host, port } = checkHost(value);
        fc.pre(ok && !host.includes('_') && port !== 80);
        // The URL standard writes IPv6 in its shortest form; both must at least be taken and have the same port.
        const url = URL.parse(
          `http://${host.startsWith('[') ? host : `${host}.`}${port < 0 ? '' : `:${port}`}/`,
        );
        fc.pre(url !== null);
        if (!host.startsWith('[')) expect(url.hostname.replace(/\.$/, '')).toBe(host);
        expect(url.port).toBe(port < 0 ? '' : String(port));
      }),
      RUNS,
    );
  });
});
