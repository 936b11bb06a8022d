/**
 * Keys that are accepted and checked but not acted on yet. Who writes one is told so; defaults never warn. When a
 * feature arrives, its row goes: one line.
 */
import type { Finding, Path } from './findings.ts';
import type { Source } from './source.ts';

interface Row {
  /** `*` stands for one name or index. */
  readonly path: string;
  /** What happens instead. */
  readonly sentence: string;
}

export const NOT_YET: readonly Row[] = [
  { path: 'limits.global.shards', sentence: 'the limit is one key in the store' },
  { path: 'tracing.otlp', sentence: 'no spans are sent; trace context is passed on' },
];

/** Values that ask for nothing. */
const OFF: ReadonlySet<unknown> = new Set([null, undefined, false, 0, '', 'none', 'enforce']);

/** A warning for every row that the file uses. */
export function checkNotYet(source: Source): Finding[] {
  const findings: Finding[] = [];
  for (const row of NOT_YET) {
    const steps = row.path.split('.');
    visit(source.value, steps, [], (value, path) => {
      if (OFF.has(value) || isEmpty(value)) return;
      const message = `accepted, but this release does not act on it: ${row.sentence}`;
      findings.push(source.find('warning', path, message, { atKey: true }));
    });
  }
  return findings;
}

type Branch = Readonly<Record<string | number, unknown>>;

function visit(
  value: unknown,
  steps: readonly string[],
  path: Path,
  found: (value: unknown, path: Path) => void,
): void {
  const [step, ...rest] = steps;
  if (step === undefined || typeof value !== 'object' || value === null) return;
  const branch = value as Branch;
  const keys = step === '*' ? Object.keys(branch) : Object.hasOwn(branch, step) ? [step] : [];
  for (const key of keys) {
    const place = [...path, Array.isArray(value) ? Number(key) : key];
    if (rest.length === 0) found(branch[key], place);
    else visit(branch[key], rest, place, found);
  }
}

/** Nothing, an empty list or an empty mapping. */
function isEmpty(value: unknown): boolean {
  return (
    value === null || value === undefined || (typeof value === 'object' && Object.keys(value).length === 0)
  );
}
