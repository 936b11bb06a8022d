/**
 * The report as files: `report.html` with all tables and charts, `report.json` with all figures, and for each scenario a
 * CSV of one run's course and its charts as SVG.
 *
 * Scenarios are added one at a time, so that the worlds of those before can be forgotten.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { gallery, paragraph, reportPage, table, type Cell, type Section } from '../harness/plot.ts';
import { courseCharts, courseCsv, goodputChart } from './report-course.ts';
import type { PeerRun } from './report-peers.ts';
import {
  boundWithWorst,
  figure,
  inShort,
  lastLine,
  shortfallInWords,
  sumOf,
  summary,
  title,
  verdictOf,
  type Verdict,
} from './report-words.ts';
import { inWords, type BoundCount, type Figures, type Judgement, type Scenario } from './suite.ts';
import type { World } from './model.ts';

interface PeerFigures {
  readonly name: string;
  readonly figures: Figures;
}

interface Entry {
  readonly scenario: Scenario;
  readonly judgement: Judgement;
  readonly peers: readonly PeerFigures[];
}

export class ReportFiles {
  readonly #folder: string;
  readonly #seeds: readonly number[];
  readonly #entries: Entry[] = [];
  readonly #sections: Section[] = [];

  /** @param folder is made if it is not there; what has the same names in it is replaced */
  constructor(folder: string, seeds: readonly number[]) {
    this.#folder = folder;
    this.#seeds = seeds;
    mkdirSync(folder, { recursive: true });
  }

  /** @param world of the first seed, with ours; @param peers the same with each peer, ours first, or none at all */
  add(scenario: Scenario, judgement: Judgement, world: World, peers: readonly PeerRun[]): void {
    const name = title(scenario);
    const file = slug(name);
    const charts = courseCharts(name, world, scenario.bounds);
    const svgs = charts.map(({ svg }) => svg);
    for (const chart of charts) this.#write(`${file}-${chart.name}.svg`, chart.svg);
    if (peers.length > 0) {
      const chart = goodputChart(name, peers);
      this.#write(`${file}-peers.svg`, chart);
      svgs.push(chart);
    }
    this.#write(`${file}.csv`, courseCsv(world));
    this.#entries.push({
      scenario,
      judgement,
      peers: peers.map(({ name: who, figures }) => ({ name: who, figures })),
    });
    this.#sections.push({
      heading: name,
      html: [
        paragraph(`Bounds: ${scenario.bounds.map(inWords).join(', ')}.`),
        ...judgement.misses.map((miss) => paragraph(`Missed: ${miss}.`)),
        ...judgement.shortfalls.map((one) => paragraph(`Short: ${shortfallInWords(one)}`)),
        gallery(svgs),
        ...(peers.length > 0 ? [everyFigure(peers)] : []),
      ].join('\n'),
    });
  }

  /** Writes the page and the figures. */
  finish(): void {
    const bounds = sumOf(this.#entries.map(({ judgement }) => judgement));
    const [first = 0] = this.#seeds;
    const withPeers = this.#entries.filter(({ peers }) => peers.length > 0);
    const sections: Section[] = [{ heading: 'Scenarios and bounds', html: overview(this.#entries) }];
    if (bounds.short > 0)
      sections.push({ heading: 'Short of their bound', html: shortfallTable(this.#entries) });
    if (withPeers.length > 0)
      sections.push({
        heading: 'Ours beside the peers',
        html:
          paragraph(
            `One run each with seed ${first}: goodput ÷ capacity; p99 of the served, in brackets that of the first second where it was longer; critical requests served in time; how long after the event all was well again. Peers are re-implemented from their public descriptions with default parameters: read directions, not decimals.`,
          ) + pivot(withPeers),
      });
    this.#write(
      'report.html',
      reportPage({
        title: 'Spillway: simulation',
        intro: `${lastLine(this.#entries.length, this.#seeds.length, bounds)}. Seeds from ${first}. Charts show seed ${first}. Node ${process.version}.`,
        sections: [...sections, ...this.#sections],
      }),
    );
    this.#write('report.json', `${JSON.stringify(this.#figures(bounds), jsonValue, 2)}\n`);
  }

  #figures(bounds: BoundCount): object {
    return {
      node: process.version,
      seeds: this.#seeds,
      ...bounds,
      scenarios: this.#entries.map(({ scenario, judgement, peers }) => ({
        group: scenario.group,
        name: scenario.name,
        files: slug(title(scenario)),
        bounds: scenario.bounds,
        verdict: verdictOf(judgement),
        misses: judgement.misses,
        shortfalls: judgement.shortfalls.map(({ bound, ...rest }) => ({ bound: inWords(bound), ...rest })),
        runs: judgement.figures.map((figures, i) => ({ seed: this.#seeds[i], ...figures })),
        peers: peers.map(({ name, figures }) => ({ name, ...figures })),
      })),
    };
  }

  #write(name: string, text: string): void {
    writeFileSync(path.join(this.#folder, name), text);
  }
}

/** For file names: what is no letter or digit becomes a dash. */
function slug(text: string): string {
  return text
    .toLowerCase()
    .replaceAll('→', 'to')
    .replaceAll(/[^a-z0-9.]+/g, '-')
    .replaceAll(/^-+|-+$/g, '');
}

/** JSON has no infinity: what never came is told in a word. */
function jsonValue(_key: string, value: unknown): unknown {
  return value === Number.POSITIVE_INFINITY ? 'never' : value;
}

function overview(entries: readonly Entry[]): string {
  return table(
    ['scenario', 'goodput ÷ C, worst / median', 'p99 ms, worst', 'critical, worst', 'bounds: worst', ''],
    entries.map(({ scenario, judgement }): Cell[] => {
      const { goodput, p99, critical } = summary(judgement);
      return [
        title(scenario),
        goodput,
        p99,
        critical,
        scenario.bounds.map((bound) => boundWithWorst(bound, judgement.figures)).join('\n'),
        verdictCell(verdictOf(judgement)),
      ];
    }),
  );
}

/** A shortfall is a bound not kept, so it has that colour, too. */
function verdictCell(text: Verdict): Cell {
  return { text, verdict: text === 'kept' ? 'kept' : 'missed' };
}

function shortfallTable(entries: readonly Entry[]): string {
  return table(
    ['scenario', 'bound', 'worst', 'missed by', 'why'],
    entries.flatMap(({ scenario, judgement }) =>
      judgement.shortfalls.map(({ bound, worst, missedBy, of, why }): Cell[] => [
        title(scenario),
        inWords(bound),
        figure(bound.measure, worst),
        bound.mean === true ? 'the mean' : `${missedBy} of ${of}`,
        why,
      ]),
    ),
  );
}

/** Scenarios down, who was at the gate across. The fixed limit is another number in each scenario, so it goes by its place. */
function pivot(entries: readonly Entry[]): string {
  const [first] = entries;
  const head = first?.peers.map(({ name }) => name.replace(/ \d+/, ' n')) ?? [];
  return table(
    ['scenario', ...head],
    entries.map(({ scenario, peers }) => [
      title(scenario),
      ...peers.map(({ figures }) => inShort(figures).join('\n')),
    ]),
  );
}

function everyFigure(peers: readonly PeerRun[]): string {
  const [ours] = peers;
  const measures = Object.keys(ours?.figures ?? {});
  return table(
    ['', ...measures],
    peers.map(({ name, figures }) => [
      name,
      ...measures.map((measure) => figure(measure, figures[measure] ?? Number.NaN)),
    ]),
  );
}
