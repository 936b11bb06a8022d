/**
 * A closed loop: 200 connections, each sending its next request when it has its answer, at a service of 2 ms with plenty
 * of room. Nobody overloads anything here, so nobody may be refused; the first second of a cold process is told apart.
 */
import { startOrigin } from '../../test/harness/origin.ts';
import { flatOut, senderName } from '../flat-out.ts';
import { startTarget } from '../targets.ts';
import { gatewayYaml, KEYS } from './anchors.ts';
import type { CaseContext, CaseRun } from './case.ts';
import type { Row } from './rows.ts';

const CONNECTIONS = 200;
const SECONDS = 10;
const QUICK_SECONDS = 4;
const SERVICE_MS = 2;
/** More than connections: the service is never full. */
const SLOTS = 1000;

export interface ClosedLoop {
  readonly answers: number;
  /** Answers of 400 and above, and requests without one. */
  readonly others: number;
}

export function closedRows(first: ClosedLoop, later: ClosedLoop, seconds: number): Row[] {
  return [
    { what: `refused or failed in ${seconds} s`, unit: 'count', value: later.others, bound: { most: 0 } },
    {
      what: 'refused or failed in the first second of a cold gateway',
      unit: 'count',
      value: first.others,
      goal: { most: 0 },
    },
    { what: 'answers a second', unit: 'count', value: later.answers / seconds },
    { what: 'answers in the first second', unit: 'count', value: first.answers },
  ];
}

export async function closed({ target: name, seed, quick }: CaseContext): Promise<CaseRun> {
  const seconds = quick ? QUICK_SECONDS : SECONDS;
  await using origin = await startOrigin({ slots: SLOTS, meanMs: SERVICE_MS, sigma: 0, seed });
  await using target = await startTarget(name, gatewayYaml(origin.url, { serverTiming: false }), origin.url);
  const requests = [{ path: '/item?id=1', headers: { 'x-api-key': KEYS.default } }];
  const run = async (span: number): Promise<ClosedLoop> => {
    const result = await flatOut({ port: target.port, seconds: span, connections: CONNECTIONS, requests });
    return { answers: result.answers, others: result.refused + result.failed };
  };
  const first = await run(1);
  const later = await run(seconds);
  return {
    target: name,
    workers: 1,
    seed,
    rows: closedRows(first, later, seconds),
    recorded: [],
    codes: {},
    senderLagP99Ms: 0,
    notes: [`sent by ${senderName()}`],
  };
}
