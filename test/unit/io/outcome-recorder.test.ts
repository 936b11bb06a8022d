/** What a service learns of an attempt, by whether it was a try at a silent instance. */
import { expect, test } from 'vitest';

import { configurationSchema } from '../../../config/schema.ts';
import { upstreamFault } from '../../../src/forwarding/fault.ts';
import type { AccessLog } from '../../../src/io/access-log.ts';
import type { Attempt } from '../../../src/io/attempt.ts';
import type { Exchange } from '../../../src/io/exchange.ts';
import type { ExchangeRecord } from '../../../src/io/exchange-record.ts';
import { ExplainRing } from '../../../src/io/explain-ring.ts';
import { Meter } from '../../../src/io/meter.ts';
import { OutcomeRecorder } from '../../../src/io/outcome-recorder.ts';
import { ServiceRuntime } from '../../../src/io/service-runtime.ts';
import { seededRandom } from '../../../src/kernel/random.ts';
import { states } from './views.ts';

const SILENT = 'a.test:1';

interface Learned {
  /** Of the instance, as it is told to the supervisor. */
  readonly passive: string;
  /** Of its version, by which canaries are judged. */
  readonly version: string;
  readonly urgent: number;
}

/** What is learned of an attempt at one instance of a canary. */
function learned(
  panicTry: Exchange['panicTry'],
  tell: (recorder: OutcomeRecorder, exchange: Exchange, attempt: Attempt) => void,
): Learned {
  const { services } = configurationSchema.parse({
    listeners: [{ port: 1 }],
    services: {
      shop: { instances: [`http://${SILENT}`, 'http://b.test:1'], versions: { abort: 'automatic' } },
    },
    routes: [{ path: '/', service: 'shop' }],
  });
  const [configuration] = Object.values(services);
  if (configuration === undefined) throw new Error('no service');
  const options = { name: 'shop', workers: 1, fallbackSecret: 'x', random: seededRandom(1), now: 0 };
  const service = new ServiceRuntime(configuration, options);
  service.update(states('shop', 'up', { [SILENT]: 'down', 'b.test:1': 'ready' }), 0);
  let urgent = 0;
  const recorder = new OutcomeRecorder({
    meter: new Meter(),
    access: {} as AccessLog,
    explain: new ExplainRing<ExchangeRecord>(() => {
      throw new Error('no request ends here');
    }),
    onFault: (error) => {
      throw error;
    },
    onPassive: () => {
      urgent++;
    },
  });
  const slot = service.balancer.slotOf(SILENT);
  service.balancer.started(slot, 0);
  const exchange = { route: { service }, panicTry, slot, bucket: 'me', permit: undefined, heard: false };
  const attempt = { slot, startedMs: 0 };
  tell(recorder, exchange as unknown as Exchange, attempt as unknown as Attempt);
  const { ok = 0, hard = 0, soft = 0 } = service.takePassive()?.[SILENT] ?? {};
  const { answered = 0, failed = 0 } = service.versions?.tallies?.[0] ?? {};
  return {
    passive: `ok ${ok} hard ${hard} soft ${soft}`,
    version: `${failed} of ${answered} failed`,
    urgent,
  };
}

const NOTHING: Learned = { passive: 'ok 0 hard 0 soft 0', version: '0 of 0 failed', urgent: 0 };
const GOOD: Learned = { passive: 'ok 1 hard 0 soft 0', version: '0 of 1 failed', urgent: 0 };

test.each([
  [200, GOOD],
  [404, GOOD],
  [429, NOTHING],
  [500, NOTHING],
  [501, NOTHING],
  [503, NOTHING],
])('a try that is answered %i: a good answer is learned from, no other', (status, expected) => {
  const answered = (recorder: OutcomeRecorder, exchange: Exchange, attempt: Attempt): void =>
    recorder.attemptAnswered(exchange, attempt, status, -1, 20);
  expect(learned('running', answered)).toEqual(expected);
});

test.each(['connect-timeout', 'waiting', 'timeout', 'protocol'] as const)(
  'a try that fails (%s) is no news of its instance nor of its version, what comes after it is',
  (phase) => {
    const failed = (recorder: OutcomeRecorder, exchange: Exchange, attempt: Attempt): void =>
      recorder.attemptFailed(exchange, attempt, upstreamFault(undefined, phase), 20);
    expect(learned('running', failed)).toEqual(NOTHING);
    const expected = { passive: 'ok 0 hard 1 soft 0', version: '1 of 1 failed', urgent: 1 };
    expect(learned('failed', failed)).toEqual(expected);
  },
);

test('a head that nobody may be passed is its instance’s failure, also of a try', () => {
  const refused = (recorder: OutcomeRecorder, exchange: Exchange, attempt: Attempt): void => {
    recorder.attemptAnswered(exchange, attempt, 407, -1, 20);
    recorder.protocolFault(exchange, attempt, 20);
  };
  expect(learned('running', refused)).toEqual({ ...GOOD, passive: 'ok 1 hard 1 soft 0', urgent: 1 });
});
