/** The overload family: every case by its name, in the order in which they run. */
import type { TargetName } from '../targets.ts';
import type { CaseContext, CaseRun, OverloadCase } from './case.ts';
import { closed } from './closed.ts';
import { idle } from './idle.ts';
import { moving } from './moving.ts';
import { observe } from './observe.ts';
import { retries } from './retries.ts';
import { twoGateways, twoWorkers } from './several.ts';
import { slow } from './slow.ts';
import { square } from './square.ts';
import { surge } from './surge.ts';
import { sweep } from './sweep.ts';

export type CaseName =
  | 'surge'
  | 'sweep'
  | 'moving'
  | 'square'
  | 'retries'
  | 'idle'
  | 'slow'
  | 'closed'
  | 'observe'
  | 'two-workers'
  | 'two-gateways';

const everybody = (): boolean => true;
const onlyGateway = (target: TargetName): boolean => target === 'gateway';
/** Without a limit nothing is left of these to compare: the surge has told that already. */
const limited = (target: TargetName): boolean => target === 'gateway' || target.endsWith('tuned');

function row(
  about: string,
  comparable: OverloadCase['comparable'],
  run: (context: CaseContext) => Promise<CaseRun>,
): OverloadCase {
  return { about, comparable, run };
}

export const CASES: Readonly<Record<CaseName, OverloadCase>> = {
  surge: row('Ten times the capacity between two spells of 0.8 C; critical is 0.3 C.', everybody, surge),
  sweep: row('From half the capacity to ten times, step by step; critical is 0.3 C.', everybody, sweep),
  moving: row('Slots 20 → 5 at 800/s, then → 80 at 2 000/s; a tenth of it is critical.', limited, moving),
  square: row(
    'Half and three times the capacity in turns, a second each; critical is 0.2 C.',
    limited,
    square,
  ),
  retries: row(
    'Callers at 2 C who retry up to three times: after a fixed pause, jittered, as Retry-After says.',
    onlyGateway,
    retries,
  ),
  idle: row('0.7 C, far from overload.', onlyGateway, idle),
  slow: row(
    '200 slots turn from 50 to 300 ms at 120/s, SLA 500 ms: slow, not overloaded.',
    onlyGateway,
    slow,
  ),
  closed: row('A closed loop of 200 connections at a service of 2 ms.', onlyGateway, closed),
  observe: row('2 C under mode observe, answers compared with mode off.', onlyGateway, observe),
  'two-workers': row('surge and moving, two workers.', onlyGateway, twoWorkers),
  'two-gateways': row('surge, two gateways with 5 C each in front of one origin.', onlyGateway, twoGateways),
};
