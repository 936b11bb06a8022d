import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { Socket } from 'node:net';
import { platform } from 'node:os';
import { expect, test } from 'vitest';
import { connectionKey, readQueues, sendQueues } from '../../../src/io/send-queues.ts';

test.each([
  ['127.0.0.1', 8080, '10.1.2.3', 50_000, '0100007F:1F90 0302010A:C350'],
  [
    '::ffff:127.0.0.1',
    80,
    '::ffff:192.0.2.1',
    1,
    '0000000000000000FFFF00000100007F:0050 0000000000000000FFFF0000010200C0:0001',
  ],
  [
    '2001:db8::1',
    443,
    'fe80::1%eth0',
    65_535,
    'B80D0120000000000000000001000000:01BB 000080FE000000000000000001000000:FFFF',
  ],
  [
    '::1',
    1,
    '1:2:3:4:5:6:7:8',
    2,
    '00000000000000000000000001000000:0001 02000100040003000600050008000700:0002',
  ],
])(
  'a connection from %s:%i to %s:%i is written as the kernel does',
  (localAddress, localPort, remoteAddress, remotePort, key) => {
    expect(connectionKey({ localAddress, localPort, remoteAddress, remotePort })).toBe(key);
  },
);

test.each([
  {},
  { localAddress: '1.2.3.4', localPort: 1 },
  { localAddress: 'x', localPort: 1, remoteAddress: 'y', remotePort: 2 },
])('what has no ends has no name: %j', (ends) => {
  expect(connectionKey(ends)).toBe('');
});

const TABLE = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:1F90 0302010A:C350 01 0018A080:00000010 04:00000532 00000000     0        0 2 2 0 20 4 30 10 -1
`;

test('the queue of a connection is read out of the table, and nobody else’s', () => {
  const key = '0100007F:1F90 0302010A:C350';
  expect(readQueues(TABLE, new Set([key, 'nobody']))).toEqual(new Map([[key, 0x18a080]]));
  expect(readQueues('', new Set([key]))).toEqual(new Map());
  expect(readQueues('garbage\nmore\n\n', new Set([key]))).toEqual(new Map());
});

test.runIf(platform() === 'linux')('the kernel tells what a reader has not taken', async () => {
  const taken = Promise.withResolvers<Socket>();
  const server = createServer((socket) => taken.resolve(socket));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = connect((server.address() as { port: number }).port, '127.0.0.1');
  client.pause();
  const socket = await taken.promise;
  const piece = Buffer.alloc(1024 * 1024);
  for (let count = 0; count < 16; count++) socket.write(piece);
  const key = connectionKey(socket);
  const queues = await sendQueues(new Set([key]));
  expect(queues?.get(key)).toBeGreaterThan(0);
  client.destroy();
  socket.destroy();
  server.close();
});
