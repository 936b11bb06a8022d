/** An instance that dies in the middle of its work takes that along, and nothing else: the service is not failing. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { startOrigin } from '../harness/origin.ts';
import type { Origin } from '../harness/origin.ts';
import { eventually } from '../harness/ports.ts';

const INSTANCES = 3;
const UPLOADS = 30;

let origins: readonly Origin[] = [];
let gateway: Gateway;

beforeAll(async () => {
  const slow = { slots: 1000, meanMs: 3000, sigma: 0 };
  origins = await Promise.all(Array.from({ length: INSTANCES }, () => startOrigin(slow)));
  gateway = await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
services:
  shop:
    instances: [${origins.map(({ url }) => url).join(', ')}]
    sla: 10s
    shedding: { limit: 100 }
    readiness: { path: /ready }
routes: [{ path: /, service: shop }]
`);
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await Promise.all(origins.map((origin) => origin.kill()));
});

async function statusOf(method: string): Promise<number> {
  const body = method === 'POST' ? 'once and no more' : null;
  const response = await fetch(`${gateway.publicUrl}/order`, { method, body });
  await response.arrayBuffer();
  return response.status;
}

function countOf(statuses: readonly number[], status: number): number {
  return statuses.filter((each) => each === status).length;
}

describe('an instance that dies with many uploads under way', () => {
  test('loses those, since they cannot be repeated, and the breaker stays closed for everybody else', async () => {
    const [victim] = origins;
    if (victim === undefined) throw new Error('there is none');
    const uploads = Array.from({ length: UPLOADS }, () => statusOf('POST'));
    await eventually('all uploads are with the instances', async () => {
      const reports = await Promise.all(origins.map((origin) => origin.report()));
      return reports.reduce((sum, { inService }) => sum + inService, 0) === UPLOADS;
    });
    const { inService: lost } = await victim.report();
    // More than the breaker takes in a row.
    expect(lost).toBeGreaterThan(5);
    await victim.kill();
    const others = await Promise.all(Array.from({ length: 10 }, () => statusOf('GET')));
    expect(countOf(others, 200)).toBe(10);
    const statuses = await Promise.all(uploads);
    expect(countOf(statuses, 502)).toBe(lost);
    expect(countOf(statuses, 200)).toBe(UPLOADS - lost);
  });
});
