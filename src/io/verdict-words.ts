import type { Verdict } from '../shedding/verdict.ts';

/**
 * Why a limit is what it is, in words for operators, and which of several workers' verdicts tells most.
 */
const WORDS: Readonly<Record<Verdict, string>> = {
  brake: 'most of what is in flight is old already: lowered at once',
  cut: 'slower than tolerated under this load: lowered',
  drops: 'timeouts, or 429 and 503 of the service: lowered',
  retreat: 'more load made it slower: back to where it was',
  climb: 'slower all at once: raised for a moment, to learn whether load is the cause',
  probe: 'lowered step by step, to learn how fast the service is with less load',
  intrinsic: 'slow by itself and not by its load: back to where it was',
  failures: 'most answers were failures, which tell nothing of speed: kept',
  hold: 'slower than tolerated, but nobody waits or the load has just changed: kept',
  grow: 'somebody waited and answers were quick: raised',
  enough: 'nobody had to wait: kept',
  cold: 'nothing is known of the service yet: the limit that every service begins with',
};

/** Every verdict, those that lower a limit first. */
export const VERDICTS = Object.keys(WORDS) as readonly Verdict[];

/** Of two workers' verdicts the one that explains more. */
export function tellingVerdict(a: Verdict, b: Verdict): Verdict {
  return VERDICTS.indexOf(a) <= VERDICTS.indexOf(b) ? a : b;
}

/** @param fixed the limit is a number of the configuration @param mode under `off` nothing is judged */
export function verdictWords(verdict: Verdict, fixed: boolean, mode: string): string {
  if (fixed) return 'fixed by the configuration';
  if (mode === 'off') return 'nothing is judged: permits are only counted';
  return WORDS[verdict];
}
