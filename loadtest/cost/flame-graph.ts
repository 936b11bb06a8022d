/**
 * A flame graph, callers above what they call, as one SVG that needs nothing from anywhere else. A box is as wide as its
 * share of the time; its colour is the room of the budget that its own time belongs to, and its title says the rest.
 */
import type { Call } from './cpu-profile.ts';
import { roomOf, ROOMS } from './rooms.ts';
import type { RoomName } from './rooms.ts';

const WIDTH = 1280;
const LINE = 17;
/** Narrower boxes than this are neither seen nor hit by a pointer. */
const LEAST_WIDTH = 0.6;
const LETTER = 6.3;
const DEEPEST = 60;

const COLOURS: Readonly<Record<RoomName, string>> = {
  server: '#7aa6e8',
  Fastify: '#c9a9ec',
  identity: '#8fd3c1',
  'limits, leased': '#9ad07e',
  admission: '#d8cf6a',
  pick: '#e9b872',
  headers: '#f0a08b',
  'upstream client and its socket': '#5fc1d9',
  outcome: '#d89ac0',
  log: '#b9c0c8',
  'exchange, front gate': '#f2d492',
  'rest of ours': '#dcd3c2',
  'garbage collection': '#9a9a9a',
  'outside of JavaScript': '#c4c9d4',
  kernel: '#e5796d',
};

/** Calls of the same function below the same callers, whatever line called them, are one box. */
interface Box {
  readonly name: string;
  readonly where: string;
  readonly room: RoomName;
  totalUs: number;
  selfUs: number;
  readonly below: Map<string, Box>;
}

function whereOf({ frame }: Call): string {
  if (frame.url === '') return '';
  const short = frame.url.replace(/^file:\/\//, '').replace(/^.*?\/(src|plugins|node_modules)\//, '$1/');
  return `${short}:${frame.lineNumber + 1}`;
}

function gathered(calls: readonly Call[]): Map<string, Box> {
  const boxes = new Map<string, { box: Box; children: Call[] }>();
  for (const call of calls) {
    if (call.totalUs === 0) continue;
    const name = call.frame.functionName === '' ? '(anonymous)' : call.frame.functionName;
    const where = whereOf(call);
    const key = `${name} ${where}`;
    let entry = boxes.get(key);
    if (entry === undefined) {
      const box = { name, where, room: roomOf(call), totalUs: 0, selfUs: 0, below: new Map<string, Box>() };
      entry = { box, children: [] };
      boxes.set(key, entry);
    }
    entry.box.totalUs += call.totalUs;
    entry.box.selfUs += call.selfUs;
    entry.children.push(...call.children);
  }
  return new Map([...boxes].map(([key, { box, children }]) => [key, { ...box, below: gathered(children) }]));
}

function escaped(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}

/** `usOf` turns time of the profile into what it is a request. */
export function flameGraph(root: Call, title: string, usOf: (timeUs: number) => number): string {
  const scale = WIDTH / Math.max(1, root.totalUs);
  const parts: string[] = [];
  let depth = 0;
  const draw = (boxes: ReadonlyMap<string, Box>, left: number, level: number): void => {
    let x = left;
    for (const box of [...boxes.values()].toSorted((a, b) => b.totalUs - a.totalUs)) {
      const width = box.totalUs * scale;
      if (width >= LEAST_WIDTH && level < DEEPEST) {
        depth = Math.max(depth, level + 1);
        parts.push(drawn(box, x, level, width, usOf));
        draw(box.below, x, level + 1);
      }
      x += width;
    }
  };
  draw(gathered(root.children), 0, 0);
  const height = depth * LINE;
  const legend = ROOMS.map(({ name }) => `<span style="background:${COLOURS[name]}">${escaped(name)}</span>`);
  return `<figure class="flame"><style>
.flame{margin:1rem 0;overflow-x:auto}.flame figcaption{font-size:.875rem;line-height:2}
.flame span{color:#111;padding:.1rem .4rem;margin-right:.3rem;border-radius:3px;white-space:nowrap}
.flame text{font:11px ui-monospace,"DejaVu Sans Mono",monospace;fill:#111;pointer-events:none}
.flame rect{stroke:#fff;stroke-width:.5}.flame rect:hover{stroke:#000;stroke-width:1.5}
</style><figcaption>${escaped(title)}<br>${legend.join('')}</figcaption>
<svg viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="${escaped(title)}">
${parts.join('\n')}
</svg></figure>`;
}

function drawn(box: Box, x: number, level: number, width: number, usOf: (timeUs: number) => number): string {
  const letters = Math.floor((width - 4) / LETTER);
  const label = box.name.length > letters ? `${box.name.slice(0, Math.max(0, letters - 1))}…` : box.name;
  const figures = `${usOf(box.totalUs).toFixed(2)} µs a request, itself ${usOf(box.selfUs).toFixed(2)}`;
  const about = `${box.name}${box.where === '' ? '' : ` (${box.where})`}\n${figures} · ${box.room}`;
  const text =
    letters < 3 ? '' : `<text x="${(x + 2).toFixed(1)}" y="${level * LINE + 12}">${escaped(label)}</text>`;
  return `<g><title>${escaped(about)}</title><rect x="${x.toFixed(1)}" y="${level * LINE}" width="${width.toFixed(1)}" height="${LINE - 1}" fill="${COLOURS[box.room]}"/>${text}</g>`;
}
