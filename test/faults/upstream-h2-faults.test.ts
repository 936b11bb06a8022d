/**
 * Instances that end streams and connections of HTTP/2, or do not speak it (forwarding.md §8 U05–U15 as they look there, U43).
 */
import { createServer, type Socket } from 'node:net';

import { describe, expect, it } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { reset, startH2Origin } from '../harness/h2-origin.ts';
import type { SeenStream } from '../harness/h2-origin.ts';
import { eventually, listenBelow } from '../harness/ports.ts';
import { startEcho } from '../harness/origin.ts';
import { ask, begin, bodyOf, expectProblem, serviceOf, untilIdle } from '../integration/path-fixture.ts';

async function gatewayFor(urls: readonly string[], more = ''): Promise<Gateway> {
  return await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
services:
  shop:
    instances: [${urls.map((url) => `'${url}'`).join(', ')}]
    protocol: h2
    timeout: { connect: 500ms, request: 1500ms }
    breaker: { consecutive: 1000, minRequests: 100000 }
    outlier: { consecutiveFailures: 1000, minRequests: 100000 }
    ${more}
routes: [{ path: /, service: shop }]
shedding: { mode: off }
`);
}

function fine({ stream }: SeenStream): void {
  stream.resume();
  stream.on('end', () => {
    stream.respond({ ':status': 200 });
    stream.end('fine');
  });
}

const METHODS = ['GET', 'POST', 'DELETE', 'PATCH'];

describe('U43: what an instance has not begun goes once elsewhere, with any method', () => {
  it.each(METHODS)('REFUSED_STREAM for %s', async (method) => {
    await using refusing = await startH2Origin(({ stream }) => reset(stream, 7));
    await using other = await startH2Origin(fine);
    await using gateway = await gatewayFor([refusing.url, other.url]);
    const body = method === 'GET' || method === 'DELETE' ? {} : { body: 'x'.repeat(20_000) };
    let asked = 0;
    // Until it has met the instance that refuses.
    while (refusing.seen.length === 0) {
      const answer = await ask(gateway.port, { method, ...body });
      expect([answer.status, answer.body.toString()]).toEqual([200, 'fine']);
      asked++;
    }
    expect(other.seen.length).toBe(asked);
    await untilIdle(gateway, 'shop');
  });

  it('a body that was on its way is sent again whole', async () => {
    const bodies: string[] = [];
    await using refusing = await startH2Origin(({ stream }) => stream.once('data', () => reset(stream, 7)));
    await using other = await startH2Origin(({ stream }) => {
      let text = '';
      stream.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
      stream.on('end', () => {
        bodies.push(text);
        stream.respond({ ':status': 200 }, { endStream: true });
      });
    });
    await using gateway = await gatewayFor([refusing.url, other.url]);
    const body = `<${'b'.repeat(30_000)}>`;
    while (refusing.seen.length === 0) {
      expect((await ask(gateway.port, { method: 'POST', body })).status).toBe(200);
    }
    expect(new Set(bodies)).toEqual(new Set([body]));
  });

  it('all refuse: two attempts, then 502', async () => {
    const refuse = ({ stream }: SeenStream): void => reset(stream, 7);
    await using one = await startH2Origin(refuse);
    await using two = await startH2Origin(refuse);
    await using gateway = await gatewayFor([one.url, two.url]);
    expectProblem(await ask(gateway.port, { method: 'POST', body: 'x' }), 502, 'SPW_UPSTREAM_RESET');
    expect(one.seen.length + two.seen.length).toBe(2);
  });

  it('a connection that says GOAWAY finishes what it has; the next request has a new one, and nobody notices', async () => {
    const held: SeenStream[] = [];
    await using origin = await startH2Origin((seen) => {
      if (seen.headers[':path'] === '/held') held.push(seen);
      else fine(seen);
    });
    await using gateway = await gatewayFor([origin.url]);
    const answer = ask(gateway.port, { path: '/held' });
    await eventually('it is there', () => held.length === 1);
    for (const session of origin.sessions) session.goaway(0);
    for (let index = 0; index < 3; index++) {
      expect((await ask(gateway.port, { method: 'POST', body: 'x' })).status).toBe(200);
    }
    expect(origin.sessions.size).toBe(2);
    held[0]?.stream.respond({ ':status': 200 });
    held[0]?.stream.end('late');
    expect((await answer).body.toString()).toBe('late');
  });

  it('and streams behind the last one it took are repeated by the only instance there is', async () => {
    await using origin = await startH2Origin((seen) => {
      // The second stream of the first connection: stream 1 is the last one it has begun, it says.
      if (origin.seen.length === 2) seen.stream.session?.goaway(0, 1);
      else fine(seen);
    });
    await using gateway = await gatewayFor([origin.url]);
    for (let index = 0; index < 2; index++) {
      const answer = await ask(gateway.port, { method: 'POST', body: 'once more' });
      expect(answer.status).toBe(200);
    }
    expect([origin.seen.length, origin.sessions.size]).toEqual([3, 2]);
  });
});

describe('a stream that ends too soon', () => {
  it.each([
    ['reset before an answer', 2, 'SPW_UPSTREAM_RESET'],
    ['reset as wrong', 1, 'SPW_UPSTREAM_PROTOCOL'],
    ['reset without a fault', 0, 'SPW_UPSTREAM_RESET'],
  ])('%s is 502', async (_name, code, wanted) => {
    await using origin = await startH2Origin(({ stream }) => reset(stream, code));
    await using gateway = await gatewayFor([origin.url]);
    expectProblem(await ask(gateway.port, { method: 'POST', body: 'x' }), 502, wanted);
    expect(origin.seen.length).toBe(1);
    await untilIdle(gateway, 'shop');
  });

  it.each([0, 2, 8])('in the middle of an answer, with %i, is a cut and no end', async (code) => {
    await using origin = await startH2Origin(({ stream }) => {
      stream.respond({ ':status': 200 });
      stream.write('half', () => reset(stream, code));
    });
    await using gateway = await gatewayFor([origin.url]);
    await expect(ask(gateway.port)).rejects.toThrow(/aborted|ECONNRESET|hang up/);
    await untilIdle(gateway, 'shop');
  });

  it.each([true, false])('is its own alone when a body is longer than it said, ended: %s', async (ends) => {
    const slow = Promise.withResolvers<SeenStream['stream']>();
    await using origin = await startH2Origin((seen) => {
      const { stream, headers } = seen;
      if (headers[':path'] === '/fine') return fine(seen);
      const isSlow = headers[':path'] === '/slow';
      stream.respond({ ':status': 200, ...(isSlow ? {} : { 'content-length': 4 }) });
      stream.write(isSlow ? 'one ' : 'more than it said');
      if (isSlow) slow.resolve(stream);
      else if (ends) stream.end();
    });
    await using gateway = await gatewayFor([origin.url]);
    const { sent, answered } = begin(gateway.port, { path: '/slow' });
    sent.end();
    const [{ message }, stream] = await Promise.all([answered, slow.promise]);
    await expect(ask(gateway.port, { path: '/longer' })).rejects.toThrow();
    stream.end('and two');
    expect((await bodyOf(message)).toString()).toBe('one and two');
    expect((await ask(gateway.port, { path: '/fine' })).body.toString()).toBe('fine');
    expect(origin.sessions.size).toBe(1);
    await untilIdle(gateway, 'shop');
  });

  it('and a whole connection that dies cuts what was on it, and answers the rest with 502', async () => {
    await using origin = await startH2Origin(({ stream, headers }) => {
      if (headers[':path'] !== '/half') return;
      stream.respond({ ':status': 200 });
      stream.write('half');
    });
    await using gateway = await gatewayFor([origin.url], 'retry: { max: 0 }');
    const { sent, answered } = begin(gateway.port, { path: '/half' });
    sent.end();
    const { message } = await answered;
    const silent = ask(gateway.port, { method: 'POST', body: 'x', path: '/silent' });
    await eventually('both are there', () => origin.seen.length === 2);
    const body = bodyOf(message);
    for (const session of origin.sessions) session.socket.destroy();
    await expect(body).rejects.toThrow();
    expectProblem(await silent, 502, 'SPW_UPSTREAM_RESET');
  });

  it('an upload that its caller breaks off never looks whole to the instance', async () => {
    let whole = 0;
    await using origin = await startH2Origin(({ stream }) => {
      stream.resume();
      stream.on('end', () => {
        if (!stream.closed) whole++;
      });
    });
    await using gateway = await gatewayFor([origin.url]);
    const { sent } = begin(gateway.port, {
      method: 'POST',
      chunked: true,
      headers: { 'transfer-encoding': 'chunked' },
    });
    sent.write('half');
    await eventually('it is there', () => origin.seen.length === 1);
    const stream = origin.seen[0]?.stream;
    sent.destroy();
    await eventually('the stream is closed', () => stream?.closed === true);
    expect([stream?.rstCode, whole]).toEqual([8, 0]);
  });

  it('silence is 504 at the deadline, and the stream is given back', async () => {
    await using origin = await startH2Origin(() => undefined);
    await using gateway = await gatewayFor([origin.url]);
    expectProblem(await ask(gateway.port, { method: 'POST', body: 'x' }), 504, 'SPW_UPSTREAM_TIMEOUT');
    const stream = origin.seen[0]?.stream;
    await eventually('the stream is closed', () => stream?.closed === true);
    expect(stream?.rstCode).toBe(8);
  });
});

describe('who does not speak HTTP/2', () => {
  it('is a failed connect, and is told so where readiness is', async () => {
    await using origin = await startEcho();
    await using gateway = await gatewayFor([origin.url]);
    const refused = await ask(gateway.port, { method: 'POST', body: 'x' });
    const { requestId } = expectProblem(refused, 502, 'SPW_CONNECT_FAILED');
    const { body } = await gateway.admin(`/v1/explain/${requestId}`);
    expect(JSON.stringify(body)).toContain('speaks no HTTP/2');
    await using probed = await gatewayFor([origin.url], 'readiness: { path: /ready }');
    const { instances } = await serviceOf(probed, 'shop');
    await eventually(
      'it is down',
      async () => (await serviceOf(probed, 'shop')).instances[0]?.state === 'down',
    );
    expect((await serviceOf(probed, 'shop')).instances[0]?.reason).toContain('speaks no HTTP/2');
    expect(instances).toHaveLength(1);
    expect(origin.requests).toEqual([]);
  });

  it('and says nothing at all is a connect that takes too long', async () => {
    const sockets = new Set<Socket>();
    const server = createServer((socket) => sockets.add(socket));
    const port = await listenBelow(server);
    try {
      await using gateway = await gatewayFor([`http://127.0.0.1:${port}`], 'retry: { max: 0 }');
      expectProblem(await ask(gateway.port, { method: 'POST', body: 'x' }), 504, 'SPW_UPSTREAM_TIMEOUT');
    } finally {
      for (const socket of sockets) socket.destroy();
      server.close();
    }
  });
});
