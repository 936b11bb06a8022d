/**
 * The configuration of the demo: what `spillway run` starts where there is none. It is text and goes through the same
 * loader as any other, so the demo shows nothing that a user's file could not do.
 *
 * Small numbers on purpose: a `curl` in a loop meets the free tier's limit at the fourth request, and `/tiny` serves one
 * request at a time and lets nobody wait, so a second one beside it is shed.
 */

/** Where the gateway of the demo listens. */
export interface DemoPorts {
  readonly public: number;
  readonly admin: number;
}

/**
 * @param instancePorts ports on 127.0.0.1 of at least one instance that answers `GET /`, `/slow?ms=…` and `/ready`
 * @returns YAML
 */
export function demoConfiguration(instancePorts: readonly number[], ports: DemoPorts): string {
  const all = instancePorts.map((port) => `http://127.0.0.1:${port}`).join(', ');
  const first = `http://127.0.0.1:${instancePorts[0] ?? 0}`;
  return `# The demo of Spillway. Copy it to spillway.yaml and change it.
listeners:
  - { port: ${ports.public}, host: 127.0.0.1 }
admin: { host: 127.0.0.1, port: ${ports.admin} }
workers: 1
shutdown: { delay: 0s, timeout: 10s }
clients:
  keys:
    - { key: demo-free, client: fred, tier: free }
    - { key: demo-gold, client: grace, tier: gold }
tiers:
  free: { rate: 2/s, burst: 3, priority: sheddable }
  gold: { rate: 1000/s, burst: 2000, priority: critical }
services:
  shop:
    instances: [${all}]
    sla: 250ms
    readiness: { path: /ready }
    dependsOn: [{ service: stock, mode: optional }]
  stock:
    instances: [${first}]
    readiness: { path: /ready }
  tiny:
    instances: [${first}]
    sla: 1s
    shedding: { limit: 1, queue: 0 }
    readiness: { path: /ready }
routes:
  - { path: /, service: shop }
  - { path: /slow, service: shop }
  - { path: /stock, service: stock, rewrite: / }
  - { path: /tiny, service: tiny, rewrite: /slow }
log: { level: warn, access: off }
`;
}
