/**
 * Line charts and pages for the reports of the simulation and of the load tests: an SVG is a file of its own and can be
 * put into a page as it is; a page needs nothing from anywhere else. Both are read in light and in dark.
 *
 * Text and axes have the colour of the text around them (`currentColor`), lines have middle tones that stand out from
 * white and from black. Points that are not finite leave a gap.
 */
import { LineChart } from 'echarts/charts';
import { GridComponent, LegendComponent, MarkLineComponent, TitleComponent } from 'echarts/components';
import { init, use } from 'echarts/core';
import { SVGRenderer } from 'echarts/renderers';

use([LineChart, GridComponent, LegendComponent, MarkLineComponent, TitleComponent, SVGRenderer]);

export interface Series {
  readonly name: string;
  /** In order of x. */
  readonly points: readonly (readonly [x: number, y: number])[];
  readonly dashed?: boolean;
  /** The value holds until the next point: a setting, not a measurement. */
  readonly step?: boolean;
}

export interface LineChartSpec {
  readonly title: string;
  /** With units. */
  readonly xLabel: string;
  readonly yLabel: string;
  readonly series: readonly Series[];
  /** Dotted lines that results are judged by. */
  readonly bounds?: readonly { readonly y: number; readonly label: string }[];
  /** Where the axis ends if something is higher; without it everything is shown. */
  readonly yMax?: number;
  readonly logX?: boolean;
}

export interface Section {
  readonly heading: string;
  /** Trusted markup: `table`, `paragraph`, charts. */
  readonly html: string;
}

/** A cell of a table: text, or a number that is good or bad. */
export type Cell = string | { readonly text: string; readonly verdict: 'kept' | 'missed' };

const WIDTH = 640;
const HEIGHT = 320;
const LEGEND_LINE = 26;
/** Room of a name in the legend: its letters, the sample of its line and the gap. */
const LETTER = 7;
const LEGEND_SAMPLE = 48;
/** More points than this are a curve and not marked one by one; fewer values on a logarithmic axis are all named. */
const FEW_POINTS = 40;
const FEW_VALUES = 12;

const LINE_COLOURS = [
  '#3b82f6',
  '#e8710a',
  '#12a150',
  '#c026d3',
  '#0e9bb5',
  '#b58900',
  '#ef4444',
  '#8b7cf6',
  '#7d8590',
];
const BOUND_COLOUR = '#e5484d';

const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
const COLOURS = 'color:#1f2328;background:#ffffff';
const DARK_COLOURS = 'color:#e6edf3;background:#0d1117';
const PLOT_STYLE = `<style>.plot{${COLOURS}}@media(prefers-color-scheme:dark){.plot{${DARK_COLOURS}}}</style>`;

const PAGE_STYLE = `
body{font:16px/1.5 ${FONT};${COLOURS};max-width:84rem;margin:2rem auto;padding:0 1rem}
@media(prefers-color-scheme:dark){body{${DARK_COLOURS}}}
h1{font-size:1.6rem}
h2{font-size:1.25rem;margin-top:2.5rem;padding-top:.5rem;border-top:1px solid #8b949e66}
.plot{max-width:100%;height:auto}
.gallery{display:flex;flex-wrap:wrap;gap:1rem;margin:1rem 0}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .6rem;border-bottom:1px solid #8b949e66;text-align:right;vertical-align:top}
td{white-space:pre-line}
th:first-child,td:first-child{text-align:left}
th{font-weight:600}
.kept{color:#22a052}
.missed{color:${BOUND_COLOUR};font-weight:600}
nav{font-size:.875rem}
`;

/** One SVG document. */
export function lineChart(spec: LineChartSpec): string {
  const { title, xLabel, yLabel, series, bounds = [], yMax, logX = false } = spec;
  const legendLines = linesOfLegend(series);
  const chart = init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height: HEIGHT });
  try {
    const axis = {
      type: 'value',
      nameLocation: 'middle',
      nameTextStyle: { color: 'currentColor', fontSize: 12 },
      axisLabel: { color: 'currentColor', fontSize: 12 },
      axisLine: { show: true, lineStyle: { color: '#8b949e' } },
      axisTick: { show: true, lineStyle: { color: '#8b949e' } },
      splitLine: { show: true, lineStyle: { color: '#8b949e', opacity: 0.25 } },
    };
    chart.setOption({
      animation: false,
      color: LINE_COLOURS,
      textStyle: { fontFamily: FONT },
      title: { text: title, left: 8, top: 6, textStyle: { color: 'currentColor', fontSize: 15 } },
      legend: {
        left: 8,
        top: 30,
        width: WIDTH - 24,
        itemWidth: 24,
        itemHeight: 8,
        itemGap: 16,
        itemStyle: { opacity: 0 },
        data: series.map(({ name }) => name),
        textStyle: { color: 'currentColor', fontSize: 12 },
      },
      grid: { left: 66, right: 24, top: 40 + legendLines * LEGEND_LINE, bottom: 52 },
      xAxis: {
        ...axis,
        ...(logX ? logarithmic(axis, series) : linear(axis, series)),
        name: xLabel,
        nameGap: 28,
      },
      yAxis: {
        ...axis,
        name: yLabel,
        nameGap: 46,
        min: 0,
        ...(yMax !== undefined && exceeds(series, yMax) ? { max: yMax } : {}),
      },
      series: [...series.map(drawn), ...bounds.map(({ y, label }) => boundary(series, y, label))],
    });
    return chart
      .renderToSVGString()
      .replace('<svg ', `<svg class="plot" role="img" aria-label="${escapeHtml(title)}" `)
      .replace('>', `>${PLOT_STYLE}`);
  } finally {
    chart.dispose();
  }
}

