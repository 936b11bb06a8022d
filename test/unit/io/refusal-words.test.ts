import { expect, test } from 'vitest';
import { whyNoneIsOpen } from '../../../src/io/refusal-words.ts';
import { opensNew, type InstanceState } from '../../../src/upstreams/instance-state.ts';

test.each<[InstanceState[], string]>([
  [[], 'the service has no instances'],
  [['gone'], 'the service has no instances'],
  [['down', 'draining', 'down', 'gone'], 'no instance takes new requests: 2 down, 1 draining'],
  // It keeps its sessions; who has none is told why.
  [['draining'], 'no instance takes new requests: 1 draining'],
  [['down', 'ready'], ''],
])('of instances that are %j is told: %s', (states, words) => {
  expect(whyNoneIsOpen(states.map((state) => ({ state, opensNew: opensNew(state) })))).toBe(words);
});
