import type { ReadinessView } from './admin-port.ts';

/** What `/readyz?verbose` shows of the gateway itself; neither a lost Redis nor a dead service fails it. */
export function readinessView(facts: {
  readonly hash: string;
  readonly listening: number;
  readonly wanted: number;
  readonly discovered: boolean;
  readonly probed: boolean;
  readonly ending: boolean;
}): ReadinessView {
  const { hash, listening, wanted, discovered, probed, ending } = facts;
  const checks = [
    { name: 'configuration', ok: true, detail: `hash ${hash}` },
    { name: 'workers', ok: listening > 0, detail: `${listening} of ${wanted} listen` },
    {
      name: 'discovery',
      ok: discovered,
      detail: discovered ? 'first answers are in' : 'waiting for the first answers',
    },
    { name: 'probes', ok: probed, detail: probed ? 'first probes are in' : 'waiting for the first probes' },
    { name: 'shutdown', ok: !ending, detail: ending ? 'draining' : 'not draining' },
  ];
  return { ready: checks.every(({ ok }) => ok), checks };
}
