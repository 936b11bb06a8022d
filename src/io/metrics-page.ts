/**
 * The page at `/metrics`: what all processes counted, as one.
 *
 * Signal: the latest cumulative dump of each worker, and the supervisor's own. Decision: counters and histograms are
 * summed, gauges follow their row of the table. A worker that dies leaves its counters behind (`retire`), so sums never
 * fall when it is replaced; its gauges die with it. Between two dumps the page is at most one second old. A series that
 * has ended is left out of all of them at once (`forget`): one that loses a part of its sum looks like a restart.
 *
 * prom-client aggregates and prints; only `worst` (one series per state) is decided here, since prom-client cannot
 * compare series with each other.
 * Limits: a worker killed by force takes the counts of its last second with it.
 */
import { AggregatorRegistry, Registry } from 'prom-client';
import type { MeterDump, MetricName, SeriesDump } from './meter.ts';
import { METRICS, metricRow, type MetricRow } from './metrics-table.ts';

/** The content type of `page()`. */
export const METRICS_CONTENT_TYPE: string = Registry.PROMETHEUS_CONTENT_TYPE;

/** Keys of dead workers that are remembered, so that a dump which arrives late is not counted twice. */
const REMEMBERED_DEAD = 256;

interface Sample {
  value: number;
  labels: Record<string, string | number>;
  metricName?: string;
}
interface Metric {
  name: string;
  help: string;
  type: MetricRow['type'];
  aggregator: 'sum' | 'max' | 'min';
  values: Sample[];
}

export class MetricsPage {
  readonly #live = new Map<string, MeterDump>();
  readonly #dead = new Set<string>();
  #retired: MeterDump = {};

