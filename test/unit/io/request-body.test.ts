/**
 * Clauses of the reader between a client's body and an attempt: it takes nothing unasked, ends nothing that is not its
 * own, counts every byte, and leaves the body to the next attempt as long as it is whole.
 */
import { PassThrough, Readable } from 'node:stream';
import type { IncomingMessage } from 'node:http';
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { RequestBody } from '../../../src/io/request-body.ts';

/** A stream that stands for a request: what matters is reading, pausing and its end. */
function requestOf(stream: Readable): IncomingMessage {
  return stream as IncomingMessage;
}

function never(): void {
  throw new Error('called against expectation');
}

async function textOf(body: RequestBody): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

describe('a body', () => {
  test('passes whole, with its length and the moment of its end', async () => {
    const source = new PassThrough();
    const body = new RequestBody(requestOf(source), 0, never);
    const before = performance.now();
    source.write('one ');
    source.end('two');
    expect(await textOf(body)).toBe('one two');
    expect(body.bytes).toBe(7);
    expect(body.endedMs).toBeGreaterThanOrEqual(before);
  });

  test('that is empty ends at once', async () => {
    const source = new PassThrough();
    const body = new RequestBody(requestOf(source), 0, never);
    source.end();
    expect([await textOf(body), body.bytes]).toEqual(['', 0]);
  });

  test('that has ended before anybody asked ends as well', async () => {
    const source = new PassThrough();
    source.end();
    source.resume();
    await turn();
    expect(source.readableEnded).toBe(true);
    expect(await textOf(new RequestBody(requestOf(source), 0, never))).toBe('');
  });

  test('is not touched before it is read', async () => {
    const source = new PassThrough();
    source.write('here already');
    const body = new RequestBody(requestOf(source), 0, never);
    await turn();
    expect([body.bytes, source.readableFlowing, source.readableLength]).toEqual([0, null, 12]);
  });

  test('that nobody takes stays with its sender', async () => {
    let produced = 0;
    const source = new Readable({
      highWaterMark: 16 * 1024,
      read() {
        produced += 16 * 1024;
        this.push(Buffer.alloc(16 * 1024));
      },
    });
    const body = new RequestBody(requestOf(source), 0, never);
    body.read(0);
    for (let count = 0; count < 50; count++) await turn();
    expect(source.isPaused()).toBe(true);
    expect(produced).toBeLessThanOrEqual(160 * 1024);
    expect(body.bytes).toBeLessThanOrEqual(96 * 1024);
    // It goes on when somebody does.
    const before = body.bytes;
    body.read();
    for (let count = 0; count < 10; count++) await turn();
    expect(body.bytes).toBeGreaterThan(before);
    body.destroy();
  });
});

describe('the limit', () => {
  test('of exactly the body is none', async () => {
    const source = new PassThrough();
    const body = new RequestBody(requestOf(source), 8, never);
    source.write('1234');
    source.end('5678');
    expect(await textOf(body)).toBe('12345678');
  });

  test('passed by one byte is told once; nothing more is read, nothing past it is handed on', async () => {
    const source = new PassThrough();
    let told = 0;
    const body = new RequestBody(requestOf(source), 8, () => {
      told++;
    });
    const handedOn: string[] = [];
    body.on('data', (chunk: Buffer) => handedOn.push(chunk.toString()));
    source.write('12345678');
    await turn();
    source.write('9');
    await turn();
    source.write('and more');
    await turn();
    expect([told, handedOn]).toEqual([1, ['12345678']]);
    expect(source.isPaused()).toBe(true);
    expect(source.readableLength).toBeGreaterThan(0);
    expect(body.readableEnded).toBe(false);
  });
});

describe('an attempt that fails', () => {
  test('does not end the request: its own end destroys the reader alone', async () => {
    const source = new PassThrough();
    source.write('kept');
    const body = new RequestBody(requestOf(source), 0, never);
    body.on('error', () => undefined);
    body.destroy(new Error('connect ECONNREFUSED'));
    await turn();
    expect([source.destroyed, source.errored]).toEqual([false, null]);
  });

  test('before it read anything leaves the whole body to the next', async () => {
    const source = new PassThrough();
    source.write('whole ');
    const first = new RequestBody(requestOf(source), 0, never);
    first.destroy();
    await turn();
    expect(first.bytes).toBe(0);
    const second = new RequestBody(requestOf(source), 0, never);
    source.end('body');
    expect(await textOf(second)).toBe('whole body');
    expect([first.bytes, second.bytes]).toEqual([0, 10]);
  });

  test('in the middle leaves what it kept to the next, which goes on where it stopped', async () => {
    const source = new PassThrough();
    const first = new RequestBody(requestOf(source), 20, never);
    first.keep();
    first.resume();
    source.write('begun ');
    await turn();
    first.destroy();
    await turn();
    const second = new RequestBody(requestOf(source), 20, never);
    expect(first.repeatable).toBe(true);
    second.repeat(first);
    source.end('and done');
    expect([await textOf(second), second.bytes]).toEqual(['begun and done', 14]);
  });

  test('that was whole already is whole again', async () => {
    const source = new PassThrough();
    const first = new RequestBody(requestOf(source), 0, never);
    first.keep();
    source.end('all of it');
    expect(await textOf(first)).toBe('all of it');
    const second = new RequestBody(requestOf(source), 0, never);
    second.repeat(first);
    expect([await textOf(second), second.endedMs]).toEqual(['all of it', first.endedMs]);
  });

  test('keeps 64 KiB and no more, and nothing unasked', async () => {
    for (const [asked, length, repeatable] of [
      [true, 65_536, true],
      [true, 65_537, false],
      [false, 1, false],
      [false, 0, true],
    ] as const) {
      const source = new PassThrough();
      const body = new RequestBody(requestOf(source), 0, never);
      if (asked) body.keep();
      body.resume();
      source.end(Buffer.alloc(length));
      await turn();
      await turn();
      expect([body.bytes, body.repeatable]).toEqual([length, repeatable]);
    }
  });

  test('in the middle hears nothing of what still comes', async () => {
    const source = new PassThrough();
    const body = new RequestBody(requestOf(source), 0, never);
    body.resume();
    source.write('begun');
    await turn();
    expect(body.bytes).toBe(5);
    body.destroy();
    await turn();
    source.write('late');
    source.end();
    source.resume();
    await turn();
    expect([body.bytes, body.endedMs]).toEqual([5, 0]);
  });
});
