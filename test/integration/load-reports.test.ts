/** Instances that tell of their load with each answer (`endpoint-load-metrics`), behind a real gateway. */
import { expect, test } from 'vitest';

import { startGateway } from '../harness/gateway.ts';
import { startListener } from '../harness/origin.ts';
import { ask, valueOf } from './path-fixture.ts';

interface Telling {
  url: string;
  answered: number;
  report: string;
}

async function startTelling(stack: AsyncDisposableStack): Promise<Telling> {
  const telling: Telling = { url: '', answered: 0, report: '' };
  const listening = stack.use(
    await startListener((request, response) => {
      if (request.url === '/ready') {
        response.end();
        return;
      }
      telling.answered++;
      response
        .writeHead(200, telling.report === '' ? {} : { 'endpoint-load-metrics': telling.report })
        .end('ok');
    }),
  );
  telling.url = listening.url;
  return telling;
}

test('who says that he is full is asked no more while others are not, and nobody outside hears of it', async () => {
  await using stack = new AsyncDisposableStack();
  const [first, second] = [await startTelling(stack), await startTelling(stack)];
  const gateway = stack.use(
    await startGateway(`
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
services:
  shop: { instances: ["${first.url}", "${second.url}"], readiness: { path: /ready } }
routes: [{ path: /, service: shop }]
`),
  );
  const askTimes = async (count: number): Promise<void> => {
    for (let n = 0; n < count; n++) {
      const { status, rawHeaders } = await ask(gateway.port, { path: '/item' });
      expect(status).toBe(200);
      expect(valueOf(rawHeaders, 'endpoint-load-metrics')).toBeUndefined();
    }
  };
  first.report = 'TEXT application_utilization=1.04, cpu_utilization=0.3';
  for (let asked = 0; first.answered === 0 && asked < 200; asked++) await askTimes(1);
  expect(first.answered).toBe(1);
  await askTimes(60);
  expect([first.answered, second.answered >= 60]).toEqual([1, true]);

  // A full one is better than none.
  second.report = 'JSON {"application_utilization":1.3}';
  await askTimes(20);
});
