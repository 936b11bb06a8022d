import { describe, expect, it } from 'vitest';
import { checkHost, sameAuthority } from '../../../src/forwarding/host.ts';

describe('Host', () => {
  it.each([
    ['a.example', 'a.example', -1],
    ['A.Example:8080', 'a.example', 8080],
    ['a.example.', 'a.example', -1],
    ['my_service', 'my_service', -1],
    ['1a.2b', '1a.2b', -1],
    ['0xg', '0xg', -1],
    ['1.example.:80', '1.example', 80],
    ['1.2.3.4.', '1.2.3.4', -1],
    ['127.0.0.1:0', '127.0.0.1', 0],
    ['[::1]', '[::1]', -1],
    ['[2001:DB8::1]:443', '[2001:db8::1]', 443],
    ['[::ffff:1.2.3.4]', '[::ffff:1.2.3.4]', -1],
    ['[1:2:3:4:5:6:7:8]', '[1:2:3:4:5:6:7:8]', -1],
    ['a:65535', 'a', 65_535],
  ])('%s is taken', (value, host, port) => {
    expect(checkHost(value)).toEqual({ ok: true, host, port });
  });

  it.each([
    '',
    ' ',
    'u@a',
    'a b',
    'a, b',
    'a:99999',
    'a:',
    'a:-1',
    'a:8 0',
    'a:+80',
    'a:123456',
    ':80',
    'a/b',
    'a?b',
    'a#b',
    'a\\b',
    'a..b',
    '.a',
    '.',
    '1.2.3',
    '1.2.3.4.5',
    '1.2.3.256',
    '01.2.3.4',
    '123',
    '0x7f.1',
    '0X7F000001',
    '0x',
    'a.1',
    'a.0x1.:80',
    '[]',
    '[::1',
    '::1',
    '[::1]x',
    '[::1]:',
    '[::1%eth0]',
    '[1:2:3:4:5:6:7]',
    '[1:2:3:4:5:6:7:8:9]',
    '[1::2::3]',
    '[12345::]',
    '[1:2:3:4:5:6:7::8]',
    'é',
    'a%2eb',
    'a\u0000',
    'a'.repeat(254),
  ])('%j is refused', (value) => {
    expect(checkHost(value)).toEqual({ ok: false, host: '', port: -1 });
  });

  it('hands a plain value on without a copy', () => {
    const value = 'a.example';
    expect(checkHost(value).host).toBe(value);
  });
});

describe('two authorities', () => {
  it('are the same when only case, final dot or the usual port differ', () => {
    expect(sameAuthority('A.example', 'a.example:80', 'http')).toBe(true);
    expect(sameAuthority('a.example:443', 'a.example.', 'https')).toBe(true);
  });

  it('differ in name or port', () => {
    expect(sameAuthority('a', 'b', 'http')).toBe(false);
    expect(sameAuthority('a:443', 'a', 'http')).toBe(false);
    expect(sameAuthority('a:1', 'a:2', 'http')).toBe(false);
    expect(sameAuthority('a@b', 'a', 'http')).toBe(false);
  });
});
