/** What all workers count of a canary is judged once, told everywhere, and forgotten with its weight. */
import { expect, test } from 'vitest';

import { configurationSchema } from '../../../config/schema.ts';
import type { Configuration } from '../../../config/schema.ts';
import { VersionBook } from '../../../src/affinity/version-tally.ts';
import { CanaryDesk } from '../../../src/io/canary-desk.ts';
import type { WorkerViews } from '../../../src/io/ipc.ts';
import { Meter } from '../../../src/io/meter.ts';
import { figures, worker } from './views.ts';

function configuration(weight: string, abort = 'automatic', aborted: readonly string[] = []): Configuration {
  return configurationSchema.parse({
    listeners: [{ port: 1 }],
    services: {
      shop: {
        instances: ['http://a.test:1', { url: 'http://a.test:2', version: 'v2' }],
        versions: { canary: { v2: weight }, abort, aborted },
      },
      plain: { instances: ['http://b.test:1'] },
    },
    routes: [{ path: '/', service: 'shop' }],
  });
}

interface Bench {
  readonly desk: CanaryDesk;
  readonly meter: Meter;
  /** What the fleets were told last. */
  readonly aborted: Map<string, readonly string[]>;
  readonly lines: object[];
  /** Lets seconds pass in which two workers report. */
  readonly pass: (seconds: number, failsOfTen: number) => void;
}

function bench(): Bench {
  const meter = new Meter();
  const aborted = new Map<string, readonly string[]>();
  const lines: object[] = [];
  let now = 0;
  const desk = new CanaryDesk({
    now: () => now,
    log: { warn: (line: object) => lines.push(line), info: () => undefined },
    meter,
    fleets: { setAborted: (service, versions) => aborted.set(service, versions) },
  });
  const books = ['a', 'b'].map((key) => ({ key, v1: new VersionBook(''), v2: new VersionBook('v2') }));
  return {
    desk,
    meter,
    aborted,
    lines,
    pass(seconds, failsOfTen) {
      for (let second = 0; second < seconds; second++) {
        now += 1000;
        for (const { key, v1, v2 } of books) {
          for (let n = 0; n < 10; n++) {
            v1.answer(false, 20);
            v2.answer(n < failsOfTen, 20);
          }
          const views: WorkerViews = worker(
            figures({ versions: [v1.tally, v2.tally] }),
            figures({ service: 'plain' }),
          );
          desk.reported(key, views);
        }
      }
    },
  };
}

function valueOf(meter: Meter, name: string): number | undefined {
  const [series] = meter.dump()[`spillway_${name}`] ?? [];
  return series !== undefined && 'value' in series ? series.value : undefined;
}

test('one that is worse over all workers is aborted after thirty seconds, everywhere', () => {
  const { desk, meter, aborted, lines, pass } = bench();
  desk.configure(configuration('20%'));
  expect(valueOf(meter, 'canary_weight_ratio')).toBe(0.2);
  expect(valueOf(meter, 'canary_aborts_total')).toBe(0);
  pass(29, 3);
  expect([aborted.get('shop'), desk.words()]).toEqual([[], '']);
  expect(desk.views('shop')).toMatchObject([{ version: 'v2', weight: 0.2, aborted: 'no', worseWindows: 2 }]);
  pass(2, 3);
  expect(aborted.get('shop')).toEqual(['v2']);
  expect(lines).toEqual([{ service: 'shop', version: 'v2', reason: 'fails 30.0 %, the others 0.0 %' }]);
  expect(desk.views('shop')).toMatchObject([{ weight: 0, aborted: 'automatic', worseWindows: 3 }]);
  expect(desk.words()).toBe('Canary v2 of shop was aborted: fails 30.0 %, the others 0.0 %.');
  expect([valueOf(meter, 'canary_weight_ratio'), valueOf(meter, 'canary_aborts_total')]).toEqual([0, 1]);
  // Once.
  pass(60, 3);
  expect(valueOf(meter, 'canary_aborts_total')).toBe(1);
});

test('a reload keeps an abort until it changes the weight', () => {
  const { desk, aborted, pass } = bench();
  desk.configure(configuration('20%'));
  pass(31, 5);
  expect(aborted.get('shop')).toEqual(['v2']);
  desk.configure(configuration('20%'));
  expect(aborted.get('shop')).toEqual(['v2']);
  desk.configure(configuration('10%'));
  expect([aborted.get('shop'), desk.views('shop')[0]?.weight]).toEqual([[], 0.1]);
  // It begins anew: three windows again.
  pass(29, 5);
  expect(aborted.get('shop')).toEqual([]);
  pass(3, 5);
  expect(aborted.get('shop')).toEqual(['v2']);
});

test('nobody judges where it was not asked for, and a good one stays', () => {
  for (const [settings, fails] of [
    [configuration('20%', 'never'), 9],
    [configuration('20%'), 0],
  ] as const) {
    const { desk, aborted, lines, pass } = bench();
    desk.configure(settings);
    pass(120, fails);
    expect([aborted.get('shop'), lines, desk.views('plain')]).toEqual([[], [], []]);
  }
});

test('one that the configuration sends away is told as such, and so is a service that leaves', () => {
  const { desk, meter, aborted } = bench();
  desk.configure(configuration('20%', 'automatic', ['v2']));
  expect(desk.views('shop')).toMatchObject([{ weight: 0, aborted: 'configuration' }]);
  expect(valueOf(meter, 'canary_weight_ratio')).toBe(0);
  desk.configure({ ...configuration('20%'), services: {} });
  expect([desk.views('shop'), aborted.get('shop'), valueOf(meter, 'canary_weight_ratio')]).toEqual([
    [],
    [],
    undefined,
  ]);
});

test('a worker that begins anew is counted from its beginning', () => {
  const { desk, aborted, pass } = bench();
  desk.configure(configuration('20%'));
  pass(15, 3);
  desk.workerGone('a');
  const fresh = new VersionBook('v2');
  desk.reported('c', worker(figures({ versions: [fresh.tally] })));
  pass(20, 3);
  expect(aborted.get('shop')).toEqual(['v2']);
});
