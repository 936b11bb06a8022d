import { describe, expect, test } from 'vitest';

import {
  above,
  allProcessRows,
  answerRows,
  heapGain,
  restRows,
  slopeOf,
} from '../../../loadtest/soak/judge.ts';
import type { Fault, Incident } from '../../../loadtest/soak/outcomes.ts';
import { connectionFault, explanation, refusal } from '../../../loadtest/soak/outcomes.ts';
import type { SettledProcess } from '../../../loadtest/soak/settled.ts';
import { outcomeOf } from '../../../loadtest/overload/rows.ts';
import type { Row } from '../../../loadtest/overload/rows.ts';

const MIB = 2 ** 20;

function incident(kind: string, how: string, fromMs = 1000, toMs = 1200): Incident {
  return { kind, how, fromMs, toMs };
}

function fault(what: Fault['what'], fromMs: number): Fault {
  return { what, fromMs, toMs: fromMs + 5 };
}

describe('what explains a call that did not end as wanted', () => {
  test('an instance killed while its answer was under way explains a cut', () => {
    expect(explanation(incident('events', 'cut'), [fault('kill-instance', 1100)])).toBe('kill-instance');
  });

  test('an instance killed before or after the call explains nothing', () => {
    expect(explanation(incident('events', 'cut'), [fault('kill-instance', 800)])).toBeUndefined();
    expect(explanation(incident('events', 'cut'), [fault('kill-instance', 1400)])).toBeUndefined();
  });

  test('a lost upload is explained by a killed instance, a lost GET is not: it can be asked again', () => {
    const faults = [fault('kill-instance', 1100)];
    expect(explanation(incident('upload', '502 SPW_UPSTREAM_RESET'), faults)).toBe('kill-instance');
    expect(explanation(incident('keep-alive', '502 SPW_UPSTREAM_RESET'), faults)).toBeUndefined();
  });

  test('a failed connect to a killed instance is explained by nothing: any method goes elsewhere', () => {
    expect(
      explanation(incident('upload', '502 SPW_CONNECT_FAILED'), [fault('kill-instance', 1100)]),
    ).toBeUndefined();
  });

  test('a killed worker explains connections that were cut, and no answer', () => {
    expect(explanation(incident('short', 'cut'), [fault('kill-worker', 1100)])).toBe('kill-worker');
    expect(explanation(incident('short', '502 SPW_INTERNAL'), [fault('kill-worker', 1100)])).toBeUndefined();
    expect(explanation(incident('short', 'refused'), [fault('kill-worker', 1100)])).toBeUndefined();
  });

  test.each(['reload', 'certificate', 'redis-away'] as const)('%s explains nothing', (what) => {
    for (const how of ['cut', 'refused', 'silent', '502 SPW_UPSTREAM_RESET', 'SPW_RATE_CLIENT'])
      expect(explanation(incident('short', how), [fault(what, 1100)])).toBeUndefined();
  });
});

describe('want of processor time', () => {
  const shortage = [{ what: 'short-of-time', fromMs: 900, toMs: 1100 }] as const;

  test.each(['unheard', 'held', '504 SPW_UPSTREAM_TIMEOUT', '502 SPW_CONNECT_FAILED'])(
    'explains %s',
    (how) => {
      expect(explanation(incident('short', how), shortage)).toBe('short-of-time');
    },
  );

  test.each(['cut', 'wrong', 'refused', 'SPW_RATE_CLIENT', '500 SPW_INTERNAL'])(
    'never explains %s',
    (how) => {
      expect(explanation(incident('short', how), shortage)).toBeUndefined();
    },
  );

  test('explains nothing that came before it or long after', () => {
    expect(explanation(incident('short', 'unheard', 100, 200), shortage)).toBeUndefined();
    expect(explanation(incident('short', 'unheard', 20_000, 20_100), shortage)).toBeUndefined();
  });

  test('a killed instance comes before it: what both explain is put down to the kill', () => {
    const faults = [...shortage, fault('kill-instance', 1100)];
    expect(explanation(incident('upload', '502 SPW_UPSTREAM_RESET'), faults)).toBe('kill-instance');
  });
});

