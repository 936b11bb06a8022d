/**
 * The scalars of the configuration: what a duration, a size, a rate, a ratio, a name or a secret looks like, and which
 * number a feature receives for it.
 *
 * Each is a string with its unit in the file and a number in base units afterwards (ms, bytes, per second, 0..1). A
 * bare number is a fault that names the units, because seconds taken for milliseconds are silent until they hurt. The
 * patterns repeat the grammar of `src/kernel/units.ts` so that editors can check it through the JSON Schema; the
 * numbers come from the kernel alone.
 *
 * Two annotations travel in the JSON Schema: `x-type`, the word the generated table shows, and `x-source`, which tells
 * the loader what may stand for the value (`secret`: `{ file: path }` is replaced by the file's text; `path`: a
 * path relative to the configuration, or PEM text as it stands).
 */
import { isIP } from 'node:net';
import { z } from 'zod';
import { parseDurationMs, parseRatePerSecond, parseRatio, parseSizeBytes } from '../src/kernel/units.ts';

/** Timers past 2^31-1 ms (24.8 days) fire at once, so no span of the configuration may reach it. */
const LONGEST_MS = 24 * 86_400_000;
/** 1 TiB: far above every buffer, far below 2^53. */
const LARGEST_BYTES = 1024 ** 4;

/** One unit in a year: below it even a burst of one would take longer than a year to refill (limits.md §3). */
const SLOWEST_RATE = 1 / (365 * 86_400);

interface UnitRule {
  readonly type: string;
  readonly pattern: RegExp;
  /** Ends the sentence "a duration …". */
  readonly notation: string;
  readonly parse: (text: string) => number | undefined;
  readonly min: number;
  readonly max: number;
  /** Ends the sentence "must be …" when the number is outside `min`..`max`. */
  readonly range: string;
}

function unit(rule: UnitRule) {
  const wrong = (input: unknown): string =>
    typeof input === 'number'
      ? `a bare number where a unit belongs: a ${rule.type} is written ${rule.notation}`
      : `not a ${rule.type}: it is written ${rule.notation}`;
  return z
    .string({ error: (issue) => wrong(issue.input) })
    .regex(rule.pattern, { error: (issue) => wrong(/^[\d.]+$/.test(String(issue.input)) ? 0 : issue.input) })
    .meta({ 'x-type': rule.type })
    .transform((text, context): number => {
      const value = rule.parse(text);
      if (value !== undefined && value >= rule.min && value <= rule.max) return value;
      context.issues.push({ code: 'custom', input: text, message: `must be ${rule.range}` });
      return z.NEVER;
    });
}

/** `250ms` → 250. Zero is only good where it means "at once" or "off": say `{ zero: true }` there. */
export function duration(options: { readonly zero?: boolean } = {}) {
  const zero = options.zero ?? false;
  return unit({
    type: 'duration',
    pattern: /^\d+(\.\d+)?(ms|s|m|h|d)$/,
    notation: '250ms, 2s, 5m, 8h or 1d',
    parse: (text) => {
      const ms = parseDurationMs(text);
      return ms === undefined ? undefined : Math.round(ms);
    },
    min: zero ? 0 : 1,
    max: LONGEST_MS,
    range: `between ${zero ? '0ms' : '1ms'} and 24d`,
  });
}

/** `16KiB` → 16384. */
export function size() {
  return unit({
    type: 'size',
    pattern: /^\d+(\.\d+)?(B|KiB|MiB|GiB)$/,
    notation: '512B, 16KiB, 10MiB or 1GiB',
    parse: parseSizeBytes,
    min: 1,
    max: LARGEST_BYTES,
    range: 'between 1B and 1024GiB',
  });
}

/**
 * `600/m` → 10 a second. The limiter counts in ticks of 0.1 µs and needs at least ten of them a unit, which is a
 * million a second (limits.md §3).
 */
export function rate() {
  return unit({
    type: 'rate',
    pattern: /^\d+(\.\d+)?\/(s|m|h|d)$/,
    notation: '10/s, 600/m, 5000/h or 1000/d',
    parse: parseRatePerSecond,
    min: SLOWEST_RATE,
    max: 1_000_000,
    range: 'between one in a year and 1000000/s',
  });
}

