/**
 * Metrics where they happen: numbers in slots, found once and then only added to.
 *
 * Signal: whatever a process counts. A series is a *slot*: an object whose number is changed in place; a caller that
 * keeps its slot neither looks up labels nor allocates, others pay a comparison with the last few or a keyed lookup;
 * histograms hold their bucket counts in a Float64Array (integers, exact to 2^53). Every worker and the supervisor own one `Meter`; workers send `dump()` (cumulative, plain JSON) each second and
 * `metrics-page.ts` sums and prints them. Cumulative figures, not deltas: a lost message costs a second, not a count.
 *
 * Limits: no label may hold what a caller chose (client, path, method). As a second lock a metric keeps at most
 * `MAX_SERIES` series; what would come after goes to one series whose labels all read `other`.
 * Source: Prometheus, "Writing exporters" and the text exposition format 0.0.4.
 */

type MetricType = 'counter' | 'gauge' | 'histogram';

/**
 * How the processes' figures become one: `sum` of shares, `max` where the largest tells the truth (lag, pressure) and
 * where all say the same, `min` where 1 is good and the worst counts, `worst` for a state told as one series per
 * state: of each service only the worst state that any process reports stays 1 (`states`, worst first).
 */
type Aggregation = 'sum' | 'max' | 'min' | 'worst';

export interface MetricRow {
  readonly help: string;
  readonly type: MetricType;
  readonly labels: readonly string[];
  readonly aggregation: Aggregation;
  /** Upper bounds of a histogram's buckets in seconds, ascending; +Inf is added. */
  readonly buckets?: readonly number[];
  /** `worst` only: the values of the label `state`, worst first. */
  readonly states?: readonly string[];
}

/** Answers: dense between 25 ms and 1 s, where SLAs lie. Half as many and a p99 near an SLA is a guess; twice as many doubles the page. */
const ANSWER_BUCKETS = [
  0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 30,
];
/** Our own work: 50 µs steps up, since a millisecond of overhead would already be an incident. */
const OVERHEAD_BUCKETS = [0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.1];
/** A store decision: from an embedded one (tens of µs) to well past the default timeout of 25 ms. */
const STORE_BUCKETS = [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1];

function counter(help: string, labels: readonly string[]): MetricRow & { type: 'counter' } {
  return { help, type: 'counter', labels, aggregation: 'sum' };
}
function gauge(
  help: string,
  labels: readonly string[],
  aggregation: Aggregation,
): MetricRow & { type: 'gauge' } {
  return { help, type: 'gauge', labels, aggregation };
}
function histogram(
  help: string,
  labels: readonly string[],
  buckets: readonly number[],
): MetricRow & { type: 'histogram' } {
  return { help, type: 'histogram', labels, aggregation: 'sum', buckets };
}

