/**
 * The gateway that tests of promises ask: one worker and one service, `shop`, whose only instance is theirs. It is slow to call
 * anything late and sheds nothing, since a machine that is busy elsewhere may look like overload; that is another test's subject.
 */
import { startGateway } from '../harness/gateway.ts';
import type { Gateway, GatewayOptions } from '../harness/gateway.ts';

/**
 * @param sections of the configuration beside those, `routes` among them
 * @param service further keys of the service, a line each
 */
export async function startShop(
  instance: string,
  sections: string,
  service: readonly string[] = [],
  options: GatewayOptions = {},
): Promise<Gateway> {
  const keys = [
    `instances: [${instance}]`,
    'sla: 10s',
    'readiness: { path: /ready, interval: 600s, timeout: 10s }',
    ...service,
  ];
  return await startGateway(
    `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: 1
shedding: { mode: observe }
services:
  shop:
${keys.map((line) => `    ${line}`).join('\n')}
${sections}`,
    options,
  );
}
