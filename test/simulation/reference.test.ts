/** The rows of the design's table, and the rule that loses row G. */
import { describe, expect, test } from 'vitest';
import { assertGroups } from './assert-groups.ts';
import { slaGradient } from './peers/peers.ts';
import { SCENARIOS } from './suite.ts';

assertGroups('reference');

describe('a gradient straight from SLA ÷ p95', () => {
  test('loses a fifth and more of what a merely slow service would serve', () => {
    const row = SCENARIOS.find(({ group, name }) => group === 'reference' && name.startsWith('G '));
    for (const seed of [101, 102, 103]) {
      const loser = row?.run(seed, slaGradient, true).figures;
      expect(loser?.['ofNoLimit']).toBeLessThan(0.8);
    }
  });
});
