/**
 * Guards and penalties whose figures are right by themselves and do little together.
 */
import type { Path } from './findings.ts';
import { guard, penalty } from './limit-schema.ts';
import { isGiven, readable } from './readable.ts';
import { placed, treeOf } from './tree.ts';
import type { Tree } from './tree.ts';

type Warn = (path: Path, message: string) => void;

export function checkGuards(root: Tree, warn: Warn): void {
  const routes = placed(root, 'routes').map(({ path, value }) => ({ path, written: treeOf(value) }));
  const limited = routes.some(({ written }) => isGiven(treeOf(written['limits']), 'perClient'));
  for (const { path, written } of routes) {
    if (isGiven(written, 'guard')) checkSpans(readable(guard, written['guard']), [...path, 'guard'], warn);
  }
  for (const { path, value } of placed(root, 'tiers')) {
    const tier = treeOf(value);
    if (!isGiven(tier, 'penalty')) continue;
    const place = [...path, 'penalty'];
    checkSpans(readable(penalty, tier['penalty']), place, warn);
    if (!limited && !isGiven(tier, 'rate') && !isGiven(tier, 'concurrency'))
      warn(place, 'has no effect: neither the tier nor a route limits its clients, so none is ever refused');
  }
}

interface Spans {
  readonly per?: number;
  readonly blockFor?: number;
}

function checkSpans({ per, blockFor }: Spans, path: Path, warn: Warn): void {
  if (per === undefined || blockFor === undefined || blockFor >= per) return;
  warn(
    [...path, 'blockFor'],
    'shorter than `per`: a block ends the window that it comes from, so more is forgiven than was meant',
  );
}
