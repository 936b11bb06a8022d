import { describe, expect, test } from 'vitest';
import { below, alternatives, CONFIGURATION_NODE } from '../../../config/json-schema.ts';
import type { SchemaNode } from '../../../config/json-schema.ts';
import { NOT_YET } from '../../../config/not-yet.ts';
import { load, REQUIRED, warnings } from './load-text.ts';

const listener = (more: string): string => REQUIRED.replace('port: 8080', `port: 8080, ${more}`);

describe('keys that are accepted but not acted on', () => {
  test('never warn as defaults', () => {
    expect(warnings(REQUIRED)).toEqual([]);
  });

  test('warn where they are written, at the key, with what happens instead', () => {
    expect(warnings(`${REQUIRED}tracing:\n  otlp: http://127.0.0.1:4318\n`)).toEqual([
      '5:3 accepted, but this release does not act on it: no spans are sent; trace context is passed on, at tracing.otlp',
    ]);
  });

  test('do not warn where they are written to ask for nothing', () => {
    const text = `${listener('redirectToHttps: false, healthPath: null, http2: true')}tracing: { otlp: null }\nlimits: { enforcement: exact }\n`;
    expect(warnings(text)).toEqual([]);
  });

  test('are no faults', () => {
    expect(load(`${REQUIRED}tracing: { otlp: http://127.0.0.1:4318 }\n`).ok).toBe(true);
  });

  test.each(NOT_YET.map((row) => row.path))('%s is a key of the schema', (pattern) => {
    let nodes: SchemaNode[] = alternatives(CONFIGURATION_NODE);
    for (const step of pattern.split('.')) nodes = step === '*' ? anything(nodes) : below(nodes, step);
    expect(nodes.length).toBeGreaterThan(0);
  });
});

/** What may stand under any index or any name. */
function anything(nodes: readonly SchemaNode[]): SchemaNode[] {
  const named = nodes.flatMap((node) => Object.keys(node.properties ?? { anything: true }));
  return [...below(nodes, 0), ...new Set(named.flatMap((name) => below(nodes, name)))];
}
