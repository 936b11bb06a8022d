import { Buffer } from 'node:buffer';
import { describe, expect, test } from 'vitest';
import { crc32c, familyOf, LONGEST_HEADER, readProxyHeader } from '../../../src/clients/proxy-header.ts';

const line = (text: string): Buffer => Buffer.from(`${text}\r\n`, 'latin1');
const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');

/** A block of version 2; its length is that of `rest` unless told. */
function block(command: number, family: number, rest: Buffer, length = rest.length): Buffer {
  return Buffer.concat([SIGNATURE, Buffer.from([command, family, length >> 8, length & 255]), rest]);
}

const V4 = Buffer.from([9, 8, 7, 6, 1, 1, 1, 1, 0x30, 0x39, 0, 80]);
const V6 = Buffer.concat([
  Buffer.from('20010db8000000000000000000000007', 'hex'),
  Buffer.alloc(16, 1),
  Buffer.from([0, 1, 0, 2]),
]);

function field(type: number, value: Buffer): Buffer {
  return Buffer.concat([Buffer.from([type, value.length >> 8, value.length & 255]), value]);
}

/** A block with a checksum field that is right. */
function checked(rest: Buffer): Buffer {
  const bytes = block(0x21, 0x11, Buffer.concat([rest, field(3, Buffer.alloc(4))]));
  const at = bytes.length - 4;
  bytes.writeUInt32BE(crc32c(bytes, bytes.length, at), at);
  return bytes;
}

const kept = (length: number) => ({ kind: 'header', length, address: '', port: 0 });

describe('a line of version 1', () => {
  test.each([
    ['PROXY TCP4 9.8.7.6 1.1.1.1 12345 80', '9.8.7.6', 12_345],
    ['PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535', '255.255.255.255', 65_535],
    ['PROXY TCP6 2001:DB8:0:0:0:0:0:7 ::1 0 443', '2001:db8::7', 0],
    ['PROXY TCP6 ::ffff:9.8.7.6 ::1 1 2', '9.8.7.6', 1],
  ])('%s names the peer', (text, address, port) => {
    const bytes = Buffer.concat([line(text), Buffer.from('GET / HTTP/1.1\r\n')]);
    expect(readProxyHeader(bytes)).toEqual({ kind: 'header', length: text.length + 2, address, port });
  });

  test.each(['PROXY UNKNOWN', 'PROXY UNKNOWN ffff::1 what ever 1 2 3'])(
    '%s keeps the address of the socket, whatever follows the word',
    (text) => {
      expect(readProxyHeader(line(text))).toEqual(kept(text.length + 2));
    },
  );

  test('the longest line of the protocol has 107 octets', () => {
    const longest = `PROXY UNKNOWN ${'f'.repeat(91)}`;
    expect(readProxyHeader(line(longest))).toEqual(kept(107));
    expect(readProxyHeader(line(`${longest}f`)).kind).toBe('bad');
    // Nobody waits for the end of a line that is too long already.
    expect(readProxyHeader(Buffer.from(`PROXY ${'f'.repeat(101)}`)).kind).toBe('bad');
  });

  test.each([
    'PROXY',
    'PROXY ',
    'PROXY  TCP4 9.8.7.6 1.1.1.1 1 2',
    'PROXY TCP4  9.8.7.6 1.1.1.1 1 2',
    'PROXY TCP4 9.8.7.6 1.1.1.1 1 2 ',
    'PROXY TCP4 9.8.7.6 1.1.1.1 1 2 3',
    'PROXY TCP4 9.8.7.6 1.1.1.1 1',
    'PROXY TCP4 9.8.7.06 1.1.1.1 1 2',
    'PROXY TCP4 9.8.7.256 1.1.1.1 1 2',
    'PROXY TCP4 9.8.7 1.1.1.1 1 2',
    'PROXY TCP4 ::1 ::2 1 2',
    'PROXY TCP6 9.8.7.6 1.1.1.1 1 2',
    'PROXY TCP6 fe80::1%eth0 ::1 1 2',
    'PROXY TCP6 [::1] ::1 1 2',
    'PROXY TCP4 9.8.7.6 1.1.1 1 2',
    'PROXY TCP4 9.8.7.6 1.1.1.1 65536 2',
    'PROXY TCP4 9.8.7.6 1.1.1.1 01 2',
    'PROXY TCP4 9.8.7.6 1.1.1.1 -1 2',
    'PROXY TCP4 9.8.7.6 1.1.1.1 1 +2',
    'PROXY TCP4 9.8.7.6 1.1.1.1 1 ',
    'PROXY UDP4 9.8.7.6 1.1.1.1 1 2',
    'PROXY tcp4 9.8.7.6 1.1.1.1 1 2',
    'PROXY TCP4\t9.8.7.6 1.1.1.1 1 2',
    'PROXY TCP4 9.8.7.6 1.1.1.1 1 2\0',
    'proxy TCP4 9.8.7.6 1.1.1.1 1 2',
    'GET / HTTP/1.1',
    '\x16\x03\x01',
  ])('%j is bad', (text) => {
    expect(readProxyHeader(line(text)).kind).toBe('bad');
  });

  test('ends in CR and LF, no more and no less', () => {
    const text = 'PROXY TCP4 9.8.7.6 1.1.1.1 1 2';
    expect(readProxyHeader(Buffer.from(`${text}\n`)).kind).toBe('bad');
    expect(readProxyHeader(Buffer.from(`${text}\rGET`)).kind).toBe('bad');
    expect(readProxyHeader(Buffer.from(`${text}\r`)).kind).toBe('more');
  });
});

