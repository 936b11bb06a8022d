/** Bytes that callers and instances agree on: every answer and every upload is a beginning of the same filler, repeated. */
import { createHash } from 'node:crypto';

export const SMALL_BYTES = 129;

/** 64 KiB of text, no two neighbouring lines equal. */
export const FILLER: Buffer = Buffer.from(
  Array.from({ length: 4096 }, (_, line) => `${line.toString(16).padStart(15, '.')}\n`).join(''),
);

/** What an instance answers to an upload of these pieces. */
export function digestOf(pieces: readonly Buffer[]): string {
  const hash = createHash('sha1');
  let bytes = 0;
  for (const piece of pieces) {
    hash.update(piece);
    bytes += piece.length;
  }
  return `${bytes} ${hash.digest('hex')}`;
}

/** `bytes` of filler in pieces of at most 64 KiB. */
export function fillerOf(bytes: number): Buffer[] {
  const pieces: Buffer[] = [];
  for (let left = bytes; left > 0; left -= FILLER.length)
    pieces.push(FILLER.subarray(0, Math.min(left, FILLER.length)));
  return pieces;
}
