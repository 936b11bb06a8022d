import type { Random } from '../kernel/random.ts';

/**
 * W3C Trace Context, as far as a gateway without tracing of its own needs it: a valid `traceparent` passes untouched, an
 * invalid one begins a new trace (and its `tracestate` goes with it). https://www.w3.org/TR/trace-context/ §3.2.
 */

const DASH = 45;
const ZERO = 48;

/** `00-<32 hex>-<16 hex>-<2 hex>`, small letters, neither id all zeros; a later version may be longer. */
export function isTraceparent(value: string): boolean {
  if (value.length < 55 || !isHex(value, 0, 2) || value.startsWith('ff')) return false;
  if (value.length > 55 && (value.startsWith('00') || value.charCodeAt(55) !== DASH)) return false;
  if (value.charCodeAt(2) !== DASH || value.charCodeAt(35) !== DASH || value.charCodeAt(52) !== DASH)
    return false;
  return (
    isHex(value, 3, 35) &&
    isHex(value, 36, 52) &&
    isHex(value, 53, 55) &&
    !isZeros(value, 3, 35) &&
    !isZeros(value, 36, 52)
  );
}

/** A new trace that nobody has decided to sample. */
export function newTraceparent(random: Random): string {
  return `00-${hexWord(random)}${hexWord(random)}${hexWord(random)}${nonZero(random)}-${hexWord(random)}${nonZero(random)}-00`;
}

/** Two hex digits an octet: a request without a trace should not pay for number formatting. */
const HEX: readonly string[] = Array.from({ length: 256 }, (_, octet) => octet.toString(16).padStart(2, '0'));

function hexOf(word: number): string {
  return (
    (HEX[word >>> 24] ?? '') +
    (HEX[(word >>> 16) & 255] ?? '') +
    (HEX[(word >>> 8) & 255] ?? '') +
    (HEX[word & 255] ?? '')
  );
}

function hexWord(random: Random): string {
  return hexOf(Math.floor(random() * 0x1_0000_0000) >>> 0);
}

function nonZero(random: Random): string {
  return hexOf((1 + Math.floor(random() * 0xffff_fffe)) >>> 0);
}

function isHex(text: string, from: number, to: number): boolean {
  for (let index = from; index < to; index++) {
    const code = text.charCodeAt(index);
    if (!((code >= 48 && code <= 57) || (code >= 97 && code <= 102))) return false;
  }
  return true;
}

function isZeros(text: string, from: number, to: number): boolean {
  for (let index = from; index < to; index++) if (text.charCodeAt(index) !== ZERO) return false;
  return true;
}
