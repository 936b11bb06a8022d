/** Reads a figure from a page of metrics in the Prometheus text format. */

/** The sum of all series of `name` whose labels include `labels`; 0 when there is none. */
export function metric(page: string, name: string, labels: Readonly<Record<string, string>> = {}): number {
  let sum = 0;
  for (const line of page.split('\n')) {
    const match = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (match?.[1] !== name) continue;
    const written = match[2] ?? '';
    const all = Object.entries(labels).every(([label, value]) =>
      written.split(',').includes(`${label}="${value}"`),
    );
    if (all) sum += Number(match[3]);
  }
  return sum;
}