/** `20%` → 0.2. */
export function ratio() {
  return unit({
    type: 'ratio',
    pattern: /^\d+(\.\d+)?%$/,
    notation: '20% or 0.5%',
    parse: parseRatio,
    min: 0,
    max: 1,
    range: 'between 0% and 100%',
  });
}

/** A whole number, of things that have no unit. */
export function count(min: number, max: number = Number.MAX_SAFE_INTEGER) {
  return z.int().min(min).max(max).meta({ 'x-type': 'whole number' });
}

export function flag() {
  return z.boolean().meta({ 'x-type': 'true or false' });
}

/** Text that is not empty. */
export function text(type = 'text') {
  return z.string().min(1).meta({ 'x-type': type });
}

/** Names of services, tiers and versions: they become metric labels, header values and parts of paths. */
export function name() {
  return z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, {
      error: 'not a name: letters, digits, `.`, `_` and `-`, at most 64, a letter or digit first',
    })
    .meta({ 'x-type': 'name' });
}

/** A header's or cookie's name (RFC 9110 token), in lower case where case means nothing. */
export function headerName() {
  return token('a header name').transform((value) => value.toLowerCase());
}

export function token(what: string) {
  return z
    .string()
    .regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$/, {
      error: `not ${what}: letters, digits and !#$%&'*+.^_\`|~- only, at most 128`,
    })
    .meta({ 'x-type': what.replace(/^an? /, '') });
}

/** A network such as `10.0.0.0/8` or `fd00::/8`; a single address counts as its own network. */
export function network() {
  const right = z.union([z.cidrv4(), z.cidrv6(), z.ipv4(), z.ipv6()]);
  return z
    .string()
    .refine((value) => right.safeParse(value).success, {
      error: 'not a network: write it as 10.0.0.0/8, fd00::/8 or one address',
    })
    .meta({ 'x-type': 'network' });
}

/**
 * An address to listen on. A name is refused, `localhost` aside: it may stand for several addresses, for others tomorrow, or
 * for one of another machine, and what is bound decides who can come in. `localhost` is 127.0.0.1 afterwards.
 */
export function address() {
  const error = 'not an address to listen on: write one such as 127.0.0.1, `::` for every one, or localhost';
  return z
    .string({ error })
    .refine((value) => isIP(value) !== 0 || isLocalhost(value), { error })
    .meta({ 'x-type': 'address' })
    .transform((value) => (isLocalhost(value) ? '127.0.0.1' : value));
}

function isLocalhost(value: string): boolean {
  return value.toLowerCase() === 'localhost';
}

/** A value nobody may read in an output. `{ file: path }` stands for the text of that file, without its last line end. */
export function secret() {
  return z
    .union([z.string(), z.strictObject({ file: text('path') })])
    .transform((value, context): string => {
      if (typeof value === 'string') return value;
      context.issues.push({ code: 'custom', input: value, message: 'the file of this secret was not read' });
      return z.NEVER;
    })
    .meta({ 'x-type': 'secret', 'x-source': 'secret', writeOnly: true });
}

/**
 * A PEM file: a path, `{ file: path }`, or the PEM text itself (from the environment). What comes out is an absolute path
 * or text that begins with `-----BEGIN`; whoever uses it reads the file and watches it for renewals.
 */
export function pem() {
  return z
    .union([text('path'), z.strictObject({ file: text('path') })])
    .transform((value) => (typeof value === 'string' ? value : value.file))
    .meta({ 'x-type': 'PEM file', 'x-source': 'path', writeOnly: true });
}

/** A path, relative to the configuration in the file and absolute afterwards. */
export function path() {
  return text('path').meta({ 'x-type': 'path', 'x-source': 'path' });
}

/** One of a few words. */
export function word<const Words extends readonly [string, ...string[]]>(words: Words) {
  return z.enum(words).meta({ 'x-type': words.map((each) => `\`${each}\``).join(' ') });
}
