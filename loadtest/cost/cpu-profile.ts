/**
 * A CPU profile as V8 writes it (`--cpu-prof`): a tree of calls, and which of its nodes was on top at each sample. What
 * lies outside of the moments asked for (starting, warming up, ending) is left out, and so are idle samples.
 *
 * Limits: samples are taken by the wall clock. On a machine that others share, a call that gave its processor away, or that
 * the hypervisor held up, is charged with the time it was not running; writes to sockets wake the other side up and are
 * charged most.
 */

export interface CallFrame {
  readonly functionName: string;
  readonly url: string;
  /** From 0. */
  readonly lineNumber: number;
}

interface ProfileNode {
  readonly id: number;
  readonly callFrame: CallFrame;
  readonly children?: readonly number[];
}

export interface CpuProfile {
  readonly nodes: readonly ProfileNode[];
  /** µs of the machine's monotonic clock. */
  readonly startTime: number;
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

/** A node of the tree of calls with the time spent in it and below it. */
export interface Call {
  readonly frame: CallFrame;
  readonly parent: Call | undefined;
  readonly children: Call[];
  /** µs with this call on top, and with it anywhere. */
  selfUs: number;
  totalUs: number;
}

const IDLE = '(idle)';

function indexed(profile: CpuProfile): Map<number, Call> {
  const calls = new Map<number, Call>();
  const raw = new Map(profile.nodes.map((node) => [node.id, node]));
  const add = (node: ProfileNode, parent: Call | undefined): void => {
    const call: Call = { frame: node.callFrame, parent, children: [], selfUs: 0, totalUs: 0 };
    parent?.children.push(call);
    calls.set(node.id, call);
    for (const id of node.children ?? []) {
      const child = raw.get(id);
      if (child !== undefined) add(child, call);
    }
  };
  const [root] = profile.nodes;
  if (root !== undefined) add(root, undefined);
  return calls;
}

/** The tree with the time between the two moments (µs of the monotonic clock) spread over it. */
export function callsBetween(profile: CpuProfile, fromUs: number, untilUs: number): Call {
  const calls = indexed(profile);
  let atUs = profile.startTime;
  for (const [index, id] of profile.samples.entries()) {
    atUs += profile.timeDeltas[index] ?? 0;
    // What a sample stands for lasts until the next one.
    const lastedUs = Math.max(0, profile.timeDeltas[index + 1] ?? 0);
    if (atUs < fromUs || atUs >= untilUs) continue;
    const top = calls.get(id);
    if (top === undefined || top.frame.functionName === IDLE) continue;
    top.selfUs += lastedUs;
    for (let call: Call | undefined = top; call !== undefined; call = call.parent) call.totalUs += lastedUs;
  }
  const root = profile.nodes[0] === undefined ? undefined : calls.get(profile.nodes[0].id);
  if (root === undefined) throw new Error('the profile is empty');
  return root;
}

/** Every call of the tree, callers first. */
export function* eachCall(root: Call): Generator<Call> {
  const open = [root];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    yield next;
    open.push(...next.children);
  }
}
