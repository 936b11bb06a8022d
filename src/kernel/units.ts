/**
 * Reading and writing the units of the configuration. A value without its unit is a fault, never a guess: seconds
 * taken for milliseconds have cost others outages.
 */

const DURATION = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/;
const SIZE = /^(\d+(?:\.\d+)?)(B|KiB|MiB|GiB)$/;
const RATE = /^(\d+(?:\.\d+)?)\/(s|m|h|d)$/;
const RATIO = /^(\d+(?:\.\d+)?)%$/;

const DURATION_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};
const SIZE_BYTES: Readonly<Record<string, number>> = { B: 1, KiB: 1024, MiB: 1_048_576, GiB: 1_073_741_824 };
const RATE_SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

function scaled(
  text: string,
  pattern: RegExp,
  factors: Readonly<Record<string, number>>,
): number | undefined {
  const match = pattern.exec(text);
  if (match === null) return undefined;
  const factor = factors[match[2] ?? ''];
  return factor === undefined ? undefined : Number(match[1]) * factor;
}

/** `250ms` `2s` `5m` `8h` `1d` → milliseconds, or undefined when it is none. */
export function parseDurationMs(text: string): number | undefined {
  return scaled(text, DURATION, DURATION_MS);
}

/** `512B` `16KiB` `10MiB` `1GiB` → bytes, or undefined when it is none. */
export function parseSizeBytes(text: string): number | undefined {
  const bytes = scaled(text, SIZE, SIZE_BYTES);
  return bytes === undefined ? undefined : Math.floor(bytes);
}

/** `10/s` `600/m` `5000/h` → units per second, or undefined when it is none. */
export function parseRatePerSecond(text: string): number | undefined {
  const match = RATE.exec(text);
  if (match === null) return undefined;
  const seconds = RATE_SECONDS[match[2] ?? ''];
  return seconds === undefined ? undefined : Number(match[1]) / seconds;
}

/** `20%` → 0.2, or undefined when it is none. */
export function parseRatio(text: string): number | undefined {
  const match = RATIO.exec(text);
  return match === null ? undefined : Number(match[1]) / 100;
}
