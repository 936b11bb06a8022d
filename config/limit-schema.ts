/**
 * How much callers may ask: `tiers`, `limits`, and the quota that tiers, routes and the front door share
 * (limits.md §1, §3). A quota is a rate and a burst; what the two can never mean together is refused in `combinations.ts`, what
 * two sections must agree on in `figures.ts`.
 */
import { z } from 'zod';
import { PRIORITIES } from '../src/kernel/priority.ts';
import { count, duration, rate, ratio, word } from './units-schema.ts';

interface Quota {
  readonly rate: number | null;
  readonly burst: number | null;
}

/** `burst` left out is one second of the rate, at least 1; without a rate it is 0 and means nothing. */
export function burstOf(quota: Quota): number {
  return quota.burst ?? (quota.rate === null ? 0 : Math.max(1, Math.ceil(quota.rate)));
}

function withBurst<Input extends Quota>(quota: Input): Omit<Input, 'burst'> & { burst: number } {
  return { ...quota, burst: burstOf(quota) };
}

const mode = word(['enforce', 'observe'])
  .prefault('enforce')
  .describe('`observe` counts what would have been refused and refuses nothing');
const burst = count(1, 1_000_000_000)
  .nullable()
  .prefault(null)
  .describe('units that may come at once; left out: one second of the rate, at least 1');

/** A limit on its own, as it is written: the rate is required. */
export const quotaFields = z.strictObject({
  rate: rate().describe('units in a second, a minute, an hour or a day'),
  burst,
  mode,
});

/** Becomes `{ rate, burst, mode }`, the rate per second. */
export function quota() {
  return quotaFields.transform((value) => withBurst(value));
}

/** The library that counts takes whole seconds: 0.5 s would never end, 1.9 s would be one. */
function wholeSeconds() {
  return duration().superRefine((value, context) => {
    if (value % 1000 !== 0)
      context.addIssue({ code: 'custom', message: 'must be whole seconds, at least 1s' });
  });
}

const strikeSpans = {
  per: (span: string) => wholeSeconds().prefault(span).describe('the window they are counted in'),
  blockFor: (span: string) => wholeSeconds().prefault(span).describe('how long the block lasts'),
};

/** Against callers that keep hammering: a client's own 429s, in a fixed window, block it everywhere. */
export const penalty = z.strictObject({
  refusals: count(1, 1_000_000).prefault(100).describe('429s of a client that are forgiven'),
  per: strikeSpans.per('1m'),
  blockFor: strikeSpans.blockFor('5m'),
  mode,
});

/** A tier as it is written. */
export const tierFields = z.strictObject({
  rate: rate()
    .nullable()
    .prefault(null)
    .describe('for each client of the tier; without it the tier is not limited'),
  burst,
  concurrency: count(1, 1_000_000)
    .nullable()
    .prefault(null)
    .describe('requests that a client may have in flight'),
  priority: word(PRIORITIES).prefault('default').describe('`critical` is shed last, `background` first'),
  total: quota().nullable().prefault(null).describe('one limit for all clients of the tier together'),
  penalty: penalty.nullable().prefault(null).describe('blocks a client that keeps asking after refusals'),
  mode,
});

export const tier = tierFields.transform((value) => withBurst(value));

/** The limit of the front door as it is written. */
export const globalFields = z.strictObject({
  rate: rate().describe('units for the whole front door'),
  burst,
  mode,
  shards: count(1, 64).prefault(1).describe('store keys the limit is spread over, when one is too hot'),
});

export const limits = z.strictObject({
  global: globalFields
    .transform((value) => withBurst(value))
    .nullable()
    .prefault(null)
    .describe('one limit for all callers together'),
  enforcement: word(['auto', 'exact', 'leased'])
    .prefault('auto')
    .describe(
      '`exact` asks the store each time, `leased` decides from tokens taken ahead, `auto` chooses by the rate',
    ),
  maxOverAdmission: ratio().prefault('5%').describe('what leases may admit beyond a limit'),
  mode: word(['enforce', 'observe', 'off'])
    .prefault('enforce')
    .describe('`observe` counts and never refuses'),
  headers: word(['draft', 'legacy', 'none'])
    .prefault('draft')
    .describe('`draft` = RateLimit and RateLimit-Policy, `legacy` = X-RateLimit-*'),
});

/** Against password guessing: a client's failures at a route, in a fixed window, block it there. */
export const guard = z.strictObject({
  status: z.array(count(400, 599)).min(1).prefault([401, 403]).describe('answers that count as a failure'),
  failures: count(1, 1_000_000).prefault(5).describe('failures that are forgiven'),
  per: strikeSpans.per('15m'),
  blockFor: strikeSpans.blockFor('15m'),
  mode,
});
