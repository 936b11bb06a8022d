/**
 * What became of each request of a rolling experiment, by the phase in which it was sent: answered or failed and how, whether
 * its session had to move, and how often each POST was taken by the instances, whatever the caller was told.
 */
import { quantile } from '../turns.ts';

interface Entry {
  readonly phase: string;
  readonly method: 'GET' | 'POST';
  /** Of a POST. */
  readonly id: string;
  /** From the moment it was due: what its caller has waited. */
  readonly tookMs: number;
  /** From the moment the sender came to it: without its own tick, and with any wait for a connection. */
  readonly toldMs: number;
  /** Empty: answered as it should be. */
  readonly fault: string;
}

/** A session's next answer came from another instance than the one before. */
type Move =
  /** The instance before leaves, or has left. */
  | 'with the instance'
  /** It was served elsewhere once, and keeps its instance. */
  | 'spill'
  | 'without a cause';

export interface PhaseFigures {
  readonly phase: string;
  readonly sent: number;
  readonly gets: number;
  readonly posts: number;
  readonly failed: number;
  readonly failedGets: number;
  /** POSTs that instances took more than once. */
  readonly duplicated: number;
  /** POSTs that were answered as done and that no instance has taken: then this experiment itself is wrong. */
  readonly unfounded: number;
  readonly moved: Readonly<Record<Move, number>>;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Of those that failed: how soon they were told, counted from the sending. */
  readonly failedP99Ms: number;
  /** Kinds of failures and how often. */
  readonly faults: Readonly<Record<string, number>>;
}

export class Ledger {
  readonly #entries: Entry[] = [];
  readonly #moves: { readonly phase: string; readonly move: Move }[] = [];

  add(entry: Entry): void {
    this.#entries.push(entry);
  }

  moved(phase: string, move: Move): void {
    this.#moves.push({ phase, move });
  }

  /** @param executed how often each POST was taken, over all instances that there were */
  figures(executed: ReadonlyMap<string, number>): readonly PhaseFigures[] {
    const phases = [...new Set(this.#entries.map(({ phase }) => phase))];
    return phases.map((phase) => this.#of(phase, executed));
  }

  #of(phase: string, executed: ReadonlyMap<string, number>): PhaseFigures {
    const entries = this.#entries.filter((entry) => entry.phase === phase);
    const failed = entries.filter(({ fault }) => fault !== '');
    const posts = entries.filter(({ method }) => method === 'POST');
    const latencies = entries.flatMap(({ fault, tookMs }) => (fault === '' ? [tookMs] : []));
    const faults: Record<string, number> = {};
    for (const { method, fault } of failed) {
      const kind = `${method} ${fault}`;
      faults[kind] = (faults[kind] ?? 0) + 1;
    }
    const moved: Record<Move, number> = { 'with the instance': 0, spill: 0, 'without a cause': 0 };
    for (const each of this.#moves) if (each.phase === phase) moved[each.move] += 1;
    return {
      phase,
      sent: entries.length,
      gets: entries.length - posts.length,
      posts: posts.length,
      failed: failed.length,
      failedGets: failed.filter(({ method }) => method === 'GET').length,
      duplicated: posts.filter(({ id }) => (executed.get(id) ?? 0) > 1).length,
      unfounded: posts.filter(({ id, fault }) => fault === '' && !executed.has(id)).length,
      moved,
      p50Ms: quantile(latencies, 0.5),
      p99Ms: quantile(latencies, 0.99),
      failedP99Ms: quantile(
        failed.map(({ toldMs }) => toldMs),
        0.99,
      ),
      faults,
    };
  }
}
