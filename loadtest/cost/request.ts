/**
 * F1: what a request costs with every protection on, beside what does the same work without any: a bare
 * `@fastify/http-proxy`, Caddy, nginx, HAProxy, each with one worker, and `node:http` answering alone.
 *
 * The judged requests are those of callers who come back with their session, as all but the first of a visit do; first
 * visits, whose every answer signs a new session, are shown beside them.
 */
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

import { flatOut, senderName } from '../flat-out.ts';
import type { Measured, MeasureContext } from '../measure.ts';
import { metric } from '../overload/metrics.ts';
import type { Row } from '../overload/rows.ts';
import { startAnswering, startTarget, whyNot } from '../targets.ts';
import type { TargetName } from '../targets.ts';
import { median, ratios, spread } from '../turns.ts';
import { flatTurns, partsNote } from './flat-turns.ts';
import type { Contender, FlatTurns } from './flat-turns.ts';
import { FIRST_VISIT, protectedYaml, returningCallers, startLogged } from './protected.ts';
import type { LoggedGateway } from './protected.ts';
import { profiled } from './profiled.ts';

const ROUNDS = 5;
const SECONDS = 4;
const WARM_UP_SECONDS = 5;
const BASES: readonly TargetName[] = ['bare proxy', 'node:http alone'];
const PEERS: readonly TargetName[] = ['Caddy', 'nginx', 'HAProxy'];
const GATEWAY = 'gateway';
const FIRST_VISITS = 'gateway, first visits';
const BEFORE = 'gateway, before';
/** Reports of the workers reach the supervisor each second. */
const REPORT_MS = 1500;
/** From the first moment of a cold process on, none of a crowd may be refused. */
const CROWD = 200;

export function ratioRows(turns: Pick<FlatTurns, 'cpuUs'>): Row[] {
  const over = (name: string, by: string): number | undefined => {
    const values = ratios(turns.cpuUs(name), turns.cpuUs(by));
    return values.length === 0 ? undefined : median(values);
  };
  const against = (what: string, by: string, wanted: Partial<Row>): Row[] => {
    const base = turns.cpuUs(by);
    if (base.length === 0) return [];
    return [{ what, unit: 'ratio', value: over(GATEWAY, by), ...wanted }];
  };
  return [
    ...against('CPU a request ÷ that of a bare @fastify/http-proxy', 'bare proxy', {
      bound: { most: 0.6 },
      goal: { most: 0.5 },
    }),
    ...against('CPU a request ÷ that of Caddy', 'Caddy', { goal: { most: 0.6 } }),
    ...against('CPU a request ÷ that of nginx', 'nginx', {}),
    ...against('CPU a request ÷ that of HAProxy', 'HAProxy', {}),
    ...against('CPU a request ÷ that of node:http answering alone', 'node:http alone', {}),
    ...(turns.cpuUs(FIRST_VISITS).length === 0
      ? []
      : [
          {
            what: 'the same of first visits ÷ that of a bare @fastify/http-proxy',
            unit: 'ratio' as const,
            value: over(FIRST_VISITS, 'bare proxy'),
          },
        ]),
    ...against('CPU a request ÷ that of the checkout before', BEFORE, {}),
  ];
}

async function requestsCounted({ gateway }: LoggedGateway): Promise<number> {
  const { body } = await gateway.admin('/metrics');
  return metric(String(body), 'spillway_requests_total');
}

export async function costOfRequests(context: MeasureContext): Promise<Measured> {
  const rounds = context.rounds ?? ROUNDS;
  const seconds = context.seconds ?? (context.quick ? 2 : SECONDS);
  const wanted = [...BASES, ...PEERS.filter((peer) => context.peers.has(peer))];
  const missing = wanted.flatMap((name) => whyNot(name) ?? []);
  await using stack = new AsyncDisposableStack();
  const origin = stack.use(await startAnswering());
  const originUrl = `http://127.0.0.1:${origin.port}`;
  const yaml = protectedYaml(originUrl);
  const ours = stack.use(await startLogged(yaml));
  const crowd = await flatOut({
    port: ours.target.port,
    seconds: WARM_UP_SECONDS,
    connections: CROWD,
    requests: [FIRST_VISIT],
  });
  const requests = await returningCallers(ours.target.port);
  const contenders: Contender[] = [
    { name: GATEWAY, target: ours.target, requests },
    { name: FIRST_VISITS, target: ours.target, requests: [FIRST_VISIT] },
  ];
  if (context.before !== undefined) {
    const entry = join(context.before, 'src', 'main.ts');
    const { target } = stack.use(await startLogged(yaml, { entry }));
    contenders.push({ name: BEFORE, target, requests: await returningCallers(target.port) });
  }
  for (const name of wanted) {
    if (whyNot(name) !== undefined) continue;
    try {
      const target = stack.use(await startTarget(name, '', originUrl));
      contenders.push({ name, target, requests });
    } catch (error) {
      if (BASES.includes(name)) throw error;
      missing.push(
        `${name}: ${error instanceof Error ? error.message.split('\n', 2).join(' ') : String(error)}`,
      );
    }
  }
  const turns = await flatTurns('cost-request', contenders, {
    rounds,
    seconds,
    warmUpSeconds: context.quick ? 2 : WARM_UP_SECONDS,
  });
  await pause(REPORT_MS);
  const counted = await requestsCounted(ours);
  const lines = await ours.finish();
  const served = turns.of(GATEWAY);
  const answers = served.reduce((sum, turn) => sum + turn.answers, 0);
  const others = served.reduce((sum, turn) => sum + turn.refused + turn.failed, 0);
  const profile = await profiled(originUrl, context.before, median(turns.cpuUs('bare proxy')));
  return {
    rows: [
      ...ratioRows(turns),
      { what: 'requests served', unit: 'share', value: 1 - others / answers, bound: { least: 0.9999 } },
      {
        what: 'served of 200 connections at once from a cold start',
        unit: 'share',
        value: 1 - (crowd.refused + crowd.failed) / crowd.answers,
        bound: { least: 1 },
      },
      {
        what: 'lines in the access log ÷ requests counted by the metrics',
        unit: 'ratio',
        value: lines / counted,
        bound: { least: 0.9999 },
      },
    ],
    figures: [turns.figures, ...profile.figures],
    notes: [
      `sent by ${senderName()}; the gateway's ratio to the bare proxy by round ${spread(ratios(turns.cpuUs(GATEWAY), turns.cpuUs('bare proxy')), 3)}`,
      partsNote('gateway', served),
      ...profile.notes,
    ],
    html: profile.html,
    data: { turns: turns.data, profile: profile.data },
    missing,
  };
}
