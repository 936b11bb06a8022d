/**
 * `node test/security/fuzz.ts parsers|mutations [runs] [seed]`: the properties of the suite with as many runs as one
 * has patience for. Ends with the counterexample and 1, or with the number of runs and 0.
 */
import { readFileSync } from 'node:fs';

import * as fc from 'fast-check';

import { PARSERS } from '../property/parsers.ts';
import { CLASS_CASES } from './class-cases.ts';
import type { RawCase } from './judge.ts';
import { JUDGED } from './judged-gateway.ts';
import { judgeMutation, judgeUpstream, mutations } from './mutations.ts';
import { OWN_CASES } from './own-cases.ts';
import { RawOrigin } from './raw-origin.ts';

const [what = 'parsers', runs = '100000', seedText = String(Date.now() % 1_000_000_007)] =
  process.argv.slice(2);
const numRuns = Number(runs);
const seed = Number(seedText);
const AT_ONCE = 50;

function fuzzParsers(): void {
  for (const [name, property] of Object.entries(PARSERS)) {
    const count = name === 'configuration' ? Math.ceil(numRuns / 100) : numRuns;
    const startedAt = performance.now();
    void fc.assert(property, { numRuns: count, seed });
    process.stdout.write(`${name}: ${count} runs, ${Math.round(performance.now() - startedAt)} ms\n`);
  }
}

async function fuzzMutations(): Promise<void> {
  const corpus = JSON.parse(
    readFileSync(new URL('corpus/raw-requests.json', import.meta.url), 'utf8'),
  ) as readonly RawCase[];
  await using origin = await RawOrigin.start();
  const gateway = await JUDGED.find(({ name }) => name === 'the real process')?.start(origin.port);
  if (gateway === undefined) throw new Error('nobody to judge');
  const cases = mutations([...corpus, ...OWN_CASES, ...CLASS_CASES]);
  try {
    const samples = fc.sample(cases, { numRuns, seed });
    for (let at = 0; at < samples.length; at += AT_ONCE) {
      const batch = samples.slice(at, at + AT_ONCE);
      origin.forget();
      const faults = await Promise.all(batch.map((each) => judgeMutation(gateway.port, each)));
      await origin.until(({ pending }) => pending === 0, 10_000);
      for (const [index, fault] of faults.entries()) {
        if (fault !== '') process.stdout.write(`${JSON.stringify(batch[index])}\n  ${fault}\n`);
      }
      const upstream = judgeUpstream(origin);
      if (upstream !== '') process.stdout.write(`${JSON.stringify(batch)}\n  ${upstream}\n`);
      if (upstream !== '' || faults.some((fault) => fault !== '')) process.exitCode = 1;
    }
    process.stdout.write(`mutations: ${samples.length} runs, seed ${seed}\n`);
  } finally {
    await gateway.close();
  }
}

if (what === 'mutations') await fuzzMutations();
else fuzzParsers();