/** Every metric of the gateway. README, alerts and dashboards are compared with this table by tests. */
export const METRICS = {
  spillway_requests_total: counter('Requests by outcome; code is empty for an answer of the service.', [
    'route',
    'service',
    'tier',
    'priority',
    'status',
    'code',
  ]),
  spillway_request_duration_seconds: histogram(
    'From the request head to the last byte of the answer.',
    ['route', 'service'],
    ANSWER_BUCKETS,
  ),
  spillway_goodput_total: counter('Answers below 500 within the SLA of their service.', [
    'service',
    'priority',
  ]),
  spillway_goodput_deficit_total: counter(
    "Requests without an answer in time that were not their caller's fault: shed, failed, late.",
    ['service', 'priority'],
  ),
  spillway_shed_total: counter('Requests shed, or that would have been under observe.', [
    'service',
    'priority',
    'code',
    'mode',
  ]),
  spillway_limited_total: counter('Requests over a rate limit, or that would have been under observe.', [
    'tier',
    'level',
    'mode',
  ]),
  spillway_limit_decisions_total: counter('Rate limit decisions by where they were taken.', ['path']),
  spillway_limit_store_seconds: histogram(
    'Time of one question to the limit store.',
    ['store'],
    STORE_BUCKETS,
  ),
  spillway_limit_store_errors_total: counter(
    'Questions to the limit store without an answer in time, and each loss of it.',
    ['kind'],
  ),
  spillway_limit_lease_tokens_total: counter(
    'Units of leases by what became of them: granted, spent, expired, refunded.',
    ['event'],
  ),
  spillway_limit_fallback: gauge('1 while some worker decides on limits without the store.', [], 'max'),
  spillway_redis_up: gauge('1 while every process reaches Redis.', [], 'min'),
  spillway_concurrency_limit: gauge(
    'Requests that may be in flight at a service, all workers.',
    ['service'],
    'sum',
  ),
  spillway_in_flight: gauge('Requests in flight at a service, all workers.', ['service'], 'sum'),
  spillway_queue_depth: gauge('Requests that wait for a permit.', ['service', 'priority'], 'sum'),
  spillway_queue_wait_seconds: histogram('Time spent waiting for a permit.', ['service'], ANSWER_BUCKETS),
  spillway_concurrency_verdict: gauge(
    'Workers by what the last window of observation made of their limit.',
    ['service', 'verdict'],
    'sum',
  ),
  spillway_latency_baseline_seconds: gauge(
    'Median of a service when calm, as the slowest worker knows it.',
    ['service'],
    'max',
  ),
  spillway_latency_window_seconds: gauge(
    'Latency of a service in the last window of observation, of the slowest worker.',
    ['service', 'quantile'],
    'max',
  ),
  spillway_slowdown_ratio: gauge(
    'Median of the last window over the baseline, of the slowest worker.',
    ['service'],
    'max',
  ),
  spillway_streams: gauge('Permits that have become streams, all workers.', ['service'], 'sum'),
  spillway_pressure_ratio: gauge(
    'Share of arrivals refused by signal: loop and memory at the front gate, service by the hardest pressed admission.',
    ['signal'],
    'max',
  ),
  spillway_service_slow: gauge(
    '1 while a service was found to be slow by itself, not by its load.',
    ['service'],
    'max',
  ),
  spillway_controller_faults_total: counter(
    'Beats in which the admission of a service failed; its last good limit stayed.',
    ['service'],
  ),
  spillway_connections_closed_total: counter('Connections closed before their first request, by reason.', [
    'reason',
  ]),
  spillway_upstream_requests_total: counter('Attempts at instances by status; 0 stands for no answer.', [
    'service',
    'instance',
    'version',
    'status',
  ]),
  spillway_upstream_duration_seconds: histogram(
    'From the attempt to the response head.',
    ['service'],
    ANSWER_BUCKETS,
  ),
  spillway_picks_total: counter('Instances picked, by the reason of the pick.', ['service', 'reason']),
  spillway_retries_total: counter('Second attempts by result.', ['service', 'result']),
  spillway_aborted_total: counter('Exchanges that ended early, by who ended them and why.', [
    'service',
    'by',
    'reason',
  ]),
  spillway_affinity_total: counter('Session cookies by result.', ['service', 'result']),
  spillway_instances: gauge('Instances of a service by state.', ['service', 'state'], 'max'),
  spillway_ejections_total: counter('Instances ejected as outliers.', ['service', 'reason']),
  spillway_breaker_state: {
    ...gauge('1 for the state the breaker of a service is in.', ['service', 'state'], 'worst'),
    states: ['forced-open', 'open', 'half-open', 'ramping', 'closed', 'forced-closed'],
  },
  spillway_dependency_ready: gauge(
    '1 while a dependency of a service is ready.',
    ['service', 'dependency'],
    'min',
  ),
  spillway_overhead_seconds: histogram(
    'Time in the gateway itself, queue and upstream apart.',
    [],
    OVERHEAD_BUCKETS,
  ),
  spillway_event_loop_lag_seconds: gauge('Lag of the slowest event loop.', [], 'max'),
  spillway_event_loop_utilization: gauge('Busy share of the busiest event loop.', [], 'max'),
  spillway_log_lines_dropped_total: counter(
    'Lines of the access log that were not written: refusals beyond their rate, a reader too slow or gone.',
    [],
  ),
  spillway_keys_reloads_total: counter("Reloads of the clients' keys file by result.", ['result']),
  spillway_jwks_fetches_total: counter('Key sets fetched from issuers of tokens by result.', ['result']),
  spillway_tokens_verified_total: counter('Tokens seen for the first time by verdict.', ['verdict']),
  spillway_tls_reloads_total: counter('Certificates renewed on disk by result.', ['result']),
  spillway_config_reloads_total: counter('Configuration reloads by result.', ['result']),
  spillway_build_info: gauge('1, with what is running in its labels.', ['version', 'commit', 'node'], 'max'),
} as const satisfies Readonly<Record<string, MetricRow>>;

