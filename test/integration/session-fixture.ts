/** What the tests of sessions share: a gateway whose one service `shop` keeps them in the cookie `seat`. */
import type { Listening } from './path-fixture.ts';

export interface SessionSettings {
  readonly workers?: number;
  readonly probeEvery?: string;
  readonly balancing?: string;
  readonly shedding?: string;
  readonly drain: string;
  /** Beside the cookie. */
  readonly affinity?: string;
}

export function sessionYaml(instances: readonly Listening[], settings: SessionSettings): string {
  const {
    workers = 1,
    probeEvery = '200ms',
    balancing = '',
    shedding = 'enforce',
    drain,
    affinity = '',
  } = settings;
  return `
listeners: [{ port: __PORT__, host: 127.0.0.1 }]
workers: ${workers}
shedding: { mode: ${shedding} }
services:
  shop:
    instances: [${instances.map(({ url }) => url).join(', ')}]
    sla: 5s
    readiness: { path: /ready, interval: ${probeEvery}, timeout: 10s, rise: 1 }
    balancing: { slowStart: 0s${balancing} }
    drain: { ${drain} }
    affinity: { cookie: seat${affinity} }
routes: [{ path: /, service: shop }]
`;
}
