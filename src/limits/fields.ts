/**
 * What an answer says about limits. The only file that knows draft-ietf-httpapi-ratelimit-headers-11:
 *
 *     RateLimit-Policy: "client";q=5;w=30, "route";q=2;w=1, "concurrency";q=50;qu="concurrent-requests"
 *     RateLimit: "client";r=3;t=12
 *
 * The policies are serialized by structured-headers when limits are compiled, once for each. `RateLimit` changes with every
 * answer and is written by hand: its names and figures are known to need no escaping, and a test compares.
 * Only a caller's own, enforced limits are shown: shared levels and observed ones are nobody's business. `RateLimit`
 * is the policy that this request is refused by, or else the one nearest to empty: `r` whole units left, `t` whole
 * seconds until full, or when refused until this cost fits. `legacy` says the same in X-RateLimit-*; -Reset is seconds
 * from now. An upstream's own fields are not touched: these are appended.
 */
import { serializeItem } from 'structured-headers';
import type { Random } from '../kernel/random.ts';
import { isOwn, type Charge, type Level, type LevelState, type LimitDecision } from './decision.ts';
import type { CompiledRate } from './gcra.ts';
import type { SlotLimit } from './slots.ts';

export type FieldStyle = 'draft' | 'legacy';

const NO_SLOT = '"concurrency";r=0';

/**
 * Appends names and values to a header list; none when no own limit applies.
 * @param policy from `PolicyTexts`, of the same charges
 */
export function addFields(
  headers: string[],
  style: FieldStyle,
  charges: readonly Charge[],
  decision: LimitDecision,
  policy: string,
): void {
  if (policy === '') return;
  const shown = shownCharge(charges, decision);
  if (style === 'draft') headers.push('RateLimit-Policy', policy);
  // Nobody knows when requests in flight will end, so there is no `t`.
  if (decision.refusedBy === 'concurrency' && style === 'draft') headers.push('RateLimit', NO_SLOT);
  if (shown < 0) return;
  const state = decision.levels[shown] as LevelState;
  const { level, rate } = charges[shown] as Charge;
  if (style === 'draft') {
    headers.push('RateLimit', `"${level}";r=${state.remaining};t=${seconds(state)}`);
    return;
  }
  headers.push(
    'X-RateLimit-Limit',
    String(rate.quota),
    'X-RateLimit-Remaining',
    String(state.remaining),
    'X-RateLimit-Reset',
    String(seconds(state)),
  );
}

/**
 * Whole seconds for `Retry-After`: the wait, at least 1, plus chance, so that those refused together do not come back
 * together.
 */
export function retryAfterSeconds(decision: LimitDecision, random: Random): number {
  const least = Math.max(1, Math.ceil(decision.retryAfterMs / 1000));
  return least + Math.floor(random() * (decision.jitterSeconds + 1));
}

function isShown(charge: Charge): boolean {
  return charge.enforced && isOwn(charge);
}

/**
 * The values of `RateLimit-Policy`. Each limit's part is serialized at its first use and kept as long as the limit: a
 * client's text is then a concatenation, which costs a hundredth of the serializing.
 */
export class PolicyTexts {
  readonly #parts = new WeakMap<CompiledRate, Map<Level, string>>();
  /** By how many requests may be in flight: as many as tiers have figures. */
  readonly #slotParts = new Map<number, string>();

  /** The same for every request with these limits. Empty when none is shown. */
  of(charges: readonly Charge[], slots?: SlotLimit): string {
    let text = '';
    for (const charge of charges) {
      if (isShown(charge)) text += (text === '' ? '' : ', ') + this.#part(charge);
    }
    if (slots?.enforced === true) text += (text === '' ? '' : ', ') + this.#slotsPart(slots.most);
    return text;
  }

  #part({ level, rate }: Charge): string {
    let parts = this.#parts.get(rate);
    if (parts === undefined) this.#parts.set(rate, (parts = new Map<Level, string>()));
    let part = parts.get(level);
    if (part === undefined) parts.set(level, (part = policyPart(level, rate)));
    return part;
  }

  #slotsPart(most: number): string {
    let part = this.#slotParts.get(most);
    if (part === undefined) this.#slotParts.set(most, (part = slotsPart(most)));
    return part;
  }
}

function slotsPart(most: number): string {
  return serializeItem([
    'concurrency',
    new Map<string, number | string>([
      ['q', most],
      ['qu', 'concurrent-requests'],
    ]),
  ]);
}

function policyPart(level: Level, { quota, windowSeconds }: CompiledRate): string {
  return serializeItem([
    level,
    new Map([
      ['q', quota],
      ['w', windowSeconds],
    ]),
  ]);
}

/** Index of the charge that `RateLimit` speaks of, or -1. */
function shownCharge(charges: readonly Charge[], decision: LimitDecision): number {
  let best = -1;
  for (let i = 0; i < charges.length && i < decision.levels.length; i++) {
    const state = decision.levels[i] as LevelState;
    if (!isShown(charges[i] as Charge) || state.remaining < 0) continue;
    if (best < 0 || isNearer(state, decision.levels[best] as LevelState)) best = i;
  }
  return best;
}

/** A refusal is nearer than any figure, the longest wait first; then the fewest units; then the longest way to full. */
function isNearer(a: LevelState, b: LevelState): boolean {
  if (a.waitMs !== b.waitMs) return a.waitMs > b.waitMs;
  if (a.remaining !== b.remaining) return a.remaining < b.remaining;
  return a.fullMs > b.fullMs;
}

function seconds(state: LevelState): number {
  return Math.ceil((state.waitMs > 0 ? state.waitMs : state.fullMs) / 1000);
}