/** A metric by its full name, or without the `spillway_` prefix, as the contract writes it. */
export type MetricName = keyof typeof METRICS extends `spillway_${infer Short}` ? Short : never;
type RowOf<N extends MetricName> = (typeof METRICS)[`spillway_${N}`];
type NamesOf<T extends MetricType> = {
  [N in MetricName]: RowOf<N>['type'] extends T ? N : never;
}[MetricName];
export type CounterName = NamesOf<'counter'>;
export type GaugeName = NamesOf<'gauge'>;
export type HistogramName = NamesOf<'histogram'>;
export type SlotOf<N extends MetricName> = N extends HistogramName ? HistogramSlot : ValueSlot;

/** One series of one process. `counts` are per bucket, not cumulative, the last one above every bound. */
export type SeriesDump =
  | { readonly labels: readonly string[]; readonly value: number }
  | { readonly labels: readonly string[]; readonly counts: readonly number[]; readonly sum: number };

/** Everything one process has counted since it began, by full metric name. */
export type MeterDump = Readonly<Record<string, readonly SeriesDump[]>>;

/** 20 000 series of one metric are a page of 2 MB a scrape; half would cut large but honest configurations. */
export const MAX_SERIES = 20_000;
const OVERFLOW = 'other';
/** Joins label values to a key; configuration names never hold a control character. */
const SEPARATOR = '\u0001';

export function metricRow(fullName: string): MetricRow | undefined {
  return Object.hasOwn(METRICS, fullName) ? METRICS[fullName as keyof typeof METRICS] : undefined;
}

/** A counter's or a gauge's number. Callers that keep the slot write `slot.value` themselves. */
class ValueSlot {
  readonly labels: readonly string[];
  value = 0;

  constructor(labels: readonly string[]) {
    this.labels = labels;
  }
}

class HistogramSlot {
  readonly labels: readonly string[];
  readonly #bounds: readonly number[];
  readonly counts: Float64Array;
  sum = 0;

  constructor(labels: readonly string[], bounds: readonly number[]) {
    this.labels = labels;
    this.#bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  /** Counts one observation in seconds; a value equal to a bound belongs below it. What is not a finite number ≥ 0 is left out. */
  observe(seconds: number): void {
    if (!(seconds >= 0) || seconds === Infinity) return;
    const bounds = this.#bounds;
    let index = 0;
    while (index < bounds.length && seconds > (bounds[index] ?? 0)) index += 1;
    this.counts[index] = (this.counts[index] ?? 0) + 1;
    this.sum += seconds;
  }
}

/** Half: a service with three instances misses; double: searching costs what it saves. */
const RECENT = 4;

class Family {
  readonly row: MetricRow;
  readonly name: string;
  readonly series = new Map<string, ValueSlot | HistogramSlot>();
  readonly #recent: (ValueSlot | HistogramSlot)[] = [];
  #oldest = 0;

  constructor(name: string, row: MetricRow) {
    this.name = name;
    this.row = row;
  }

