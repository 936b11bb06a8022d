/**
 * A strict reader of Prometheus' text format 0.0.4, for tests: it throws on whatever a real scraper would refuse.
 * Source: prometheus.io, "Exposition formats".
 */
export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Exposition {
  /** Type by family name, in the order of the page. */
  readonly families: ReadonlyMap<string, string>;
  all(name: string): readonly Sample[];
  /** The one sample whose labels include `labels`; undefined when there is none, an error when there are several. */
  value(name: string, labels: Readonly<Record<string, string>>): number | undefined;
}

const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)/y;
const NUMBER = /^(?:[+-]?Inf|NaN|[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)$/;

export function parseExposition(text: string): Exposition {
  if (!text.endsWith('\n')) throw new Error('the page does not end with a line feed');
  const families = new Map<string, string>();
  const samples = new Map<string, Sample[]>();
  const seen = new Set<string>();
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('# HELP ')) continue;
    if (line.startsWith('# TYPE ')) {
      const [, , name = '', type = ''] = line.split(' ');
      if (families.has(name)) throw new Error(`family twice: ${name}`);
      families.set(name, type);
      continue;
    }
    const match = SAMPLE.exec(line);
    if (match === null) throw new Error(`no sample: ${line}`);
    const [, name = '', inside = '', value = ''] = match;
    if (!NUMBER.test(value)) throw new Error(`no number: ${line}`);
    const family = families.has(name) ? name : name.replace(/_(?:bucket|sum|count)$/, '');
    if (!families.has(family)) throw new Error(`sample without a type: ${line}`);
    const labels = parseLabels(inside, line);
    const key = [
      name,
      ...Object.entries(labels)
        .map((pair) => JSON.stringify(pair))
        .toSorted(),
    ].join(' ');
    if (seen.has(key)) throw new Error(`series twice: ${line}`);
    seen.add(key);
    const list = samples.get(name) ?? [];
    list.push({ labels, value: Number(value.replace('Inf', 'Infinity')) });
    samples.set(name, list);
  }
  const all = (name: string): readonly Sample[] => samples.get(name) ?? [];
  return {
    families,
    all,
    value: (name, labels) => {
      const found = all(name).filter((sample) =>
        Object.entries(labels).every(([key, value]) => sample.labels[key] === value),
      );
      if (found.length > 1) throw new Error(`${name} has ${found.length} such series`);
      return found[0]?.value;
    },
  };
}

const UNESCAPED: Readonly<Record<string, string>> = { '\\\\': '\\', '\\"': '"', '\\n': '\n' };

function parseLabels(inside: string, line: string): Record<string, string> {
  const labels: Record<string, string> = {};
  LABEL.lastIndex = 0;
  while (LABEL.lastIndex < inside.length) {
    const match = LABEL.exec(inside);
    if (match === null) throw new Error(`no labels: ${line}`);
    labels[match[1] ?? ''] = (match[2] ?? '').replaceAll(
      /\\[\\"n]/g,
      (escape) => UNESCAPED[escape] ?? escape,
    );
  }
  return labels;
}
