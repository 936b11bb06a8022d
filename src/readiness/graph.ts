import { isoBefore } from './iso-time.ts';

/**
 * Who is down because of whom.
 *
 * Signal: the state of each service by its own instances, and which checks they report as failing. Decision, in topological
 * order, so each node is looked at once, O(V + E): a service with a required dependency that is down is itself
 * `dependency-down`, whatever its own instances say, unless it wants to serve all the same; a lost optional one degrades.
 * Each verdict names its causes down to a root, so that the page of the edge says `inventory`, not `checkout`.
 * An unknown dependency takes nothing down: at start nobody is known. A degraded one degrades nobody: a warning that
 * spreads over the whole graph warns of nothing. Liveness is never derived.
 * A check is down while the fault is blamed on what lies behind the instances (`FailingCheck`); one of several that reports it
 * is that instance's own affair.
 */

export type DependencyMode = 'required' | 'optional';

export interface Dependency {
  /** Another service, or … */
  readonly service?: string | undefined;
  /** … a check in the readiness documents of the service's own instances. */
  readonly check?: string | undefined;
  readonly mode: DependencyMode;
}

export interface GraphNode {
  readonly service: string;
  readonly dependsOn: readonly Dependency[];
  /** `serve`: the service goes on without it, degraded. */
  readonly onDependencyDown: 'failFast' | 'serve';
}

/** A service by its own instances. */
export interface ServiceInput {
  readonly state: 'unknown' | 'up' | 'degraded' | 'down';
  readonly reason: string;
  /** Age of the state. */
  readonly sinceMs: number;
  readonly failingChecks: readonly {
    readonly name: string;
    readonly failing: number;
    readonly reporting: number;
    /** The fault lies behind the instances. */
    readonly blamed: boolean;
    readonly sinceMs: number;
  }[];
}

export type ReadinessState = 'unknown' | 'up' | 'degraded' | 'dependency-down' | 'down';

export interface Cause {
  /** A service or a check. */
  readonly subject: string;
  readonly state: ReadinessState;
  readonly reason: string;
  /** ISO time, whole seconds. */
  readonly since: string;
}

export interface ServiceReadiness {
  readonly state: ReadinessState;
  /** From the nearest cause to its root; several causes one after the other. Empty while up. */
  readonly because: readonly Cause[];
  /** Its own dependencies that are down, required and optional ones. */
  readonly lacks: readonly string[];
}

const UNHEARD: ServiceInput = { state: 'unknown', reason: '', sinceMs: 0, failingChecks: [] };

export class ReadinessGraph {
  /** Dependencies before their dependents. */
  readonly #order: readonly GraphNode[];

  /** @throws Error naming the path, when a dependency is unknown or services depend on each other in a circle */
  constructor(nodes: readonly GraphNode[]) {
    this.#order = topological(nodes);
  }

  /**
   * The state of every service.
   * @param nowIso wall time as `Date.prototype.toISOString` writes it
   */
  evaluate(inputs: ReadonlyMap<string, ServiceInput>, nowIso: string): Map<string, ServiceReadiness> {
    const verdicts = new Map<string, ServiceReadiness>();
    for (const node of this.#order) {
      const input = inputs.get(node.service) ?? UNHEARD;
      verdicts.set(node.service, judge(node, input, verdicts, nowIso));
    }
    return verdicts;
  }
}

function judge(
  node: GraphNode,
  input: ServiceInput,
  verdicts: ReadonlyMap<string, ServiceReadiness>,
  nowIso: string,
): ServiceReadiness {
  const required: Cause[] = [];
  const optional: Cause[] = [];
  const lacks: string[] = [];
  for (const dependency of node.dependsOn) {
    const causes =
      dependency.service === undefined
        ? checkCauses(dependency.check ?? '', input, nowIso)
        : serviceCauses(dependency.service, verdicts, nowIso);
    (dependency.mode === 'required' ? required : optional).push(...causes);
    if (causes.length > 0) lacks.push(dependency.service ?? dependency.check ?? '');
  }
  const own = ownCauses(node.service, input, nowIso);
  if (required.length > 0 && node.onDependencyDown === 'failFast') {
    return { state: 'dependency-down', because: unique(required), lacks };
  }
  const lost = [...required, ...optional];
  if (input.state === 'down' || input.state === 'unknown') {
    return { state: input.state, because: unique([...own, ...lost]), lacks };
  }
  const degraded = lost.length > 0 || input.state === 'degraded';
  return { state: degraded ? 'degraded' : 'up', because: unique([...lost, ...own]), lacks };
}

/** The dependency as a cause, and what it is itself down of. */
function serviceCauses(
  service: string,
  verdicts: ReadonlyMap<string, ServiceReadiness>,
  nowIso: string,
): readonly Cause[] {
  const verdict = verdicts.get(service);
  if (verdict?.state === 'down') return verdict.because;
  if (verdict?.state !== 'dependency-down') return [];
  const since = verdict.because.at(-1)?.since ?? isoBefore(nowIso, 0);
  const reason = `lacks ${verdict.because[0]?.subject ?? 'a dependency'}`;
  return [{ subject: service, state: 'dependency-down', reason, since }, ...verdict.because];
}

function checkCauses(check: string, input: ServiceInput, nowIso: string): readonly Cause[] {
  for (const { name, failing, reporting, blamed, sinceMs } of input.failingChecks) {
    if (name !== check || !blamed) continue;
    const reason = `${failing} of ${reporting} instances report it`;
    return [{ subject: check, state: 'down', reason, since: isoBefore(nowIso, sinceMs) }];
  }
  return [];
}

function ownCauses(service: string, input: ServiceInput, nowIso: string): readonly Cause[] {
  if (input.state === 'up' || (input.state !== 'down' && input.reason === '')) return [];
  const { state, reason, sinceMs } = input;
  return [{ subject: service, state, reason, since: isoBefore(nowIso, sinceMs) }];
}

/** Two paths to one root name it once, at the end, so that every list ends at a root. */
function unique(causes: readonly Cause[]): readonly Cause[] {
  const seen = new Set<string>();
  const kept: Cause[] = [];
  for (const cause of causes.toReversed()) {
    if (!seen.has(cause.subject)) kept.push(cause);
    seen.add(cause.subject);
  }
  return kept.toReversed();
}

/** Depth first, without recursion: a chain of a thousand services is a configuration like any other. */
function topological(nodes: readonly GraphNode[]): readonly GraphNode[] {
  const byName = new Map(nodes.map((node) => [node.service, node]));
  const done = new Set<string>();
  const order: GraphNode[] = [];
  for (const start of nodes) {
    const path: { readonly node: GraphNode; next: number }[] = [{ node: start, next: 0 }];
    const onPath = new Set([start.service]);
    if (done.has(start.service)) continue;
    for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
      const dependency = top.node.dependsOn[top.next++];
      if (dependency === undefined) {
        path.pop();
        onPath.delete(top.node.service);
        done.add(top.node.service);
        order.push(top.node);
        continue;
      }
      const name = dependency.service;
      if (name === undefined || done.has(name)) continue;
      const node = byName.get(name);
      if (node === undefined || onPath.has(name)) {
        const names = [...path.map(({ node }) => node.service), name];
        if (node === undefined) throw new Error(`unknown service in dependsOn: ${names.join(' → ')}`);
        throw new Error(`services depend on each other: ${names.slice(names.indexOf(name)).join(' → ')}`);
      }
      path.push({ node, next: 0 });
      onPath.add(name);
    }
  }
  return order;
}
