import { describe, expect, it } from 'vitest';
import { ReadinessGraph, type GraphNode, type ServiceInput } from '../../../src/readiness/graph.ts';

const NOW = '2026-03-01T12:01:10.500Z';
const UP: ServiceInput = { state: 'up', reason: '', sinceMs: 0, failingChecks: [] };
const DOWN: ServiceInput = { state: 'down', reason: '3 of 3 not ready', sinceMs: 3500, failingChecks: [] };

function node(
  service: string,
  dependsOn: GraphNode['dependsOn'] = [],
  onDown: GraphNode['onDependencyDown'] = 'failFast',
) {
  return { service, dependsOn, onDependencyDown: onDown };
}
function needs(service: string) {
  return { service, mode: 'required' } as const;
}
function uses(service: string) {
  return { service, mode: 'optional' } as const;
}

function failing(blamed: boolean): ServiceInput {
  const check = { name: 'postgres', failing: 2, reporting: 3, blamed, sinceMs: 60_000 };
  return { ...DOWN, failingChecks: [check] };
}

/** `state: subject/state …` of one service. */
function verdict(nodes: GraphNode[], inputs: Record<string, ServiceInput>, service: string): string {
  const result = new ReadinessGraph(nodes).evaluate(new Map(Object.entries(inputs)), NOW).get(service);
  const because = result?.because.map(({ subject, state }) => `${subject}/${state}`) ?? [];
  return [`${result?.state}:`, ...because].join(' ');
}

describe('the readiness graph', () => {
  it('names a dead dependency with reason and time', () => {
    const graph = new ReadinessGraph([node('shop', [needs('stock')]), node('stock')]);
    expect(
      graph.evaluate(
        new Map([
          ['shop', UP],
          ['stock', DOWN],
        ]),
        NOW,
      ),
    ).toEqual(
      new Map([
        [
          'stock',
          {
            state: 'down',
            because: [
              { subject: 'stock', state: 'down', reason: '3 of 3 not ready', since: '2026-03-01T12:01:07Z' },
            ],
            lacks: [],
          },
        ],
        [
          'shop',
          {
            state: 'dependency-down',
            because: [
              { subject: 'stock', state: 'down', reason: '3 of 3 not ready', since: '2026-03-01T12:01:07Z' },
            ],
            lacks: ['stock'],
          },
        ],
      ]),
    );
  });

  it('goes through required edges down to the root', () => {
    const nodes = [
      node('edge', [needs('checkout')]),
      node('checkout', [needs('inventory')]),
      node('inventory'),
    ];
    const inputs = { edge: UP, checkout: UP, inventory: DOWN };
    expect(verdict(nodes, inputs, 'edge')).toBe('dependency-down: checkout/dependency-down inventory/down');
  });

  it('dependency-down beats down, since it names the root', () => {
    const nodes = [node('shop', [needs('stock')]), node('stock')];
    expect(verdict(nodes, { shop: DOWN, stock: DOWN }, 'shop')).toBe('dependency-down: stock/down');
  });

  it('a lost optional dependency degrades', () => {
    const nodes = [node('shop', [uses('ads')]), node('ads')];
    expect(verdict(nodes, { shop: UP, ads: DOWN }, 'shop')).toBe('degraded: ads/down');
    expect(verdict(nodes, { shop: DOWN, ads: DOWN }, 'shop')).toBe('down: shop/down ads/down');
  });

  it('an optional dependency that is lost is told of beside a required one, which alone is the cause', () => {
    const nodes = [node('shop', [needs('stock'), uses('ads')]), node('stock'), node('ads')];
    const inputs = { shop: UP, stock: DOWN, ads: DOWN };
    expect(verdict(nodes, inputs, 'shop')).toBe('dependency-down: stock/down');
    const verdicts = new ReadinessGraph(nodes).evaluate(new Map(Object.entries(inputs)), NOW);
    expect(verdicts.get('shop')?.lacks).toEqual(['stock', 'ads']);
  });

  it('a service that serves on is degraded, and its own dependents go on', () => {
    const nodes = [node('edge', [needs('shop')]), node('shop', [needs('stock')], 'serve'), node('stock')];
    const inputs = { edge: UP, shop: UP, stock: DOWN };
    expect(verdict(nodes, inputs, 'shop')).toBe('degraded: stock/down');
    expect(verdict(nodes, inputs, 'edge')).toBe('up:');
  });

  it('unknown and degraded dependencies take nothing down', () => {
    const nodes = [node('shop', [needs('stock')]), node('stock')];
    const degraded: ServiceInput = { ...UP, state: 'degraded', reason: '1 of 3 not ready' };
    expect(verdict(nodes, { shop: UP }, 'shop')).toBe('up:');
    expect(verdict(nodes, { shop: UP, stock: degraded }, 'shop')).toBe('up:');
    expect(verdict(nodes, { shop: UP, stock: degraded }, 'stock')).toBe('degraded: stock/degraded');
    expect(verdict(nodes, {}, 'shop')).toBe('unknown:');
  });

  it('two paths to one root name it once, at the end', () => {
    const nodes = [
      node('edge', [needs('a'), needs('b')]),
      node('a', [needs('db')]),
      node('b', [needs('db')]),
      node('db'),
    ];
    const inputs = { edge: UP, a: UP, b: UP, db: DOWN };
    expect(verdict(nodes, inputs, 'edge')).toBe(
      'dependency-down: a/dependency-down b/dependency-down db/down',
    );
  });

  it('a check is down while what it checks is blamed, not when some instance reports it', () => {
    const nodes = [node('shop', [{ check: 'postgres', mode: 'required' }])];
    expect(verdict(nodes, { shop: failing(true) }, 'shop')).toBe('dependency-down: postgres/down');
    expect(verdict(nodes, { shop: failing(false) }, 'shop')).toBe('down: shop/down');
    const optional = [node('shop', [{ check: 'postgres', mode: 'optional' }])];
    expect(verdict(optional, { shop: { ...failing(true), state: 'up' } }, 'shop')).toBe(
      'degraded: postgres/down',
    );
  });

  it('a circle and an unknown service are faults that show the path', () => {
    expect(
      () => new ReadinessGraph([node('a', [needs('b')]), node('b', [needs('c')]), node('c', [needs('b')])]),
    ).toThrow('services depend on each other: b → c → b');
    expect(() => new ReadinessGraph([node('a', [needs('a')])])).toThrow('a → a');
    expect(() => new ReadinessGraph([node('a', [needs('b')]), node('b', [uses('x')])])).toThrow(
      'unknown service in dependsOn: a → b → x',
    );
  });

  it('a chain of ten thousand is no deep recursion', () => {
    const nodes = Array.from({ length: 10_000 }, (_, index) =>
      node(`s${index}`, index === 9999 ? [] : [needs(`s${index + 1}`)]),
    );
    const graph = new ReadinessGraph(nodes);
    const up = new Map(nodes.map(({ service }) => [service, UP]));
    expect(graph.evaluate(up, NOW).get('s0')?.state).toBe('up');
  });
});
