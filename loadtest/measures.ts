/** Every measure by its name, in the order in which they run. */
import { costOfPicks } from './balancing/pick.ts';
import { slowTwo } from './balancing/slow-two.ts';
import { bigBodies } from './cost/bodies.ts';
import { detour } from './cost/detour.ts';
import { idleMemory } from './cost/idle-memory.ts';
import { costOfRefusals } from './cost/refusal.ts';
import { costOfRequests } from './cost/request.ts';
import { startOfWorkers } from './cost/start.ts';
import { severalWorkers } from './cost/workers.ts';
import { limitsContract } from './limits/contract.ts';
import { costOfDecisions } from './limits/decision.ts';
import { limitsDenied } from './limits/denied.ts';
import { limitsHang } from './limits/hang.ts';
import { limitsKeys } from './limits/keys.ts';
import { limitsLatency } from './limits/latency.ts';
import { limitsTrips } from './limits/trips.ts';
import type { Measure } from './measure.ts';
import { chaos } from './rolling/chaos.ts';
import { gatewayRoll } from './rolling/gateway-roll.ts';
import { rollingDeploy } from './rolling/rolling-deploy.ts';

export type MeasureName =
  | 'cost-request'
  | 'cost-refusal'
  | 'detour'
  | 'processes'
  | 'big-bodies'
  | 'idle-memory'
  | 'start'
  | 'limits-contract'
  | 'limits-trips'
  | 'limits-denied'
  | 'limits-decision'
  | 'limits-latency'
  | 'limits-hang'
  | 'limits-keys'
  | 'pick'
  | 'balancing-slow'
  | 'rolling-deploy'
  | 'gateway-roll'
  | 'chaos';

/** The measures of a name that stands for several. */
export const MEASURE_GROUPS: Readonly<Record<string, readonly MeasureName[]>> = {
  cost: ['cost-request', 'cost-refusal', 'detour', 'processes', 'big-bodies', 'idle-memory', 'start'],
  limits: [
    'limits-contract',
    'limits-trips',
    'limits-denied',
    'limits-decision',
    'limits-latency',
    'limits-hang',
    'limits-keys',
  ],
  balancing: ['pick', 'balancing-slow'],
  rolling: ['rolling-deploy', 'gateway-roll', 'chaos'],
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
  'limits-contract': {
    about:
      'Three tiers asked for twice their limits and more at two gateways on one Redis: what was admitted, in every window.',
    run: limitsContract,
  },
  'limits-trips': {
    about: '800 requests a second at each of two gateways: how often Redis was asked for each decision.',
    run: limitsTrips,
  },
  'limits-denied': {
    about: 'One client denied a thousand times: what that takes from the limits it shares.',
    run: limitsDenied,
  },
  'limits-decision': {
    about: "CPU of a decision in the worker's process, beside rate-limiter-flexible on the same Redis.",
    run: costOfDecisions,
  },
  'limits-latency': {
    about:
      'Exact limits on a Redis on loopback beside limits: off, 500 requests a second that wait for nobody.',
    run: limitsLatency,
  },
  'limits-hang': {
    about:
      'Redis stands still for two seconds under load: how long decisions take, and whether limits still bind.',
    run: limitsHang,
  },
  'limits-keys': {
    about:
      'A million callers, each seen once: what the processes keep of them, and whether their loops stand still.',
    run: limitsKeys,
  },
  pick: {
    about: 'A thousand instances, a tenth of them slow or failing: time and bytes of choosing one.',
    run: costOfPicks,
  },
  'balancing-slow': {
    about:
      'Ten instances at 70 % load, in turns all fast and two of them three times slower: what that does to the p99.',
    run: slowTwo,
  },
  'rolling-deploy': {
    about:
      'Five instances are replaced one after the other under 70 % load of sessions, one in ten requests a POST: what fails, runs twice or moves.',
    run: rollingDeploy,
  },
  'gateway-roll': {
    about:
      'Two gateways replace their workers under that load, alone and while the instances roll, and one of the two ends by SIGTERM and comes back.',
    run: gatewayRoll,
  },
  chaos: {
    about:
      'Twelve faults, of an instance, of all and of what stands around, each under half of the load that they bear, beside a hypothesis in figures.',
    run: chaos,
  },
};