describe('a block of version 2', () => {
  test('names the peer of a stream over IPv4 or IPv6', () => {
    expect(readProxyHeader(block(0x21, 0x11, V4))).toEqual({
      kind: 'header',
      length: 28,
      address: '9.8.7.6',
      port: 12_345,
    });
    expect(readProxyHeader(block(0x21, 0x21, V6))).toMatchObject({ address: '2001:db8::7', port: 1 });
  });

  test('LOCAL keeps the address of the socket, whatever the block holds', () => {
    expect(readProxyHeader(block(0x20, 0x00, Buffer.alloc(0)))).toEqual(kept(16));
    expect(readProxyHeader(block(0x20, 0x11, V4))).toEqual(kept(28));
    expect(readProxyHeader(block(0x20, 0x21, Buffer.from([1, 2, 3])))).toEqual(kept(19));
  });

  test('a peer that is no IP stream keeps the address of the socket', () => {
    expect(readProxyHeader(block(0x21, 0x00, Buffer.alloc(0)))).toEqual(kept(16));
    expect(readProxyHeader(block(0x21, 0x12, V4))).toEqual(kept(28));
    expect(readProxyHeader(block(0x21, 0x31, Buffer.alloc(216, 47)))).toEqual(kept(232));
  });

  test('fields behind the addresses are walked and passed over', () => {
    const rest = Buffer.concat([V4, field(1, Buffer.from('h2')), field(4, Buffer.alloc(0))]);
    expect(readProxyHeader(block(0x21, 0x11, rest))).toMatchObject({ length: 36, address: '9.8.7.6' });
  });

  test('a checksum must be right where there is one', () => {
    expect(crc32c(Buffer.from('123456789'), 9, 9)).toBe(0xe3069283);
    const good = checked(Buffer.concat([V4, field(1, Buffer.from('h2'))]));
    expect(readProxyHeader(good)).toMatchObject({ address: '9.8.7.6' });
    for (const index of [16, 30, good.length - 1]) {
      const broken = Buffer.from(good);
      broken[index] = (broken[index] ?? 0) ^ 1;
      expect(readProxyHeader(broken).kind, `octet ${index}`).toBe('bad');
    }
    expect(readProxyHeader(block(0x21, 0x11, Buffer.concat([V4, field(3, Buffer.alloc(3))]))).kind).toBe(
      'bad',
    );
  });

  test.each([
    ['version 1 in the block', block(0x11, 0x11, V4)],
    ['an unknown command', block(0x22, 0x11, V4)],
    ['an unknown family', block(0x21, 0x41, V4)],
    ['an unknown transport', block(0x21, 0x13, V4)],
    ['too short for IPv4', block(0x21, 0x11, V4.subarray(0, 11))],
    ['too short for IPv6', block(0x21, 0x21, V4)],
    ['too short for a Unix address', block(0x21, 0x31, Buffer.alloc(215))],
    ['a field without its length', block(0x21, 0x11, Buffer.concat([V4, Buffer.from([1, 0])]))],
    ['a field longer than the block', block(0x21, 0x11, Buffer.concat([V4, Buffer.from([1, 0, 2, 0])]))],
    ['longer than 536 octets', block(0x21, 0x11, V4, 521)],
    ['a signature with one octet wrong', Buffer.from('0d0a0d0a000d0a515549540b21110000', 'hex')],
  ])('%s is bad', (_, bytes) => {
    expect(readProxyHeader(bytes).kind).toBe('bad');
  });

  test('the longest block has 536 octets', () => {
    const rest = Buffer.concat([V4, field(4, Buffer.alloc(520 - 12 - 3))]);
    expect(readProxyHeader(block(0x21, 0x11, rest))).toMatchObject({ length: LONGEST_HEADER });
  });

  test('what cannot become a header any more is bad at the octet that shows it', () => {
    expect(readProxyHeader(block(0x22, 0, Buffer.alloc(0)).subarray(0, 13)).kind).toBe('bad');
    expect(readProxyHeader(block(0x21, 0x41, Buffer.alloc(0)).subarray(0, 14)).kind).toBe('bad');
    expect(readProxyHeader(Buffer.concat([SIGNATURE, Buffer.from([0x21, 0x11, 3])])).kind).toBe('bad');
    expect(readProxyHeader(block(0x21, 0x21, Buffer.alloc(0), 12)).kind).toBe('bad');
  });
});

test('the family of a named address is told as sockets tell theirs', () => {
  expect([familyOf('9.8.7.6'), familyOf('2001:db8::7')]).toEqual(['IPv4', 'IPv6']);
});