  /** @param workerKey one life of one worker (pid and start, say): a restarted worker is another key. */
  absorb(workerKey: string, dump: MeterDump): void {
    if (!this.#dead.has(workerKey)) this.#live.set(workerKey, dump);
  }

  /** The worker is dead: its counters stay in the sums, its gauges go. */
  retire(workerKey: string): void {
    const last = this.#live.get(workerKey);
    this.#live.delete(workerKey);
    this.#dead.add(workerKey);
    if (this.#dead.size > REMEMBERED_DEAD) {
      for (const oldest of this.#dead) {
        this.#dead.delete(oldest);
        break;
      }
    }
    if (last !== undefined) this.#retired = addCounters(this.#retired, last);
  }

  /** Ends series of something gone: in what dead workers left, and in what the living said before they forgot it too. */
  forget(name: MetricName, isGone: (labels: readonly string[]) => boolean): void {
    const full = `spillway_${name}`;
    this.#retired = without(this.#retired, full, isGone);
    for (const [key, dump] of this.#live) this.#live.set(key, without(dump, full, isGone));
  }

  /** Prometheus text 0.0.4 of all processes. @param local the supervisor's own dump. */
  async page(local: MeterDump): Promise<string> {
    const dumps = [local, this.#retired, ...this.#live.values()];
    const sources = dumps.map((dump) => toMetrics(dump));
    // Every metric appears with its HELP and TYPE from the first scrape on, series or not.
    sources.unshift(Object.entries(METRICS).map(([name, row]) => metricOf(name, row, [])));
    sources.push(worstStates(dumps));
    return AggregatorRegistry.aggregate(sources).metrics();
  }
}

function without(dump: MeterDump, name: string, isGone: (labels: readonly string[]) => boolean): MeterDump {
  const list = dump[name];
  if (list?.some(({ labels }) => isGone(labels)) !== true) return dump;
  return { ...dump, [name]: list.filter(({ labels }) => !isGone(labels)) };
}

function metricOf(name: string, row: MetricRow, values: Sample[]): Metric {
  const aggregator = row.aggregation === 'worst' ? 'max' : row.aggregation;
  return { name, help: row.help, type: row.type, aggregator, values };
}

function labelsOf(row: MetricRow, values: readonly string[]): Record<string, string | number> {
  const labels: Record<string, string | number> = {};
  for (const [at, name] of row.labels.entries()) labels[name] = values[at] ?? '';
  return labels;
}

function toMetrics(dump: MeterDump): Metric[] {
  const metrics: Metric[] = [];
  for (const [name, list] of Object.entries(dump)) {
    const row = metricRow(name);
    if (row === undefined || row.aggregation === 'worst') continue;
    const samples: Sample[] = [];
    for (const series of list) {
      if ('value' in series) samples.push({ value: series.value, labels: labelsOf(row, series.labels) });
      else pushHistogram(samples, name, row, series);
    }
    metrics.push(metricOf(name, row, samples));
  }
  return metrics;
}

/** Bucket counts become cumulative here, once a scrape, instead of at each observation. */
function pushHistogram(
  samples: Sample[],
  name: string,
  row: MetricRow,
  series: Extract<SeriesDump, { counts: unknown }>,
): void {
  let below = 0;
  for (const [at, count] of series.counts.entries()) {
    below += count;
    samples.push({
      value: below,
      labels: { ...labelsOf(row, series.labels), le: row.buckets?.[at] ?? '+Inf' },
      metricName: `${name}_bucket`,
    });
  }
  samples.push(
    { value: series.sum, labels: labelsOf(row, series.labels), metricName: `${name}_sum` },
    { value: below, labels: labelsOf(row, series.labels), metricName: `${name}_count` },
  );
}

/**
 * Of each subject (all labels but `state`) the worst state that any process reports is 1, every other known one 0. A
 * state that the table does not know counts as the best, but is shown.
 */
function worstStates(dumps: readonly MeterDump[]): Metric[] {
  const metrics: Metric[] = [];
  for (const [name, row] of Object.entries<MetricRow>(METRICS)) {
    if (row.aggregation !== 'worst' || row.states === undefined) continue;
    const stateAt = row.labels.indexOf('state');
    const worst = new Map<string, { labels: readonly string[]; state: string; rank: number }>();
    for (const series of dumps.flatMap((dump) => dump[name] ?? [])) {
      if (!('value' in series) || series.value !== 1) continue;
      const state = series.labels[stateAt] ?? '';
      const at = row.states.indexOf(state);
      const rank = at === -1 ? row.states.length : at;
      const key = series.labels.filter((_, index) => index !== stateAt).join('\u0001');
      const before = worst.get(key);
      if (before === undefined || rank < before.rank) worst.set(key, { labels: series.labels, state, rank });
    }
    const samples: Sample[] = [];
    for (const { labels, state } of worst.values()) {
      for (const known of new Set([...row.states, state])) {
        samples.push({ value: known === state ? 1 : 0, labels: { ...labelsOf(row, labels), state: known } });
      }
    }
    metrics.push(metricOf(name, row, samples));
  }
  return metrics;
}

/** Counters and histograms of both, summed series by series; gauges of neither. */
function addCounters(base: MeterDump, more: MeterDump): MeterDump {
  const total: Record<string, readonly SeriesDump[]> = { ...base };
  for (const [name, list] of Object.entries(more)) {
    const row = metricRow(name);
    if (row === undefined || row.type === 'gauge') continue;
    const merged = new Map<string, SeriesDump>();
    for (const series of [...(base[name] ?? []), ...list]) {
      const key = series.labels.join('\u0001');
      const before = merged.get(key);
      merged.set(key, before === undefined ? series : addSeries(before, series));
    }
    total[name] = [...merged.values()];
  }
  return total;
}

function addSeries(a: SeriesDump, b: SeriesDump): SeriesDump {
  if ('value' in a && 'value' in b) return { labels: a.labels, value: a.value + b.value };
  if ('counts' in a && 'counts' in b) {
    return {
      labels: a.labels,
      counts: a.counts.map((count, at) => count + (b.counts[at] ?? 0)),
      sum: a.sum + b.sum,
    };
  }
  return b;
}
