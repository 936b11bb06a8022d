/**
 * Mode `observe` at twice the capacity: nobody is refused, what would have been is counted, and every answer is, byte for
 * byte, that of a gateway whose shedding is off; ids and dates apart.
 */
import { startGateway } from '../../test/harness/gateway.ts';
import type { Gateway } from '../../test/harness/gateway.ts';
import { startOrigin } from '../../test/harness/origin.ts';
import { rawExchange } from '../../test/harness/raw.ts';
import { CAPACITY, gatewayYaml, KEYS, load, SLA_MS } from './anchors.ts';
import { send } from './case.ts';
import type { CaseContext, CaseRun } from './case.ts';
import { metric } from './metrics.ts';
import type { Row } from './rows.ts';
import { codes, figures } from './window.ts';
import type { Figures } from './window.ts';

const TIMES = 2;
const SECONDS = 4;
/** Late enough that the origin has a queue and the gateway would shed. */
const COMPARE_AT_MS = 2000;
/** The origin's queue of the whole run, twice over: without shedding everybody waits. */
const PATIENCE_MS = 30_000;

/** Requests of all kinds that a gateway answers itself or passes on. */
const REQUESTS: readonly { readonly method: string; readonly text: string }[] = [
  ['GET', '/item?id=1', ''],
  ['GET', '/', 'x-priority: background\r\n'],
  ['HEAD', '/item', ''],
  ['DELETE', '/item/7', ''],
  ['POST', '/orders', 'content-length: 5\r\n\r\nabcde'],
  ['OPTIONS', '/item', 'origin: http://example.test\r\n'],
  ['TRACE', '/', ''],
  ['GET', '/%00', ''],
].flatMap(([method = '', path = '', more = '']) =>
  [KEYS.critical, KEYS.sheddable, 'nobody'].map((key) => {
    const [fields = '', body = ''] = more.split('\r\n\r\n');
    const ending = fields === '' || fields.endsWith('\r\n') ? '' : '\r\n';
    const head = `${method} ${path} HTTP/1.1\r\nhost: shop.test\r\nx-api-key: ${key}\r\n${fields}${ending}`;
    return { method, text: `${head}\r\n${body}` };
  }),
);

/**
 * An answer without what two answers to one request may differ in: the date, and the request's id wherever it stands;
 * ids grow by a digit now and then, and with them the length of a body that tells one.
 */
export function comparable(answer: string): string {
  const dated = answer.replace(/\r\ndate: [^\r]+/gi, '\r\ndate: …');
  const id = /\r\nx-request-id: ([^\r]+)/i.exec(dated)?.[1];
  if (id === undefined) return dated;
  const body = dated.slice(dated.indexOf('\r\n\r\n') + 4);
  // To HEAD the length is told of a body that is not there; a problem of ours names the id once.
  const told = body === '' ? Number(dated.includes('problem+json')) : body.split(id).length - 1;
  return dated
    .replaceAll(id, '…')
    .replace(/(\r\ncontent-length: )(\d+)/i, (_, name: string, length: string) =>
      told === 0 ? `${name}${length}` : `${name}${Number(length) - told * id.length}`,
    );
}

interface Difference {
  readonly compared: number;
  readonly differing: readonly string[];
}

async function compare(one: Gateway, other: Gateway): Promise<Difference> {
  const pairs = await Promise.all(
    REQUESTS.map(async ({ method, text }) => {
      const options = { methods: [method], timeoutMs: PATIENCE_MS };
      const answers = [one, other].map(({ port }) => rawExchange(port, text, options));
      const [first = '', second = ''] = (await Promise.all(answers)).map((read) => comparable(read.text));
      return { text, same: first !== '' && first === second };
    }),
  );
  return {
    compared: pairs.length,
    differing: pairs.filter(({ same }) => !same).map(({ text }) => text.slice(0, text.indexOf('\r\n'))),
  };
}

export function observeRows(all: Figures, wouldShed: number, difference: Difference): Row[] {
  return [
    { what: 'refused', unit: 'count', value: all.refused, bound: { most: 0 } },
    { what: 'failed', unit: 'count', value: all.failed, bound: { most: 0 } },
    { what: 'would have been shed, counted', unit: 'count', value: wouldShed, bound: { least: 1 } },
    {
      what: `answers unlike those of mode off, of ${difference.compared}`,
      unit: 'count',
      value: difference.compared === 0 ? undefined : difference.differing.length,
      bound: { most: 0 },
    },
  ];
}

export async function observe({ target: name, seed }: CaseContext): Promise<CaseRun> {
  await using origin = await startOrigin({ seed });
  const yaml = (mode: 'observe' | 'off'): string => gatewayYaml(origin.url, { mode, serverTiming: false });
  await using observing = await startGateway(yaml('observe'), { discardStdout: true });
  await using off = await startGateway(yaml('off'), { discardStdout: true });
  let compared: Promise<Difference> = Promise.resolve({ compared: 0, differing: [] });
  const { journal, senderLagP99Ms, recorded } = await send({
    name: `${TIMES} C, observed`,
    port: observing.port,
    seed,
    timeoutMs: PATIENCE_MS,
    ...load([{ seconds: SECONDS, times: TIMES, critical: 0.3 }]),
    capacity: [[0, CAPACITY]],
    events: [
      {
        atMs: COMPARE_AT_MS,
        act: () => {
          compared = compare(observing, off);
        },
      },
    ],
  });
  const difference = await compared;
  const { body } = await observing.admin('/metrics');
  const wouldShed = metric(String(body), 'spillway_shed_total', { mode: 'observe' });
  const whole = { fromMs: 0, untilMs: Infinity };
  return {
    target: name,
    workers: 1,
    seed,
    rows: observeRows(figures(journal, SLA_MS, whole), wouldShed, difference),
    recorded: [recorded],
    codes: codes(journal, whole),
    senderLagP99Ms,
    notes: difference.differing.map((request) => `unlike mode off: ${request}`),
  };
}
