/**
 * Every metric of the gateway: its words, labels, buckets, and how the processes' figures become one.
 *
 * README, alerts and dashboards are compared with this table by tests. No label may hold what a caller chose (client, path,
 * method).
 */

export type MetricType = 'counter' | 'gauge' | 'histogram';

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
  spillway_canary_weight_ratio: gauge(
    'Share of new sessions that a canary gets.',
    ['service', 'version'],
    'max',
  ),
  spillway_canary_aborts_total: counter('Canaries aborted because they were worse than the others.', [
    'service',
    'version',
  ]),
  spillway_instances: gauge('Instances of a service by state.', ['service', 'state'], 'max'),
  spillway_ejections_total: counter('Instances ejected as outliers.', ['service', 'reason']),
  spillway_probes_total: counter('Probes of instances by what they said.', ['service', 'result']),
  spillway_discovery_age_seconds: gauge(
    'How long the source of the instances of a service has given no good answer; 0 while it does.',
    ['service'],
    'max',
  ),
  spillway_discovery_faults_total: counter(
    'Answers of a source of instances that were none, or were not believed.',
    ['service', 'kind'],
  ),
  spillway_discovery_held: gauge(
    'Instances of a service that its source no longer lists and that are kept.',
    ['service'],
    'max',
  ),
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

export function metricRow(fullName: string): MetricRow | undefined {
  return Object.hasOwn(METRICS, fullName) ? METRICS[fullName as keyof typeof METRICS] : undefined;
}
