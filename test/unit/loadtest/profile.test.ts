/** What is read out of a CPU profile: a tree written by hand, for which the answer is known. */
import { describe, expect, test } from 'vitest';

import { callsBetween, eachCall } from '../../../loadtest/cost/cpu-profile.ts';
import type { Call, CpuProfile } from '../../../loadtest/cost/cpu-profile.ts';
import { flameGraph } from '../../../loadtest/cost/flame-graph.ts';
import { byRoom, costByRoom, roomOf, ROOMS } from '../../../loadtest/cost/rooms.ts';

interface Sketch {
  readonly name: string;
  readonly url?: string;
  readonly children?: readonly Sketch[];
}

/** Numbers the calls from 1 in the order of writing. */
function profileOf(sketch: Sketch, samples: readonly (readonly [id: number, us: number])[]): CpuProfile {
  const nodes: CpuProfile['nodes'][number][] = [];
  const add = ({ name, url = '', children = [] }: Sketch): number => {
    const id = nodes.length + 1;
    const node = { id, callFrame: { functionName: name, url, lineNumber: 4 }, children: [] as number[] };
    nodes.push(node);
    node.children.push(...children.map((child) => add(child)));
    return id;
  };
  add(sketch);
  return {
    nodes,
    startTime: 1000,
    samples: samples.map(([id]) => id),
    // A delta stands before its sample: the span of one is the delta of the next.
    timeDeltas: [0, ...samples.map(([, us]) => us)],
  };
}

const TREE: Sketch = {
  name: '(root)',
  children: [
    { name: '(idle)' },
    { name: '(garbage collector)' },
    {
      name: 'parserOnIncoming',
      url: 'node:_http_server',
      children: [
        {
          name: 'enter',
          url: 'file:///x/src/io/front-gate.ts',
          children: [
            { name: 'hookRunner', url: 'file:///x/node_modules/fastify/lib/hooks.js' },
            {
              name: 'send',
              url: 'file:///x/src/io/h1-connection.ts',
              children: [
                {
                  name: 'Socket._write',
                  url: 'node:net',
                  children: [{ name: 'writeLatin1String' }],
                },
              ],
            },
          ],
        },
      ],
    },
  ],
};
const [IDLE, GC, SERVER, GATE, HOOKS, SEND, SOCKET, WRITE] = [2, 3, 4, 5, 6, 7, 8, 9] as const;
const SAMPLES: readonly (readonly [number, number])[] = [
  [IDLE, 500],
  [GC, 10],
  [SERVER, 20],
  [GATE, 30],
  [HOOKS, 40],
  [SEND, 50],
  [SOCKET, 60],
  [WRITE, 300],
];

function named(root: Call, name: string): Call {
  for (const call of eachCall(root)) if (call.frame.functionName === name) return call;
  throw new Error(`no ${name}`);
}

describe('a profile', () => {
  test('counts a call with all that it calls, and no idle time', () => {
    const root = callsBetween(profileOf(TREE, SAMPLES), 0, Infinity);
    expect(root.totalUs).toBe(510);
    expect(named(root, 'enter')).toMatchObject({ selfUs: 30, totalUs: 480 });
    expect(named(root, '(idle)').totalUs).toBe(0);
  });

  test('is cut to the moments that are asked for', () => {
    // The profile begins at 1000; idle ends at 1500, the collection at 1510, the server at 1530.
    const root = callsBetween(profileOf(TREE, SAMPLES), 1505, 1535);
    expect(root.totalUs).toBe(50);
    expect(named(root, 'parserOnIncoming').selfUs).toBe(20);
    expect(named(root, 'enter').selfUs).toBe(30);
  });
});

describe('rooms', () => {
  const root = callsBetween(profileOf(TREE, SAMPLES), 0, Infinity);

  test('a call belongs to the first room above it; the platform to whoever called it', () => {
    expect(roomOf(named(root, 'Socket._write'))).toBe('upstream client and its socket');
    expect(roomOf(named(root, 'writeLatin1String'))).toBe('kernel');
    expect(roomOf(named(root, 'hookRunner'))).toBe('Fastify');
    expect(roomOf(named(root, 'parserOnIncoming'))).toBe('server');
  });

  test('together are all of the time', () => {
    const rooms = byRoom(root);
    expect(rooms).toMatchObject({
      server: 20,
      'exchange, front gate': 30,
      'garbage collection': 10,
      kernel: 300,
    });
    expect(ROOMS.reduce((sum, { name }) => sum + rooms[name], 0)).toBe(510);
  });

  test('the kernel is what it counted itself, and the rest of the user time is outside of JavaScript', () => {
    const rooms = costByRoom(root, 10, { userUs: 25, systemUs: 14 });
    expect(rooms).toMatchObject({ kernel: 14, Fastify: 4, 'upstream client and its socket': 11 });
    expect(rooms['outside of JavaScript']).toBeCloseTo(4, 9);
  });

  test('samples that tell more than was used are scaled to what was', () => {
    const rooms = costByRoom(root, 10, { userUs: 10.5, systemUs: 14 });
    expect(rooms.Fastify).toBeCloseTo(2, 9);
    expect(rooms['outside of JavaScript']).toBeCloseTo(0, 9);
  });
});

describe('a flame graph', () => {
  const root = callsBetween(profileOf(TREE, SAMPLES), 0, Infinity);
  const svg = flameGraph(root, 'a <b> "c"', (us) => us / 10);

  test('draws each call as wide as its share, below its caller', () => {
    const boxOf = (name: string): { x: number; y: number; width: number } => {
      const box = new RegExp(
        `<title>${name}[^<]*</title><rect x="([\\d.]+)" y="(\\d+)" width="([\\d.]+)"`,
        's',
      ).exec(svg);
      return { x: Number(box?.[1]), y: Number(box?.[2]), width: Number(box?.[3]) };
    };
    const [server, gate] = [boxOf('parserOnIncoming'), boxOf('enter')];
    expect(server.width / gate.width).toBeCloseTo(500 / 480, 2);
    expect(gate.x).toBe(server.x);
    expect(gate.y).toBeGreaterThan(server.y);
  });

  test('says what a call costs a request, and escapes what it says', () => {
    expect(svg).toContain('48.00 µs a request, itself 3.00');
    expect(svg).toContain('a &lt;b&gt; &quot;c&quot;');
    expect(svg).not.toContain('<b>');
  });
});
