/**
 * A closed loop: 200 connections, each sending its next request when it has its answer, at a service of 2 ms with plenty
 * of room. Nobody overloads anything here, so nobody may be refused; the first second of a cold process is told apart.
 */
import { startProcess } from '../../test/harness/process.ts';
import { startOrigin } from '../../test/harness/origin.ts';
import { flatOut } from '../flat-out.ts';
import { installed } from '../peers.ts';
import { startTarget } from '../targets.ts';
import { gatewayYaml } from './anchors.ts';
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
  /** Answers other than 2xx and 3xx, and requests without one. */
  readonly others: number;
}

/** What `wrk` printed: the last lines of its report. */
export function readWrk(output: string): ClosedLoop {
  const answers = /(\d+) requests in /.exec(output)?.[1];
  if (answers === undefined) throw new Error(`this is no report of wrk:\n${output}`);
  const refused = Number(/Non-2xx or 3xx responses: (\d+)/.exec(output)?.[1] ?? 0);
  const errors = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(output);
  const lost = (errors?.slice(1) ?? []).reduce((sum, count) => sum + Number(count), 0);
  return { answers: Number(answers), others: refused + lost };
}

async function withWrk(file: string, port: number, seconds: number): Promise<ClosedLoop> {
  await using running = await startProcess(file, [
    '-t1',
    `-c${CONNECTIONS}`,
    `-d${seconds}s`,
    '-H',
    'x-api-key: mid',
    `http://127.0.0.1:${port}/item?id=1`,
  ]);
  await running.exited;
  return readWrk(running.output());
}

async function withAutocannon(port: number, seconds: number): Promise<ClosedLoop> {
  const result = await flatOut(port, seconds, CONNECTIONS, 'mid');
  return {
    answers: result.requests.total,
    others: result.non2xx + result.errors + result.timeouts,
  };
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
  const wrk = installed('wrk');
  await using origin = await startOrigin({ slots: SLOTS, meanMs: SERVICE_MS, sigma: 0, seed });
  await using target = await startTarget(name, gatewayYaml(origin.url, { serverTiming: false }), origin.url);
  const run = (span: number): Promise<ClosedLoop> =>
    wrk === undefined ? withAutocannon(target.port, span) : withWrk(wrk, target.port, span);
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
    notes: [wrk === undefined ? 'sent by autocannon, since wrk is not installed' : 'sent by wrk'],
  };
}
