import { expect, test } from 'vitest';
import { StartUp } from '../../../src/lifecycle/start-up.ts';

test('a worker that cannot serve ends a start, and nothing once the gateway serves', () => {
  const starting = new StartUp();
  starting.workerCannot('EADDRINUSE');
  expect([starting.phase, starting.fault]).toEqual(['starting', 'EADDRINUSE']);
  const serving = new StartUp();
  serving.served();
  serving.workerCannot('EADDRINUSE');
  for (let i = 0; i < 9; i++) serving.workerDied('SIGKILL');
  expect([serving.phase, serving.fault]).toEqual(['serving', '']);
});

test('one bad second is forgiven, the fifth worker that dies ends the start', () => {
  const startUp = new StartUp();
  for (let i = 0; i < 4; i++) startUp.workerDied('SIGKILL');
  expect(startUp.fault).toBe('');
  startUp.workerDied('SIGABRT');
  expect(startUp.fault).toBe('workers do not start: 5 died, the last with SIGABRT');
});

test('whoever ends meanwhile does not begin to serve', () => {
  const startUp = new StartUp();
  startUp.end();
  startUp.served();
  expect(startUp.phase).toBe('ending');
});
