/** Every measure by its name, in the order in which they run. */
import { bigBodies } from './cost/bodies.ts';
import { detour } from './cost/detour.ts';
import { idleMemory } from './cost/idle-memory.ts';
import { costOfRefusals } from './cost/refusal.ts';
import { costOfRequests } from './cost/request.ts';
import { startOfWorkers } from './cost/start.ts';
import { severalWorkers } from './cost/workers.ts';
import type { Measure } from './measure.ts';

export type MeasureName =
  | 'cost-request'
  | 'cost-refusal'
  | 'detour'
  | 'processes'
  | 'big-bodies'
  | 'idle-memory'
  | 'start';

/** The measures of a name that stands for several. */
export const MEASURE_GROUPS: Readonly<Record<string, readonly MeasureName[]>> = {
  cost: ['cost-request', 'cost-refusal', 'detour', 'processes', 'big-bodies', 'idle-memory', 'start'],
};

export const MEASURES: Readonly<Record<MeasureName, Measure>> = {
  'cost-request': {
    about:
      'GET with 129 bytes over 64 connections flat out, every protection on; CPU of all processes ÷ answers, one worker each.',
    run: costOfRequests,
  },
  'cost-refusal': {
    about: 'The same flat out by a client far over its limit, and at a service whose queue is full.',
    run: costOfRefusals,
  },
  detour: {
    about: '500 requests a second that wait for nobody: how much later answers come than directly.',
    run: detour,
  },
  processes: {
    about: 'Two workers beside one, and one of two that stands still for two seconds.',
    run: severalWorkers,
  },
  'big-bodies': { about: '100 MiB up and down, with a length and in chunks.', run: bigBodies },
  'idle-memory': { about: '5 000 keep-alive connections that had one answer each.', run: idleMemory },
  start: {
    about: 'A worker is killed; how long its successor takes to its first answer.',
    run: startOfWorkers,
  },
};
