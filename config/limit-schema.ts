/**
 * How much callers may ask: `tiers`, `limits`, and the quota that tiers, routes and the front door share
 * (limits.md §1, §3). A quota is a rate and a burst; what the numbers can never mean is refused here, what two
 * sections must agree on is checked in `figures.ts`.
 */
import { z } from 'zod';
import { PRIORITIES } from '../src/kernel/priority.ts';
import { count, duration, rate, ratio, word } from './units-schema.ts';

/** A bucket that needs longer than a year to refill after one burst is a mistake in a unit (limits.md §3). */
const LONGEST_REFILL_SECONDS = 365 * 86_400;

interface Quota {
  readonly rate: number | null;
  readonly burst: number | null;
}

function checkQuota(
  quota: Quota,
  context: { addIssue: (issue: { code: 'custom'; path: string[]; message: string }) => void },
): void {
  const report = (message: string): void => context.addIssue({ code: 'custom', path: ['burst'], message });
  if (quota.burst === null) return;
  if (quota.rate === null) report('a burst without a rate limits nothing: write the rate too');
  else if (quota.burst / quota.rate > LONGEST_REFILL_SECONDS) {
    report('takes longer than a year to refill at this rate: is the unit of the rate right?');
  }
}

/** `burst` left out is one second of the rate, at least 1; without a rate it is 0 and means nothing. */
function withBurst<Input extends Quota>(quota: Input): Omit<Input, 'burst'> & { burst: number } {
  const burst = quota.burst ?? (quota.rate === null ? 0 : Math.max(1, Math.ceil(quota.rate)));
  return { ...quota, burst };
}

const mode = word(['enforce', 'observe'])
  .prefault('enforce')
  .describe('`observe` counts what would have been refused and refuses nothing');
const burst = count(1, 1_000_000_000)
  .nullable()
  .prefault(null)
  .describe('units that may come at once; left out: one second of the rate, at least 1');

/** A limit on its own: the rate is required. Becomes `{ rate, burst, mode }`, the rate per second. */
export function quota() {
  return z
    .strictObject({ rate: rate().describe('units in a second, a minute, an hour or a day'), burst, mode })
    .superRefine(checkQuota)
    .transform((value) => withBurst(value));
}

export const tier = z
  .strictObject({
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
    mode,
  })
  .superRefine(checkQuota)
  .transform((value) => withBurst(value));

export const limits = z.strictObject({
  global: z
    .strictObject({
      rate: rate().describe('units for the whole front door'),
      burst,
      mode,
      shards: count(1, 64).prefault(1).describe('store keys the limit is spread over, when one is too hot'),
    })
    .superRefine(checkQuota)
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
  per: duration().prefault('15m').describe('the window they are counted in'),
  blockFor: duration().prefault('15m').describe('how long the block lasts'),
});