  /** The last few found are tried first: comparing labels that are the same objects costs 0.03 µs, making a key 0.20. */
  find(labels: readonly string[]): ValueSlot | HistogramSlot {
    for (const slot of this.#recent) if (isOf(slot, labels)) return slot;
    const slot = this.series.get(keyOf(labels)) ?? this.#create(labels);
    this.#recent[this.#oldest] = slot;
    this.#oldest = (this.#oldest + 1) % RECENT;
    return slot;
  }

  forget(isGone: (labels: readonly string[]) => boolean): void {
    for (const [key, slot] of this.series) if (isGone(slot.labels)) this.series.delete(key);
    this.#recent.length = 0;
    this.#oldest = 0;
  }

  #create(labels: readonly string[]): ValueSlot | HistogramSlot {
    const wanted = this.row.labels.length;
    if (labels.length !== wanted)
      throw new TypeError(`${this.name} has ${wanted} labels, not ${labels.length}`);
    const full = this.series.size >= MAX_SERIES;
    const kept = full ? this.row.labels.map(() => OVERFLOW) : [...labels];
    const key = keyOf(kept);
    const known = full ? this.series.get(key) : undefined;
    if (known !== undefined) return known;
    const slot =
      this.row.type === 'histogram' ? new HistogramSlot(kept, this.row.buckets ?? []) : new ValueSlot(kept);
    this.series.set(key, slot);
    return slot;
  }
}

function isOf(slot: ValueSlot | HistogramSlot, labels: readonly string[]): boolean {
  const own = slot.labels;
  if (own.length !== labels.length) return false;
  for (let index = 0; index < own.length; index += 1) if (own[index] !== labels[index]) return false;
  return true;
}

function keyOf(labels: readonly string[]): string {
  if (labels.length === 1) return labels[0] ?? '';
  let key = '';
  for (const label of labels) key += label + SEPARATOR;
  return key;
}

export class Meter {
  readonly #families = new Map<string, Family>();

  constructor() {
    for (const [name, row] of Object.entries(METRICS))
      this.#families.set(name.slice('spillway_'.length), new Family(name, row));
  }

  /**
   * The slot of one series, made with zero when new: look it up when a snapshot is compiled and keep it. Label values
   * stand in the order of the table.
   * @throws TypeError when their number is wrong: a fault of the caller's code, not of a request.
   */
  slot<N extends MetricName>(name: N, labels: readonly string[]): SlotOf<N> {
    return this.#family(name).find(labels) as SlotOf<N>;
  }

  /** Adds to a counter, or to a gauge that goes up and down. A counter takes no negative number and nobody takes NaN. */
  add(name: CounterName | GaugeName, labels: readonly string[], by = 1): void {
    const family = this.#family(name);
    if (!Number.isFinite(by) || (by < 0 && family.row.type === 'counter')) return;
    (family.find(labels) as ValueSlot).value += by;
  }

  /** Sets a gauge; what is not a finite number leaves it as it was. */
  set(name: GaugeName, labels: readonly string[], value: number): void {
    if (Number.isFinite(value)) (this.#family(name).find(labels) as ValueSlot).value = value;
  }

  /** @param seconds what a histogram observes. */
  observe(name: HistogramName, labels: readonly string[], seconds: number): void {
    (this.#family(name).find(labels) as HistogramSlot).observe(seconds);
  }

  /**
   * Drops the series for which `isGone` says yes (label values in the table's order). A slot kept from before counts
   * no more: ask for a new one when the instance returns.
   */
  forget(name: MetricName, isGone: (labels: readonly string[]) => boolean): void {
    this.#family(name).forget(isGone);
  }

  /** Cumulative figures of this process as plain JSON. */
  dump(): MeterDump {
    const dump: Record<string, SeriesDump[]> = {};
    for (const family of this.#families.values()) {
      if (family.series.size === 0) continue;
      const list: SeriesDump[] = [];
      for (const slot of family.series.values()) {
        if (slot instanceof HistogramSlot)
          list.push({ labels: slot.labels, counts: [...slot.counts], sum: slot.sum });
        else if (Number.isFinite(slot.value)) list.push({ labels: slot.labels, value: slot.value });
      }
      dump[family.name] = list;
    }
    return dump;
  }

  #family(name: MetricName): Family {
    const family = this.#families.get(name);
    if (family === undefined) throw new TypeError(`no metric ${name}`);
    return family;
  }
}
