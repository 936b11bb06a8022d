import { listMembers, trimOws } from './tokens.ts';

/**
 * What an instance says of its own load with an answer, to a request or a probe: the field `endpoint-load-metrics` of ORCA (Open Request Cost
 * Aggregation), `TEXT name=value, …` or `JSON {…}`; a word in front may be missing.
 *
 * One figure is read of it: `application_utilization`, and where that is not set `cpu_utilization`, as Envoy and gRPC do; 1 is
 * all that the instance wants. Whatever is not a figure says nothing. Limits: the binary form, which is gRPC's, is not read.
 * Source: xds.data.orca.v3.OrcaLoadReport.
 */

/** A report has a dozen figures. Double would let an instance have us parse for longer than an answer takes. */
const MOST_CHARS = 2048;
const MOST_FIGURES = 32;

/** @returns 0 or more, finite; -1 when the report does not say */
export function utilizationOf(report: string): number {
  if (report.length > MOST_CHARS) return -1;
  const text = trimOws(report);
  const read = text.startsWith('JSON') || text.startsWith('{') ? jsonFigures(text) : textFigures(text);
  const application = read('application_utilization');
  return application > 0 ? application : read('cpu_utilization');
}

type Figures = (name: string) => number;

function textFigures(text: string): Figures {
  const figures = listMembers(text.startsWith('TEXT ') ? text.slice(5) : text, MOST_FIGURES);
  return (name) => {
    const found = figures.find((figure) => figure.startsWith(`${name}=`));
    const value = found?.slice(name.length + 1) ?? '';
    return value === '' ? -1 : figureOf(Number(value));
  };
}

function jsonFigures(text: string): Figures {
  let report: unknown;
  try {
    report = JSON.parse(text.startsWith('JSON') ? text.slice(4) : text);
  } catch {
    return () => -1;
  }
  return (name) => figureOf((report as Readonly<Record<string, unknown>> | null)?.[name]);
}

function figureOf(value: unknown): number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : -1;
}
