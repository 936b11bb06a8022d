/**
 * Several of us in front of one origin, and nobody tells them of each other: two workers of one gateway, and two
 * gateways. The bounds of `surge` and `moving` are the same as for one worker; beyond them each must get about half.
 *
 * Workers are told apart by their request ids, which begin with the worker's name; the sender gives each worker as many
 * requests as the other, however the kernel spread the connections (that spread is noted).
 */
import { startGateway } from '../../test/harness/gateway.ts';
import type { LoadJournal } from '../../test/harness/load-journal.ts';
import { startOrigin } from '../../test/harness/origin.ts';
import { CAPACITY, CRITICAL, gatewayYaml, MEAN_MS, SLA_MS, SLOTS } from './anchors.ts';
import { send } from './case.ts';
import type { CaseContext, CaseRun, Sending } from './case.ts';
import { MOVING_CAPACITY, movingEvents, movingLoad, movingRows } from './moving.ts';
import type { Row } from './rows.ts';
import { SURGE, SURGE_QUICK, surgeLoad, surgeRows, surgeWindow } from './surge.ts';
import { byWorker, codes, figures, merged } from './window.ts';
import type { Window } from './window.ts';

const WORKERS = 2;
/** ± 10 % of an even share. */
const UNEVEN_MOST = 0.1;

/** How far the larger of several shares is from even: 0.1 is ten percent more than its part. NaN when one is missing. */
export function unevenness(counts: readonly number[], parties: number): number {
  if (counts.length !== parties) return Number.NaN;
  const sum = counts.reduce((total, count) => total + count, 0);
  return Math.max(...counts.map((count) => Math.abs((count / sum) * parties - 1)));
}

function evenRow(what: string, counts: readonly number[], parties: number): Row {
  return { what, unit: 'share', value: unevenness(counts, parties), bound: { most: UNEVEN_MOST } };
}

function workerNote(part: string, journal: LoadJournal, window: Window): string {
  const shares = Object.entries(byWorker(journal, SLA_MS, window)).map(
    ([, { offered, inTime }]) => `${offered} answers, ${inTime} in time`,
  );
  return `${part}, by worker: ${shares.join(' · ')}`;
}

/** One load on a gateway that has learned nothing yet. */
async function throughFresh(yaml: string, act: (port: number) => Promise<Sending>): Promise<Sending> {
  await using gateway = await startGateway(yaml, { discardStdout: true });
  const sending = await act(gateway.port);
  return sending;
}

export async function twoWorkers({ target: name, seed, quick }: CaseContext): Promise<CaseRun> {
  const plan = quick ? SURGE_QUICK : SURGE;
  const window = surgeWindow(plan);
  await using origin = await startOrigin({ slots: SLOTS, meanMs: MEAN_MS, seed });
  const yaml = gatewayYaml(origin.url, { workers: WORKERS });
  const common = { seed, spread: true };
  const surged = await throughFresh(yaml, (port) => {
    const options = { ...common, ...surgeLoad(plan), name: 'surge, two workers', port };
    return send({ ...options, capacity: [[0, CAPACITY]] });
  });
  const moved = await throughFresh(yaml, (port) => {
    const options = { ...common, ...movingLoad(), name: 'moving capacity, two workers', port };
    const events = movingEvents((slots) => void origin.set({ slots }));
    return send({ ...options, capacity: MOVING_CAPACITY, events });
  });
  const shares = Object.values(byWorker(surged.journal, SLA_MS, window)).map(({ inTime }) => inTime);
  const critical = figures(surged.journal, SLA_MS, { ...window, classIndex: CRITICAL });
  return {
    target: name,
    workers: WORKERS,
    seed,
    rows: [
      evenRow('uneven goodput of the workers', shares, WORKERS),
      ...surgeRows([surged.journal], plan, surged.senderLagP99Ms),
      ...movingRows(moved.journal),
    ],
    recorded: [surged.recorded, moved.recorded],
    pool: { criticalOffered: critical.offered, criticalInTime: critical.inTime },
    codes: codes(surged.journal, window),
    senderLagP99Ms: Math.max(surged.senderLagP99Ms, moved.senderLagP99Ms),
    notes: [workerNote('surge', surged.journal, window)],
  };
}

const GATEWAYS = 2;

export async function twoGateways({ target: name, seed, quick }: CaseContext): Promise<CaseRun> {
  const plan = quick ? SURGE_QUICK : SURGE;
  const window = surgeWindow(plan);
  await using origin = await startOrigin({ slots: SLOTS, meanMs: MEAN_MS, seed });
  await using first = await startGateway(gatewayYaml(origin.url), { discardStdout: true });
  await using second = await startGateway(gatewayYaml(origin.url), { discardStdout: true });
  const sent = await Promise.all(
    [first, second].map((gateway, index) =>
      send({
        name: `surge, gateway ${index + 1} of 2`,
        port: gateway.port,
        seed: seed + 100 * index,
        ...surgeLoad(plan, 1 / GATEWAYS),
        capacity: [[0, CAPACITY]],
      }),
    ),
  );
  const senderLagP99Ms = Math.max(...sent.map((each) => each.senderLagP99Ms));
  const shares = sent.map(({ journal }) => figures(journal, SLA_MS, window).inTime);
  const journals = sent.map(({ journal }) => journal);
  const rows = [
    evenRow('uneven goodput of the gateways', shares, GATEWAYS),
    ...surgeRows(journals, plan, senderLagP99Ms),
  ];
  return {
    target: name,
    workers: 1,
    seed,
    rows,
    recorded: sent.map(({ recorded }) => recorded),
    codes: codes(merged(journals), window),
    senderLagP99Ms,
    notes: [`in time during the surge, by gateway: ${shares.join(' · ')}`],
  };
}
