import type { Http2Stream } from 'node:http2';

/**
 * Ends a stream so that what was sent of it cannot look whole.
 *
 * node:http2 closes the writable side of a stream that it resets, and outside of its own reading that end leaves as
 * END_STREAM before RST_STREAM: the other side has a complete message and ignores the reset behind it. (Node 26.10: `close`
 * calls `end`, and submitting the reset flushes what is pending.) So the stream is left without an end.
 */
export function resetStream(stream: Http2Stream, code: number): void {
  if (stream.closed || stream.destroyed) return;
  if (!stream.writableEnded) stream.end = stayOpen;
  stream.close(code);
}

function stayOpen(this: Http2Stream): Http2Stream {
  return this;
}
