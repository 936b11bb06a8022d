import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ReadinessGraph, type GraphNode, type ServiceInput } from '../../src/readiness/graph.ts';
import { isoBefore } from '../../src/readiness/iso-time.ts';
import { judgeAnswer, NOTHING_EXPECTED } from '../../src/readiness/probe-document.ts';

const NOW = '2026-01-01T00:00:00.000Z';

/** Random services; each depends on ones after it, so there is no circle, and then the list is shuffled. */
const graphs = fc
  .array(
    fc.record({
      edges: fc.array(fc.record({ skip: fc.nat(4), required: fc.boolean() }), { maxLength: 3 }),
      serves: fc.boolean(),
      state: fc.constantFrom('unknown', 'up', 'degraded', 'down'),
    }),
    { minLength: 1, maxLength: 12 },
  )
  .chain((services) =>
    fc.tuple(
      fc.constant(services),
      fc.shuffledSubarray(
        services.map((_, index) => index),
        { minLength: services.length },
      ),
    ),
  )
  .map(([services, order]) => {
    const nodes: GraphNode[] = order.map((index) => {
      const service = services[index]!;
      const dependsOn = service.edges
        .map(({ skip, required }) => ({ to: index + 1 + skip, required }))
        .filter(({ to }) => to < services.length)
        .map(
          ({ to, required }) => ({ service: `s${to}`, mode: required ? 'required' : 'optional' }) as const,
        );
      return { service: `s${index}`, dependsOn, onDependencyDown: service.serves ? 'serve' : 'failFast' };
    });
    const inputs = new Map<string, ServiceInput>(
      services.map(({ state }, index) => [
        `s${index}`,
        { state, reason: state === 'up' ? '' : 'why', sinceMs: 0, failingChecks: [] },
      ]),
    );
    return { nodes, inputs };
  });

/** By definition, recursively, without an order. */
function naive(service: string, nodes: readonly GraphNode[], inputs: Map<string, ServiceInput>): string {
  const node = nodes.find((candidate) => candidate.service === service)!;
  const own = inputs.get(service)!.state;
  const lost = node.dependsOn.filter((edge) =>
    ['down', 'dependency-down'].includes(naive(edge.service!, nodes, inputs)),
  );
  const required = lost.some(({ mode }) => mode === 'required');
  if (required && node.onDependencyDown === 'failFast') return 'dependency-down';
  if (own === 'down' || own === 'unknown') return own;
  return lost.length > 0 ? 'degraded' : own;
}

describe('the readiness graph, for any graph and any states', () => {
  it('agrees with the definition, in whatever order the services are listed', () => {
    fc.assert(
      fc.property(graphs, ({ nodes, inputs }) => {
        const verdicts = new ReadinessGraph(nodes).evaluate(inputs, NOW);
        for (const { service } of nodes) {
          expect(verdicts.get(service)?.state).toBe(naive(service, nodes, inputs));
        }
      }),
    );
  });

  it('every because ends at a root: a service that is not well by itself; and names nobody twice', () => {
    fc.assert(
      fc.property(graphs, ({ nodes, inputs }) => {
        for (const [, { state, because }] of new ReadinessGraph(nodes).evaluate(inputs, NOW)) {
          if (state === 'up') expect(because).toEqual([]);
          else {
            const root = because.at(-1);
            expect(root?.state).not.toBe('dependency-down');
            expect(inputs.get(root?.subject ?? '')?.state).toBe(root?.state);
          }
          const subjects = because.map(({ subject }) => subject);
          expect(new Set(subjects).size).toBe(subjects.length);
        }
      }),
    );
  });
});

describe('a moment before another', () => {
  it('is what a calendar says', () => {
    fc.assert(
      fc.property(
        fc.date({ min: new Date('1601-01-01'), max: new Date('9000-01-01'), noInvalidDate: true }),
        fc.integer({ min: 0, max: 10 * 365 * 86_400_000 }),
        (now, ageMs) => {
          const expected = new Date(Math.floor((now.getTime() - ageMs) / 1000) * 1000);
          expect(isoBefore(now.toISOString(), ageMs)).toBe(expected.toISOString().replace('.000Z', 'Z'));
        },
      ),
    );
  });
});

describe('a probe answer, whatever it is', () => {
  it('is judged without a throw, and a 5xx other than a draining 503 is always an explicit no', () => {
    const bodies = fc.oneof(
      fc.string(),
      fc.json(),
      fc
        .record({
          status: fc.oneof(fc.constantFrom('pass', 'fail', 'UP', 'warn'), fc.jsonValue()),
          checks: fc.oneof(fc.dictionary(fc.string(), fc.jsonValue()), fc.jsonValue()),
          components: fc.dictionary(fc.string(), fc.jsonValue()),
          notes: fc.jsonValue(),
        })
        .map((document) => JSON.stringify(document)),
    );
    fc.assert(
      fc.property(
        fc.integer({ min: 100, max: 599 }),
        fc.constantFrom('application/health+json', 'application/json', 'text/plain', ''),
        fc.constantFrom('', '1'),
        bodies,
        (status, contentType, drainHeader, body) => {
          const answer = { status, contentType, drainHeader, serviceHeader: '', body };
          const { kind, failingChecks } = judgeAnswer(answer, NOTHING_EXPECTED);
          if (status >= 500 && status !== 503) expect(kind).toBe('explicit');
          if (status === 503) expect(['explicit', 'drain']).toContain(kind);
          if (kind === 'pass' || kind === 'warn') expect(Math.floor(status / 100)).toBe(2);
          expect(failingChecks.every((name) => name.length <= 64 && !name.includes(':'))).toBe(true);
        },
      ),
    );
  });
});