describe('connections that break', () => {
  const reset = Object.assign(new Error('reset'), { code: 'ECONNRESET' });
  test('before a byte came they were not heard, after it they were cut', () => {
    expect(connectionFault(reset, false).how).toBe('unheard');
    expect(connectionFault(reset, true).how).toBe('cut');
    expect(connectionFault(Object.assign(new Error('no'), { code: 'ECONNREFUSED' }), false).how).toBe(
      'refused',
    );
  });
});

describe('refusals by their document', () => {
  test('shed, limited and failed are told apart', () => {
    expect(refusal(503, '{"code":"SPW_SHED_QUEUE_FULL"}')).toEqual({
      ending: 'shed',
      how: 'SPW_SHED_QUEUE_FULL',
    });
    expect(refusal(429, '{"code":"SPW_RATE_CLIENT"}')).toEqual({ ending: 'limited', how: 'SPW_RATE_CLIENT' });
    expect(refusal(502, '{"code":"SPW_CONNECT_FAILED"}').ending).toBe('failed');
    expect(refusal(200, '').how).toBe('200');
  });
});

function rowOf(rows: readonly Row[], what: string): Row {
  const row = rows.find((each) => each.what.includes(what));
  if (row === undefined) throw new Error(`no row about ${what}`);
  return row;
}

function outcome(rows: readonly Row[], what: string): string {
  return outcomeOf(rowOf(rows, what));
}

describe('answers', () => {
  const clean = new Map([
    ['short\tok\t', 800],
    ['leaves\tleft\t', 100],
    ['greedy\tlimited\tSPW_RATE_CLIENT', 100],
  ]);
  const nothing = { incidents: [], faults: [], othersShare: 0 };

  test('all as wanted keeps every bound', () => {
    for (const row of answerRows({ counts: clean, ...nothing })) expect(outcomeOf(row)).not.toBe('missed');
  });

  test('one failure without an explanation misses', () => {
    const counts = new Map([...clean, ['short\tfailed\tcut', 1]]);
    const rows = answerRows({ ...nothing, counts, incidents: [incident('short', 'cut')] });
    expect(rowOf(rows, 'nothing explains').value).toBe(1);
    expect(outcome(rows, 'nothing explains')).toBe('missed');
  });

  test('failures that are counted and not listed one by one are explained by nothing', () => {
    const counts = new Map([...clean, ['short\tfailed\tcut', 700]]);
    const incidents = Array.from({ length: 500 }, () => incident('short', 'cut'));
    const rows = answerRows({ counts, incidents, faults: [fault('kill-worker', 1100)], othersShare: 0 });
    expect(rowOf(rows, 'nothing explains').value).toBe(200);
  });

  test('somebody limited who keeps to his limit is a failure', () => {
    const counts = new Map([...clean, ['short\tlimited\tSPW_RATE_CLIENT', 1]]);
    const rows = answerRows({ ...nothing, counts, incidents: [incident('short', 'SPW_RATE_CLIENT')] });
    expect(rowOf(rows, 'nothing explains').value).toBe(1);
  });

  test('sheds on a machine of our own miss, on one that others use they are not judged', () => {
    const counts = new Map([...clean, ['short\tshed\tSPW_SHED_OVERLOAD', 50]]);
    expect(outcome(answerRows({ ...nothing, counts }), 'processor time')).toBe('missed');
    expect(outcome(answerRows({ ...nothing, counts, othersShare: 0.4 }), 'processor time')).toBe(
      'not judged',
    );
  });
});

describe('what is above the start', () => {
  test('is counted kind by kind: what became less makes up for nothing', () => {
    expect(above({ pipe: 5, file: 3 }, { pipe: 2, file: 4, 'tcp close-wait': 2 })).toEqual([
      ['tcp close-wait', 2],
      ['file', 1],
    ]);
  });
});

describe('the slope of a heap', () => {
  test('is the median of all pairs: one large point does not move it', () => {
    const points = Array.from({ length: 20 }, (_, x) => [x, 2 * x] as const);
    expect(slopeOf(points)).toBe(2);
    expect(slopeOf([...points, [20, 1000] as const])).toBeCloseTo(2, 1);
  });

  const heap = (bytes: (minute: number) => number): { atMs: number; heapBytes: number; timers: number }[] =>
    Array.from({ length: 80 }, (_, i) => ({ atMs: i * 15_000, heapBytes: bytes(i / 4), timers: 0 }));

  test('a heap that gains a MiB a minute gains ten in half of twenty minutes', () => {
    expect(
      heapGain(
        heap((minute) => minute * MIB),
        0,
        1_200_000,
      ),
    ).toBeCloseTo(10);
  });

  test('what a process gains in the first half of its life is no slope', () => {
    const early = heap((minute) => Math.min(minute, 9) * MIB);
    expect(heapGain(early, 0, 1_200_000)).toBe(0);
    const heir = heap((minute) => Math.min(minute, 13) * MIB).filter(({ atMs }) => atMs > 480_000);
    expect(heapGain(heir, 480_000, 1_200_000)).toBe(0);
  });

  test('too few points are no slope', () => {
    expect(heapGain(heap((minute) => minute).slice(0, 45), 0, 1_200_000)).toBeUndefined();
  });
});

