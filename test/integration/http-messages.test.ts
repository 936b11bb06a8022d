import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import net from 'node:net';
import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { httpMessages } from '../../src/io/http-messages.ts';

/** 2026-11-21 12:00:00 UTC. */
const NOON_MS = Date.UTC(2026, 10, 21, 12);

type Answer = (req: IncomingMessage, res: ServerResponse) => void;

/** The bytes that a server with our messages, or node's, sends for the requests. */
async function bytesOf(ours: boolean, requests: string, answer: Answer): Promise<string> {
  const options = ours ? httpMessages(() => NOON_MS) : {};
  const server = http.createServer(
    { ...options, keepAliveTimeout: 65_000, requireHostHeader: false },
    answer,
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  const socket = net.connect(port, '127.0.0.1');
  socket.end(requests, 'latin1');
  let received = '';
  socket.setEncoding('latin1');
  socket.on('data', (text: string) => {
    received += text;
  });
  await once(socket, 'close');
  server.close();
  return received;
}

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
const DATE = ['date', 'Sat, 21 Nov 2026 12:00:00 GMT'];

const HEADS: readonly (readonly [name: string, requests: string, answer: Answer])[] = [
  [
    'a small answer',
    GET,
    (_req, res) => res.writeHead(200, ['content-length', '2', ...DATE]).end('ok', 'latin1'),
  ],
  [
    'one that closes',
    GET,
    (_req, res) => res.writeHead(503, ['Content-Length', '0', ...DATE, 'connection', 'close']).end(),
  ],
  ['no length', GET, (_req, res) => res.writeHead(200, ['x-a', 'b', ...DATE]).end('ok')],
  ['a 304 with its length', GET, (_req, res) => res.writeHead(304, ['content-length', '9', ...DATE]).end()],
  ['a 204', GET, (_req, res) => res.writeHead(204, DATE).end()],
  [
    'HEAD',
    'HEAD / HTTP/1.1\r\nHost: a\r\n\r\n',
    (_req, res) => res.writeHead(200, ['content-length', '9', ...DATE]).end(),
  ],
  [
    'HTTP/1.0',
    'GET / HTTP/1.0\r\n\r\n',
    (_req, res) => res.writeHead(200, ['content-length', '2', ...DATE]).end('ok'),
  ],
  [
    'a caller who closes',
    'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
    (_req, res) => res.writeHead(200, ['content-length', '2', ...DATE]).end('ok'),
  ],
  [
    'trailers',
    GET,
    (_req, res) => {
      res.writeHead(200, ['trailer', 'x-sum', ...DATE]);
      res.addTrailers([['x-sum', '1']]);
      res.end('ok');
    },
  ],
  [
    'octets above 127',
    GET,
    (_req, res) =>
      res.writeHead(200, ['x-a', '\u00e4\u00ff', 'content-length', '1', ...DATE]).end('\u00ff', 'latin1'),
  ],
  ['an unusual status', GET, (_req, res) => res.writeHead(299, ['content-length', '0', ...DATE]).end()],
  [
    'two in a row',
    GET + GET,
    (_req, res) => res.writeHead(200, ['content-length', '2', ...DATE]).end('ok', 'latin1'),
  ],
  [
    'a large body in pieces',
    GET,
    (_req, res) => {
      res.writeHead(200, ['content-length', '200000', ...DATE]);
      res.write(Buffer.alloc(100_000, 'a'));
      res.end(Buffer.alloc(100_000, 'b'));
    },
  ],
  [
    'an object of fields',
    GET,
    (_req, res) => res.writeHead(200, { 'content-length': 2, date: DATE[1] }).end('ok'),
  ],
];

describe('heads that are joined here', () => {
  it.each(HEADS)('are the bytes that node would send: %s', async (_name, requests, answer) => {
    const [ours, nodes] = await Promise.all([
      bytesOf(true, requests, answer),
      bytesOf(false, requests, answer),
    ]);
    expect(ours).toBe(nodes);
    expect(ours).toMatch(/^HTTP\/1\.1 \d{3} /);
  });

  it('have the date of their second where the answer has none', async () => {
    const answer: Answer = (_req, res) => res.writeHead(200, ['content-length', '0']).end();
    expect(await bytesOf(true, GET, answer)).toContain('\r\nDate: Sat, 21 Nov 2026 12:00:00 GMT\r\n');
  });

  it('are told as sent from the moment they are given', async () => {
    let sent = [false, false];
    await bytesOf(true, GET, (_req, res) => {
      const before = res.headersSent;
      res.writeHead(200, ['content-length', '0']);
      sent = [before, res.headersSent];
      res.end();
    });
    expect(sent).toEqual([false, true]);
  });
});

describe('the object of a request’s fields', () => {
  it('holds what node and the router ask for, and nothing else', async () => {
    let headers: unknown;
    const request =
      'POST / HTTP/1.1\r\nHost: a\r\nCONTENT-TYPE: text/plain\r\nContent-Length: 2\r\nAccept: */*\r\nX-Upgrade: b\r\n\r\nok';
    await bytesOf(true, request, (req, res) => {
      headers = req.headers;
      res.end();
    });
    expect(headers).toEqual({ 'content-type': 'text/plain', 'content-length': '2' });
  });

  it('lets node see an expectation', async () => {
    const request = 'POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n';
    expect(await bytesOf(true, request, (_req, res) => res.end())).toContain('HTTP/1.1 100 Continue');
  });
});
