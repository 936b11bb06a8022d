/** What the tests of the admin limits share: scripted workers, real questions, a real book of overrides without a store. */
import type { ChildProcess } from 'node:child_process';
import { configurationSchema } from '../../../config/schema.ts';
import { AdminLimits } from '../../../src/io/admin-limits.ts';
import type { BucketFigures, PeekAnswer, QuotaAct, QuotaAnswer } from '../../../src/io/client-quota.ts';
import type { ToWorker } from '../../../src/io/ipc.ts';
import { LimitOverrides } from '../../../src/io/limit-overrides.ts';
import { Questions } from '../../../src/io/questions.ts';
import { WorkerProcess } from '../../../src/io/worker-pool.ts';
import { seededRandom } from '../../../src/kernel/random.ts';

export type Script = (act: QuotaAct) => QuotaAnswer | undefined;

export const OWN: BucketFigures = {
  key: 'spw:{c.a}:t',
  level: 'client',
  name: 'free',
  enforced: true,
  ratePerSecond: 1 / 60,
  burst: 10,
  remaining: 4,
  leased: 0,
  waitMs: 0,
  fullMs: 360_000,
};
export const SHARED: BucketFigures = {
  ...OWN,
  key: 'spw:{g}:global',
  level: 'global',
  name: '',
  ratePerSecond: 0.35,
};

type Known = Extract<QuotaAnswer, { state: 'known' }>;

export function known(limits: readonly BucketFigures[], configured = true, peek?: PeekAnswer): Known {
  return { state: 'known', ...ACME, configured, limits, blocks: [], ...(peek === undefined ? {} : { peek }) };
}

export const ACME = {
  client: 'acme',
  configured: true,
  bucket: 'a'.repeat(22),
  hashed: null,
  tier: 'free',
  claimed: false,
};
export const lost: QuotaAnswer = { state: 'unavailable', reason: 'ECONNREFUSED', named: ACME };

/** One worker a script; `undefined` = it does not answer. */
export function bench(scripts: readonly Script[], redis = true) {
  const asked: string[] = [];
  const told: ToWorker[] = [];
  const logged: [fields: object, message: string][] = [];
  const clock = { now: 1000 };
  const questions = new Questions();
  const workers = scripts.map((script, index) => {
    const send = (message: ToWorker): void => {
      if (message.type !== 'ask' || message.question.what !== 'quota') return;
      asked.push(`${index} ${message.question.act}`);
      const answer = script(message.question.act);
      const worker = workers[index];
      if (answer === undefined || worker === undefined) return;
      queueMicrotask(() => {
        questions.answered(worker, message.id, { what: 'quota', quota: answer });
      });
    };
    const child = { connected: true, send } as unknown as ChildProcess;
    return new WorkerProcess(`w${index}`, index, child, 0, 0);
  });
  const configuration = configurationSchema.parse({
    listeners: [{ port: 1 }],
    services: { shop: { instances: ['http://127.0.0.1:1'] } },
    routes: [
      { path: '/', service: 'shop' },
      { path: '/dear', service: 'shop', cost: 5 },
    ],
    ...(redis ? { redis: { url: 'redis://127.0.0.1:1', timeout: '100ms' } } : {}),
  });
  const note = (fields: object, message: string): void => void logged.push([fields, message]);
  const limitOverrides = new LimitOverrides({
    now: () => clock.now,
    wallMs: () => 1_700_000_000_000 + clock.now,
    random: seededRandom(1),
    log: { info: note, warn: note },
    host: 'edge-1',
    broadcast: (message) => {
      asked.push(`told ${message.type}`);
      told.push(message);
    },
    onFilled: () => undefined,
  });
  const limits = new AdminLimits({
    limitOverrides,
    pool: { all: () => workers },
    questions,
    current: () => ({ configuration }),
  });
  return { limits, asked, told, logged, clock, limitOverrides };
}