function rest(changes: Partial<SettledProcess> = {}): SettledProcess {
  return {
    name: 'worker 1',
    pid: 7,
    descriptors: { file: 4, pipe: 2, 'tcp established': 2 },
    resources: { Timeout: 3 },
    residentBytes: 200 * MIB,
    heapBytes: 30 * MIB,
    census: { classes: { Socket: 3, Object: 9000, Exchange: 1 }, largest: [4096, 100], wheelNodes: 0 },
    ...changes,
  };
}

function processRows(after: Partial<SettledProcess>): readonly Row[] {
  const compared = [{ name: 'worker 1', before: rest(), after: rest(after) }];
  return allProcessRows(compared, [], 1_200_000);
}

describe('a process at rest', () => {
  test('that is as it was keeps every bound', () => {
    for (const row of processRows({})) expect(['kept', 'not judged']).toContain(outcomeOf(row));
  });

  test.each([
    [{ descriptors: { file: 4, pipe: 2, 'tcp established': 3 } }, 'descriptors'],
    [{ resources: { Timeout: 4 } }, 'active resources'],
    [{ heapBytes: 38.5 * MIB }, 'heap after'],
    [{ residentBytes: 231 * MIB }, 'resident'],
    [{ census: { classes: {}, largest: [70_000], wheelNodes: 0 } }, 'largest map'],
    [{ census: { classes: {}, largest: [0], wheelNodes: 1 } }, 'timer wheel'],
    [{ census: { classes: { Socket: 20 }, largest: [0], wheelNodes: 0 } }, 'objects of connections'],
    [{ census: { classes: { Object: 10_000 }, largest: [0], wheelNodes: 0 } }, 'classes grown'],
  ] as const)('%j misses its bound', (after, what) => {
    const rows = processRows(after);
    expect(outcome(rows, what)).toBe('missed');
    expect(rows.filter((row) => outcomeOf(row) === 'missed')).toHaveLength(1);
  });

  test('objects that are kept for use again may grow up to their cap', () => {
    const rowsOf = (HTTPParser: number): readonly Row[] =>
      processRows({ census: { classes: { HTTPParser }, largest: [0], wheelNodes: 0 } });
    expect(outcome(rowsOf(1000), 'classes grown')).toBe('kept');
    expect(outcome(rowsOf(1001), 'classes grown')).toBe('missed');
  });
});

describe('the gateway at rest', () => {
  const held = {
    inFlight: 0,
    streams: 0,
    queued: 0,
    notReady: [],
    breaker: 'closed',
    limitStore: 'up',
    restarts: 1,
    series: 300,
  };
  const good = { holdings: held, refusedReloads: 0, reloads: 5, slowestCertificateMs: 900, loggedFaults: 0 };

  test('with nothing in its hands keeps every bound', () => {
    for (const row of restRows(good)) expect(outcomeOf(row)).toBe('kept');
  });

  test.each([
    [{ holdings: { ...held, inFlight: 1 } }],
    [{ holdings: { ...held, queued: 1 } }],
    [{ holdings: { ...held, streams: 1 } }],
    [{ holdings: { ...held, notReady: ['a down'] } }],
    [{ holdings: { ...held, breaker: 'open' } }],
    [{ holdings: { ...held, limitStore: 'down' } }],
    [{ holdings: { ...held, restarts: 2 } }],
    [{ refusedReloads: 1 }],
    [{ loggedFaults: 1 }],
    [{ slowestCertificateMs: Infinity }],
  ])('%j misses a bound', (change) => {
    expect(restRows({ ...good, ...change }).filter((row) => outcomeOf(row) === 'missed')).toHaveLength(1);
  });
});
