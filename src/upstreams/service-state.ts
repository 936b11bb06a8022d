import { INSTANCE_STATES, isFault, opensNew, type InstanceState } from './instance-state.ts';

/**
 * The state of a service by its own instances; what its dependencies add is the readiness graph's business.
 *
 * Signal: how many instances are in which state. Decision: `up` when some are open and none is faulty or warns,
 * `degraded` when some are open and others are not well, `down` when none is open, `unknown` until there was a first one.
 * A deploy (joining, draining, warming) degrades nothing.
 */

export type ServiceState = 'unknown' | 'up' | 'degraded' | 'down';

export type InstanceCounts = Record<InstanceState, number>;

export interface ServiceVerdict {
  readonly state: ServiceState;
  /** In words; empty when up. */
  readonly reason: string;
}

export function emptyCounts(): InstanceCounts {
  return Object.fromEntries(INSTANCE_STATES.map((state) => [state, 0])) as InstanceCounts;
}

export interface Summary {
  readonly counts: InstanceCounts;
  readonly someOpen: boolean;
  /** The reason that most of the faulty instances give, or empty. */
  readonly commonReason: string;
}

export function summaryOf(
  instances: Iterable<{ readonly state: InstanceState; readonly reason: string }>,
): Summary {
  const counts = emptyCounts();
  const reasons = new Map<string, number>();
  let someOpen = false;
  for (const { state, reason } of instances) {
    counts[state]++;
    if (opensNew(state)) someOpen = true;
    if (reason !== '' && (isFault(state) || state === 'degraded')) {
      reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    }
  }
  const common = [...reasons].reduce((most, entry) => (entry[1] > most[1] ? entry : most), ['', 0]);
  return { counts, someOpen, commonReason: common[0] };
}

/**
 * @param everOpen some instance has taken traffic before: then a joiner does not make a dead service `unknown`
 * @param commonReason the reason that most of the faulty instances give, or empty
 */
export function serviceVerdict(
  counts: InstanceCounts,
  everOpen: boolean,
  commonReason: string,
): ServiceVerdict {
  let total = 0;
  let open = 0;
  let faulty = 0;
  for (const state of INSTANCE_STATES) {
    if (state === 'gone') continue;
    total += counts[state];
    if (opensNew(state)) open += counts[state];
    if (isFault(state)) faulty += counts[state];
  }
  const why = commonReason === '' ? '' : `: ${commonReason}`;
  if (open === 0) {
    if (total === 0) return { state: everOpen ? 'down' : 'unknown', reason: 'no instances' };
    if (counts.joining > 0 && !everOpen) return { state: 'unknown', reason: 'first probes are awaited' };
    return { state: 'down', reason: `${total} of ${total} ${closedWords(counts, total)}${why}` };
  }
  if (faulty > 0) return { state: 'degraded', reason: `${faulty} of ${total} not ready${why}` };
  if (counts.degraded > 0) return { state: 'degraded', reason: `${counts.degraded} of ${total} warn${why}` };
  return { state: 'up', reason: '' };
}

/** `draining` when all do; else `not ready`, with those that no fault closed: `not ready (2 draining)`. */
function closedWords(counts: InstanceCounts, total: number): string {
  const others = (['draining', 'disabled', 'joining'] as const).filter((state) => counts[state] > 0);
  const [first] = others;
  if (first !== undefined && counts[first] === total) return first;
  const words = others.map((state) => `${counts[state]} ${state}`);
  return words.length === 0 ? 'not ready' : `not ready (${words.join(', ')})`;
}
