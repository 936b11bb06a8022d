/**
 * Names that one section uses and another defines. Works on what is written, not on what the schema made of it, so
 * that a mistyped service name is reported in the same run as a mistyped duration beside it. Values of the wrong kind
 * are passed over: the schema has already spoken of them.
 */
import type { Finding, Path } from './findings.ts';
import type { Source } from './source.ts';
import { nearest } from './suggest.ts';
import { isTree, listOf as list, treeOf as tree } from './tree.ts';
import type { Tree } from './tree.ts';

/** A service needs another, said at a place in the file. */
interface Edge {
  readonly to: string;
  readonly path: Path;
}

/** Every unknown name, every duplicate, every cycle. */
export function checkReferences(source: Source): Finding[] {
  const root = tree(source.value);
  const services = tree(root.services);
  const tiers = new Set([...Object.keys(tree(root.tiers)), 'default']);
  const findings: Finding[] = [];
  const fault = (path: Path, message: string, suggestion = ''): void => {
    findings.push(source.find('error', path, message, { suggestion }));
  };
  const knownService = (value: unknown, path: Path): void => {
    if (typeof value === 'string' && !Object.hasOwn(services, value)) {
      fault(path, `there is no service \`${value}\``, nearest(value, Object.keys(services)));
    }
  };
  const knownTier = (value: unknown, path: Path): void => {
    if (typeof value === 'string' && !tiers.has(value)) {
      fault(path, `there is no tier \`${value}\``, nearest(value, tiers));
    }
  };

  const clients = tree(root.clients);
  knownTier(clients.defaultTier, ['clients', 'defaultTier']);
  list(clients.keys).forEach((row, index) => knownTier(tree(row).tier, ['clients', 'keys', index, 'tier']));

  for (const [name, value] of Object.entries(services)) {
    const own: Path = ['services', name];
    for (const edge of dependencies(name, value)) knownService(edge.to, edge.path);
    const fallback = tree(tree(value).onDependencyDown).fallback;
    const fallbackPath: Path = [...own, 'onDependencyDown', 'fallback'];
    knownService(fallback, fallbackPath);
    if (fallback === name) fault(fallbackPath, 'a service cannot stand in for itself');
    else if (
      typeof fallback === 'string' &&
      tree(tree(services[fallback]).onDependencyDown).fallback !== undefined
    ) {
      fault(fallbackPath, `\`${fallback}\` has a fallback of its own: one hop is all there is`);
    }
    checkInstances(value, own, fault);
  }
  findings.push(...checkCycles(services, source));

  const routes = list(root.routes).map(tree);
  routes.forEach((route, index) => knownService(route.service, ['routes', index, 'service']));
  checkDuplicateRoutes(routes, source, fault);
  findings.push(...unusedServices(services, routes, source));
  return findings;
}

type Fault = (path: Path, message: string) => void;

/** Two entries of one address would be one instance with two weights. */
function checkInstances(service: unknown, own: Path, fault: Fault): void {
  const seen = new Set<string>();
  list(tree(service).instances).forEach((entry, index) => {
    const url = typeof entry === 'string' ? entry : tree(entry).url;
    if (typeof url !== 'string' || !URL.canParse(url)) return;
    const { hostname, port, protocol } = new URL(url);
    const id = `${hostname}:${port || (protocol === 'https:' ? '443' : '80')}`;
    if (seen.has(id)) fault([...own, 'instances', index], `the instance \`${id}\` stands here twice`);
    seen.add(id);
  });
}

function dependencies(name: string, service: unknown): Edge[] {
  return list(tree(service).dependsOn).flatMap((entry, index) => {
    const to = tree(entry).service;
    return typeof to === 'string' ? [{ to, path: ['services', name, 'dependsOn', index, 'service'] }] : [];
  });
}

/**
 * Each cycle once, at the edge that closes it, with its whole path. Depth first without recursion, as a chain may be as
 * long as the file.
 */
function checkCycles(services: Tree, source: Source): Finding[] {
  const findings: Finding[] = [];
  const finished = new Set<string>();
  for (const start of Object.keys(services)) {
    const trail: { name: string; rest: Edge[] }[] = [];
    const onTrail = new Set<string>();
    const enter = (name: string): void => {
      trail.push({ name, rest: dependencies(name, services[name]) });
      onTrail.add(name);
    };
    if (!finished.has(start)) enter(start);
    for (let top = trail.at(-1); top !== undefined; top = trail.at(-1)) {
      const edge = top.rest.shift();
      if (edge === undefined) {
        finished.add(top.name);
        onTrail.delete(top.name);
        trail.pop();
      } else if (onTrail.has(edge.to)) {
        const names = trail.map((step) => step.name);
        const circle = [...names.slice(names.indexOf(edge.to)), edge.to].join(' → ');
        findings.push(
          source.find('error', edge.path, `services depend on each other in a circle: ${circle}`),
        );
      } else if (!finished.has(edge.to) && Object.hasOwn(services, edge.to)) {
        enter(edge.to);
      }
    }
  }
  return findings;
}

/** Two routes that take the same requests: nobody could say which of them wins. */
function checkDuplicateRoutes(routes: readonly Tree[], source: Source, fault: Fault): void {
  const seen = new Map<string, { index: number; methods: unknown }[]>();
  routes.forEach((route, index) => {
    if (typeof route.path !== 'string') return;
    const host = typeof route.host === 'string' ? route.host.toLowerCase() : '';
    const headers: [string, unknown][] = Object.entries(tree(tree(route.match).headers)).map(
      ([key, value]) => [key.toLowerCase(), value],
    );
    const key = JSON.stringify([host, route.path, headers.sort(byName)]);
    const others = seen.get(key) ?? [];
    const twin = others.find((other) => methodsMeet(other.methods, route.methods));
    if (twin !== undefined) {
      const { line } = source.find('error', ['routes', twin.index], '');
      fault(['routes', index, 'path'], `takes the same requests as the route in line ${line}`);
    }
    others.push({ index, methods: route.methods });
    seen.set(key, others);
  });
}

function byName(left: readonly unknown[], right: readonly unknown[]): number {
  return String(left[0]).localeCompare(String(right[0]));
}

function methodsMeet(left: unknown, right: unknown): boolean {
  if (!Array.isArray(left) || !Array.isArray(right))
    return left === undefined || right === undefined ? left === right : false;
  const upper = new Set(left.map((method) => String(method).toUpperCase()));
  return right.some((method) => upper.has(String(method).toUpperCase()));
}

/**
 * Nothing is said while some reference leads nowhere (unknown, mistyped or of the wrong kind): it may be the missing one.
 */
function unusedServices(services: Tree, routes: readonly Tree[], source: Source): Finding[] {
  const used: unknown[] = routes.map((route) => route.service);
  for (const value of Object.values(services)) {
    const { dependsOn, onDependencyDown } = tree(value);
    for (const entry of list(dependsOn)) if (tree(entry).check === undefined) used.push(tree(entry).service);
    if (isTree(onDependencyDown)) used.push(onDependencyDown.fallback);
  }
  const known = (name: unknown): boolean => typeof name === 'string' && Object.hasOwn(services, name);
  if (routes.length === 0 || !used.every(known)) return [];
  return Object.keys(services)
    .filter((name) => !used.includes(name))
    .map((name) =>
      source.find('warning', ['services', name], `no route and no service leads to \`${name}\``, {
        atKey: true,
      }),
    );
}
