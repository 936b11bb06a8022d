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
import { METRICS, type MetricRow, type MetricType } from './metrics-table.ts';

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
