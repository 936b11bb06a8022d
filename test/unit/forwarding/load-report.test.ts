import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { utilizationOf } from '../../../src/forwarding/load-report.ts';

describe('a report of load', () => {
  it.each([
    ['TEXT application_utilization=0.93', 0.93],
    ['TEXT cpu_utilization=0.3, application_utilization=0.8, rps_fractional=120', 0.8],
    ['application_utilization=1.5', 1.5],
    ['  TEXT cpu_utilization=0.3 ', 0.3],
    ['JSON {"application_utilization":0.93,"named_metrics":{"cpu_utilization":9}}', 0.93],
    ['JSON{"cpu_utilization":0.4}', 0.4],
    ['{"cpu_utilization":0}', 0],
  ])('%s says %d', (report, utilization) => {
    expect(utilizationOf(report)).toBe(utilization);
  });

  it('is told by the application where that says something, else by its processors', () => {
    expect(utilizationOf('TEXT application_utilization=0, cpu_utilization=0.7')).toBe(0.7);
    expect(utilizationOf('TEXT application_utilization=0.2, cpu_utilization=0.7')).toBe(0.2);
  });

  it.each([
    '',
    'TEXT',
    'TEXT mem_utilization=0.9',
    'TEXT application_utilization=',
    'TEXT application_utilization=much',
    'TEXT application_utilization=-1',
    'TEXT application_utilization=Infinity',
    'TEXT application_utilization=NaN',
    'JSON {"application_utilization":"0.9"}',
    'JSON {"application_utilization":1e999}',
    'JSON null',
    'JSON [0.9]',
    'JSON {',
    'BIN CAE=',
  ])('"%s" says nothing', (report) => {
    expect(utilizationOf(report)).toBe(-1);
  });

  it('that is longer than a report is not read', () => {
    expect(utilizationOf(`TEXT application_utilization=0.9, x=${'9'.repeat(3000)}`)).toBe(-1);
  });
});

test('Whatever an instance writes there, the figure is -1 or finite and not negative.', () => {
  const texts = fc.oneof(
    fc.string(),
    fc.json(),
    fc.json().map((text) => `JSON ${text}`),
    fc.double().map((n) => `TEXT cpu_utilization=${n}`),
  );
  fc.assert(
    fc.property(texts, (report) => {
      const utilization = utilizationOf(report);
      expect(utilization === -1 || (Number.isFinite(utilization) && utilization >= 0)).toBe(true);
    }),
  );
});
