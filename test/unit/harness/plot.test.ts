/** The charts and pages of the reports, read as a browser would: as markup. */
import { describe, expect, test } from 'vitest';
import { gallery, lineChart, paragraph, reportPage, table } from '../../harness/plot.ts';

const GOODPUT = { name: 'goodput', points: [[0, 0.5] as const, [10, 1] as const, [20, 0.9] as const] };

/** Texts of an SVG in the order of drawing. */
function texts(svg: string): string[] {
  return [...svg.matchAll(/<text[^>]*>([^<]*)<\/text>/g)].map(([, text = '']) => text);
}

describe('a line chart', () => {
  test('names itself, its axes with units, its lines and its bounds', () => {
    const svg = lineChart({
      title: 'Goodput at 10 C',
      xLabel: 'time, s',
      yLabel: 'goodput ÷ C',
      series: [GOODPUT, { ...GOODPUT, name: 'offered' }],
      bounds: [{ y: 0.95, label: 'bound 0.95' }],
    });
    expect(texts(svg)).toEqual(
      expect.arrayContaining([
        'Goodput at 10 C',
        'time, s',
        'goodput ÷ C',
        'goodput',
        'offered',
        'bound 0.95',
      ]),
    );
    expect(svg).toMatch(/^<svg [^>]*role="img" aria-label="Goodput at 10 C"[^>]*>/);
  });

  test('is a file of its own, readable in light and in dark', () => {
    const svg = lineChart({ title: 'A', xLabel: 'x', yLabel: 'y', series: [GOODPUT] });
    expect(svg).toContain('xmlns="http://www.w3.org/2000/svg"');
    expect(svg).toContain('prefers-color-scheme:dark');
    expect(svg).not.toMatch(/(?:href|src)="(?!#)|@import|url\((?!['"]?#)/);
  });

  test('shows markup in a name as text', () => {
    const svg = lineChart({
      title: '<b>&"',
      xLabel: 'x',
      yLabel: 'y',
      series: [{ ...GOODPUT, name: '<script>' }],
    });
    expect(svg).not.toContain('<b>');
    expect(svg).not.toContain('<script>');
    expect(svg).toContain('&lt;script&gt;');
  });

  test('breaks the line where a value is missing', () => {
    const pieces = (points: readonly (readonly [number, number])[]): number => {
      const svg = lineChart({ title: 'A', xLabel: 'x', yLabel: 'y', series: [{ name: 's', points }] });
      const [path = ''] = svg.match(/<path d="[^"]*"[^>]*stroke="#3b82f6" stroke-width="1.8"/) ?? [];
      return path.split('M').length - 1;
    };
    const whole = Array.from({ length: 60 }, (_, i) => [i, 1 + (i % 3)] as const);
    expect(pieces(whole)).toBe(1);
    expect(pieces(whole.map(([x, y]) => [x, x === 30 ? Number.NaN : y]))).toBe(2);
  });

  test('ends at the given height only if something is higher', () => {
    const highest = (yMax: number): number => {
      const svg = lineChart({ title: 'A', xLabel: 'x', yLabel: 'y', yMax, series: [GOODPUT] });
      return Math.max(
        ...texts(svg)
          .map(Number)
          .filter((value) => value < 20 && value !== 5 && value !== 10 && value !== 15),
      );
    };
    expect(highest(0.8)).toBe(0.8);
    expect(highest(3)).toBe(1);
  });

  test('names the values themselves on a logarithmic axis', () => {
    const points = [0.5, 1, 2, 5, 10].map((x) => [x, 1] as const);
    const svg = lineChart({
      title: 'A',
      xLabel: 'x',
      yLabel: 'y',
      logX: true,
      series: [{ name: 's', points }],
    });
    expect(texts(svg)).toEqual(expect.arrayContaining(['0.5', '2', '5', '10']));
  });

  test('is drawn without any point', () => {
    expect(lineChart({ title: 'Nothing', xLabel: 'x', yLabel: 'y', series: [] })).toContain('Nothing');
  });
});

describe('a page', () => {
  const page = reportPage({
    title: 'Report <1>',
    intro: 'a & b',
    sections: [
      { heading: 'Table & text', html: table(['case', 'n'], [['<i>', { text: '0.5', verdict: 'missed' }]]) },
      { heading: 'Charts', html: gallery(['<svg id="one"></svg>']) + paragraph('1 < 2') },
    ],
  });

  test('is one document that needs nothing from elsewhere', () => {
    expect(page).toMatch(/^<!doctype html>/);
    expect(page).not.toMatch(/<script|<link|(?:src|href)="(?!#)/);
    expect(page).toContain('name="color-scheme" content="light dark"');
  });

  test('escapes what is text and keeps what is markup', () => {
    expect(page).toContain('<h1>Report &lt;1&gt;</h1>');
    expect(page).toContain('<p>a &amp; b</p>');
    expect(page).toContain('<td>&lt;i&gt;</td><td class="missed">0.5</td>');
    expect(page).toContain('<p>1 &lt; 2</p>');
    expect(page).toContain('<svg id="one"></svg>');
  });

  test('links to each of its sections', () => {
    const links = [...page.matchAll(/href="#([^"]+)"/g)].map(([, id]) => id);
    expect(links).toHaveLength(2);
    for (const id of links) expect(page).toContain(`<section id="${id}">`);
  });
});
