import { readFileSync } from 'node:fs';
import * as fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CLASS_CASES } from './class-cases.ts';
import type { RawCase } from './judge.ts';
import { JUDGED, type JudgedGateway } from './judged-gateway.ts';
import { judgeMutation, judgeUpstream, mutations } from './mutations.ts';
import { OWN_CASES } from './own-cases.ts';
import { RawOrigin } from './raw-origin.ts';

/** A hundred times as many by `node test/security/fuzz.ts mutations`. */
const RUNS = 120;
const AT_ONCE = 25;

const CORPUS = JSON.parse(
  readFileSync(new URL('corpus/raw-requests.json', import.meta.url), 'utf8'),
) as readonly RawCase[];

let origin: RawOrigin;
let gateway: JudgedGateway;

beforeAll(async () => {
  origin = await RawOrigin.start();
  const real = JUDGED.find(({ name }) => name === 'the real process');
  if (real === undefined) throw new Error('nobody to judge');
  gateway = await real.start(origin.port);
});

afterAll(async () => {
  await gateway.close();
  await origin[Symbol.asyncDispose]();
});

test('whatever is made of the corpus: one answer a head, none in a body, and nothing but HTTP upstream', async () => {
  const many = fc.array(mutations([...CORPUS, ...OWN_CASES, ...CLASS_CASES]), {
    minLength: AT_ONCE,
    maxLength: AT_ONCE,
    size: 'max',
  });
  let forwarded = 0;
  await fc.assert(
    fc.asyncProperty(many, async (batch) => {
      origin.forget();
      const faults = await Promise.all(batch.map((mutation) => judgeMutation(gateway.port, mutation)));
      expect(faults.filter((fault) => fault !== '')).toEqual([]);
      await origin.until(({ pending }) => pending === 0, 10_000);
      forwarded += origin.seen().requests.length;
      expect(judgeUpstream(origin)).toBe('');
    }),
    { numRuns: RUNS, seed: 20_251_121, endOnFailure: true },
  );
  expect(forwarded).toBeGreaterThan(RUNS);
});