/** One HTML document; title, intro and headings are plain text. */
export function reportPage(page: {
  readonly title: string;
  readonly intro: string;
  readonly sections: readonly Section[];
}): string {
  const contents = page.sections.map(
    ({ heading }, i) => `<a href="#section-${i + 1}">${escapeHtml(heading)}</a>`,
  );
  const sections = page.sections.map(
    ({ heading, html }, i) =>
      `<section id="section-${i + 1}">\n<h2>${escapeHtml(heading)}</h2>\n${html}\n</section>`,
  );
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escapeHtml(page.title)}</title>
<style>${PAGE_STYLE}</style>
</head>
<body>
<h1>${escapeHtml(page.title)}</h1>
${paragraph(page.intro)}
<nav>${contents.join(' · ')}</nav>
${sections.join('\n')}
</body>
</html>
`;
}

/** A table for a section; the first column is text, the others are set as numbers. */
export function table(head: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const headCells = head.map((text) => `<th>${escapeHtml(text)}</th>`);
  const bodyRows = rows.map((row) => `<tr>${row.map(cell).join('')}</tr>`);
  return `<div class="scroll"><table><thead><tr>${headCells.join('')}</tr></thead><tbody>${bodyRows.join('\n')}</tbody></table></div>`;
}

/** Charts side by side where the window is wide enough. */
export function gallery(charts: readonly string[]): string {
  return `<div class="gallery">${charts.join('\n')}</div>`;
}

/** A paragraph of plain text for a section. */
export function paragraph(text: string): string {
  return `<p>${escapeHtml(text)}</p>`;
}

function cell(content: Cell): string {
  if (typeof content === 'string') return `<td>${escapeHtml(content)}</td>`;
  return `<td class="${content.verdict}">${escapeHtml(content.text)}</td>`;
}

function escapeHtml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}

function linesOfLegend(series: readonly Series[]): number {
  let lines = 1;
  let used = 0;
  for (const { name } of series) {
    const width = LEGEND_SAMPLE + LETTER * name.length;
    if (used > 0 && used + width > WIDTH - 24) {
      lines += 1;
      used = 0;
    }
    used += width;
  }
  return lines;
}

function exceeds(series: readonly Series[], yMax: number): boolean {
  return series.some(({ points }) => points.some(([, y]) => y > yMax));
}

function drawn({ name, points, dashed = false, step = false }: Series): object {
  return {
    type: 'line',
    name,
    data: points.map(([x, y]) => [x, Number.isFinite(y) ? y : null]),
    // A point between two gaps would be no line at all, so few points are marked.
    symbol: points.length <= FEW_POINTS ? 'circle' : 'none',
    symbolSize: 5,
    lineStyle: { width: 1.8, type: dashed ? 'dashed' : 'solid' },
    ...(step ? { step: 'end' } : {}),
  };
}

function linear(axis: { axisLabel: object }, series: readonly Series[]): object {
  const { min, max } = span(series, true);
  return { min, max, axisLabel: { ...axis.axisLabel, ...(isRound(max) ? {} : { showMaxLabel: false }) } };
}

/** The values themselves are named, not the powers of ten between which they lie. */
function logarithmic(axis: { axisLabel: object; axisTick: object }, series: readonly Series[]): object {
  const values = [...new Set(series.flatMap(({ points }) => points.map(([x]) => x)))];
  if (values.length > FEW_VALUES) return { type: 'log', ...span(series) };
  return {
    type: 'log',
    ...span(series),
    axisLabel: { ...axis.axisLabel, customValues: values },
    axisTick: { ...axis.axisTick, customValues: values },
  };
}

/** An invisible series from end to end, so that the axis reaches the bound, and its marked line. */
function boundary(series: readonly Series[], y: number, label: string): object {
  const { min, max } = span(series);
  return {
    type: 'line',
    data: [
      [min, y],
      [max, y],
    ],
    symbol: 'none',
    lineStyle: { opacity: 0 },
    markLine: {
      symbol: 'none',
      data: [{ yAxis: y }],
      lineStyle: { color: BOUND_COLOUR, type: 'dotted', width: 1.5 },
      label: { formatter: () => label, position: 'insideEndTop', color: BOUND_COLOUR, fontSize: 12 },
    },
  };
}

/** From zero, unless the values lie far from it. */
function span(series: readonly Series[], fromZero = false): { min: number; max: number } {
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  for (const { points } of series) {
    for (const [x] of points) {
      min = Math.min(min, x);
      max = Math.max(max, x);
    }
  }
  if (!Number.isFinite(min)) return { min: 0, max: 1 };
  return { min: fromZero && min > 0 && min < 0.1 * max ? 0 : min, max };
}

/** An end that is no round number is not named: it would stand too close to the one before. */
function isRound(end: number): boolean {
  const unit = 10 ** Math.floor(Math.log10(Math.max(end, 1e-9))) / 2;
  return Math.abs(end / unit - Math.round(end / unit)) < 1e-9;
}
