/**
 * Limits in words, for the `detail` of a refusal: the figures that the caller is held to, as a person would say them.
 *
 * A rate is told in the shortest unit in which it is a whole number, since that is how it was written or might have been;
 * where there is none, in the shortest in which it is at least one. Only a caller's own limits are told: how much all
 * callers share is nobody's business.
 */
import type { GuardRule } from './guard.ts';

const PER: readonly (readonly [seconds: number, unit: string])[] = [
  [1, 'second'],
  [60, 'minute'],
  [3600, 'hour'],
  [86_400, 'day'],
];
/** Rates come from divisions such as 10 / 60; half of this slack takes some of them for fractions. */
const WHOLE_SLACK = 1e-9;

interface Told {
  readonly count: number;
  readonly unit: string;
}

function toldRate(ratePerSecond: number): Told {
  let atLeastOne: Told | undefined;
  let last: Told = { count: ratePerSecond, unit: 'second' };
  for (const [seconds, unit] of PER) {
    const count = ratePerSecond * seconds;
    const whole = Math.round(count);
    if (whole >= 1 && Math.abs(count - whole) <= WHOLE_SLACK * whole) return { count: whole, unit };
    last = { count: Number(count.toPrecision(3)), unit };
    if (count >= 1) atLeastOne ??= last;
  }
  return atLeastOne ?? last;
}

function times(count: number): string {
  return count === 1 ? 'once' : `${count} times`;
}

/** `This client may ask 10 times a minute.` @param cost of the request that was refused */
export function rateWords(ratePerSecond: number, cost: number, onRoute: boolean): string {
  const { count, unit } = toldRate(ratePerSecond);
  const every = `${unit === 'hour' ? 'an' : 'a'} ${unit}`;
  const where = onRoute ? ' on this route' : '';
  if (cost === 1) return `This client may ask ${times(count)} ${every}${where}.`;
  const units = count === 1 ? '1 unit' : `${count} units`;
  return `This client may use ${units} ${every}${where}, and this request costs ${cost}.`;
}

/** `This client may have 50 requests in flight.` */
export function concurrencyWords(most: number): string {
  return `This client may have ${most === 1 ? '1 request' : `${most} requests`} in flight.`;
}

/** `This client failed more than 5 times in 15 minutes on this route and is blocked for 15 minutes.` */
export function guardWords({ kind, strikes, windowSeconds, blockSeconds }: GuardRule): string {
  const often = `more than ${times(strikes)} in ${span(windowSeconds)}`;
  const what = kind === 'guard' ? `failed ${often} on this route` : `was refused ${often}`;
  return `This client ${what} and is blocked for ${span(blockSeconds)}.`;
}

/** Whole seconds in the longest unit that they fill exactly: `15 minutes`, `90 seconds`, `a day`. */
function span(seconds: number): string {
  for (const [length, unit] of PER.toReversed()) {
    if (seconds % length !== 0) continue;
    const count = seconds / length;
    return count === 1 ? `${unit === 'hour' ? 'an' : 'a'} ${unit}` : `${count} ${unit}s`;
  }
  return `${seconds} seconds`;
}
