/**
 * Whose time it was: each call belongs to a room of the budget (the design of forwarding, section 2).
 *
 * Going up from the call that was on top, the first file of a room decides: what the steps of a request ask of the
 * platform is theirs (a socket's buffers are those of whoever writes to it). Two things are told apart before: calls into
 * the kernel, which no code of ours makes cheaper one by one, and collections of garbage. The HTTP/1
 * server of the platform is the server's also where we call it: writing heads is what it is for.
 */
import type { Call } from './cpu-profile.ts';
import { eachCall } from './cpu-profile.ts';

export interface Room {
  readonly name: string;
  /** µs a request, on the machine that the design was measured on; undefined: not planned by itself. */
  readonly budgetUs: number | undefined;
}

/** In the order of the budget, then what it has no line for. */
export const ROOMS = [
  { name: 'server', budgetUs: 40 },
  { name: 'Fastify', budgetUs: 12 },
  { name: 'identity', budgetUs: 3 },
  { name: 'limits, leased', budgetUs: 3 },
  { name: 'admission', budgetUs: 2 },
  { name: 'pick', budgetUs: 1 },
  { name: 'headers', budgetUs: 4 },
  { name: 'upstream client and its socket', budgetUs: 37 },
  { name: 'outcome', budgetUs: 3 },
  { name: 'log', budgetUs: 4 },
  { name: 'exchange, front gate', budgetUs: undefined },
  { name: 'rest of ours', budgetUs: undefined },
  { name: 'garbage collection', budgetUs: undefined },
  { name: 'outside of JavaScript', budgetUs: undefined },
  { name: 'kernel', budgetUs: undefined },
] as const satisfies readonly Room[];

export type RoomName = (typeof ROOMS)[number]['name'];

/** The first match decides, so the narrower one stands first. */
const FILES: readonly (readonly [pattern: RegExp, room: RoomName])[] = [
  [/\/node_modules\/(fastify|find-my-way|avvio|@fastify|fastify-plugin)\//, 'Fastify'],
  [/\/node_modules\/undici\//, 'upstream client and its socket'],
  [/\/src\/io\/(h1-|h2-|upstream-|pools|live-attempt|attempt)/, 'upstream client and its socket'],
  [/\/src\/forwarding\/response-reader/, 'upstream client and its socket'],
  [/\/(src\/clients|plugins\/client-identity|src\/io\/caller)/, 'identity'],
  [/\/(src\/limits|plugins\/rate-limit|src\/io\/limit-store|src\/io\/worker-limits)/, 'limits, leased'],
  [
    /\/(src\/shedding|plugins\/load-shed|src\/io\/(shed-|service-account|worker-shares|worker-beat|pressure-))/,
    'admission',
  ],
  [
    /\/(src\/upstreams|src\/affinity|plugins\/upstream|src\/io\/(choose-instance|affinity-|service-runtime))/,
    'pick',
  ],
  [/\/src\/forwarding\//, 'headers'],
  [/\/src\/io\/(access-|log-sink|process-log|status-log)|\/node_modules\/(pino|sonic-boom)\//, 'log'],
  [/\/(plugins\/outcome|src\/io\/(outcome-|meter|explain-|server-timing|verdict-))/, 'outcome'],
  [
    /\/(src\/io\/(exchange|front-gate|forward|answer|refusal|wheel|local-answers|snapshot|conditions|request-body|lingering|raw-)|plugins\/(proxy|request-context))/,
    'exchange, front gate',
  ],
  [/\/(src|plugins)\//, 'rest of ours'],
];

const SERVER_FILES = /^node:_http_(server|outgoing|incoming|common)|^node:internal\/http/;
/** What a socket's handle calls itself when it writes. */
const WRITES: ReadonlySet<string> = new Set([
  'writev',
  'writeBuffer',
  'writeLatin1String',
  'writeUtf8String',
  'writeAsciiString',
  'writeString',
  'writeBuffers',
]);

function roomOfFile(url: string): RoomName | undefined {
  if (url === '') return undefined;
  return SERVER_FILES.test(url) ? 'server' : FILES.find(([pattern]) => pattern.test(url))?.[1];
}

export function roomOf(top: Call): RoomName {
  const { functionName } = top.frame;
  if (functionName === '(garbage collector)') return 'garbage collection';
  if (functionName === '(program)') return 'outside of JavaScript';
  if (top.frame.url === '' && WRITES.has(functionName)) return 'kernel';
  for (let call: Call | undefined = top; call !== undefined; call = call.parent) {
    const room = roomOfFile(call.frame.url);
    if (room !== undefined) return room;
  }
  return 'server';
}

/** µs by room, of the time that the tree holds. */
export function byRoom(root: Call): Record<RoomName, number> {
  const found = Object.fromEntries(ROOMS.map(({ name }) => [name, 0])) as Record<RoomName, number>;
  for (const call of eachCall(root)) if (call.selfUs > 0) found[roomOf(call)] += call.selfUs;
  return found;
}

/** What the kernel counted while the samples were taken, all a request. */
export interface Counted {
  readonly userUs: number;
  readonly systemUs: number;
}

/**
 * The rooms in µs of CPU a request. Samples tell the time of JavaScript, which seldom waits; the time in the kernel is what
 * the kernel counted, since a sample inside a call there also holds the time in which others ran; and what is left of the
 * time outside of the kernel is the platform's own (the parser, the event loop), which the profiler hardly sees.
 */
export function costByRoom(root: Call, answers: number, counted: Counted): Record<RoomName, number> {
  const rooms = byRoom(root);
  let scriptUs = 0;
  for (const { name } of ROOMS) {
    rooms[name] /= answers;
    if (name !== 'kernel' && name !== 'outside of JavaScript') scriptUs += rooms[name];
  }
  const most = Math.min(1, counted.userUs / scriptUs);
  for (const { name } of ROOMS) rooms[name] *= most;
  rooms['outside of JavaScript'] = counted.userUs - scriptUs * most;
  rooms.kernel = counted.systemUs;
  return rooms;
}
