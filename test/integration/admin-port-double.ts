/**
 * A supervisor for tests of the admin address and the command line: it keeps what it was told and answers from fixed
 * figures. Everything between it and the test is real: sockets, fastify, processes.
 */
import type {
  AdminPort,
  InstanceView,
  QuotaResult,
  ReadinessView,
  ReloadView,
  RollView,
  ServiceView,
  StatusView,
} from '../../src/io/admin-port.ts';
import { Meter } from '../../src/io/meter.ts';
import { MetricsPage } from '../../src/io/metrics-page.ts';

export interface AdminPortDouble extends AdminPort {
  readonly calls: unknown[][];
  readiness: () => ReadinessView;
  serviceViews: Record<string, ServiceView>;
  reloadView: ReloadView;
  rollView: RollView;
  quotas: Record<string, QuotaResult>;
}

const INSTANCES = ['127.0.0.1:9001', '[::1]:9002'];

export function serviceView(
  inFlight = 3,
  sessions = 2,
  state = 'ready',
  changes: Partial<InstanceView> = {},
): ServiceView {
  return {
    state: 'up',
    because: [],
    shedding: {
      mode: 'enforce',
      modeBy: 'configuration',
      limit: 31,
      verdict: 'grow',
      limitBecause: 'somebody waited and answers were quick: raised',
      inFlight,
      streams: 0,
      queueDepth: 4,
      queueByPriority: { critical: 0, default: 1, sheddable: 3, background: 0 },
      queueWaitMs: 1.5,
      expectedWaitMs: 12,
      baselineMs: 42,
      p50Ms: 63,
      p95Ms: 120,
      slowdown: 1.5,
      slow: false,
      congested: false,
      pressure: 0,
      pressureBy: { loop: 0, memory: 0, service: 0 },
      lastTenSeconds: { inTime: 100, late: 1, shed: 0, wouldShed: 0 },
      total: { answered: 900, inTime: 890, shed: 0, wouldShed: 0 },
    },
    breaker: { state: 'closed' },
    instances: INSTANCES.map((id) => ({
      id,
      url: `http://${id}`,
      version: 'v1',
      state,
      reason: '',
      inFlight,
      streams: 0,
      sessions,
      sessionsLeft: sessions,
      drainLeftMs: null,
      utilization: null,
      ...changes,
    })),
  };
}

const STATUS: StatusView = {
  version: '1.2.3',
  commit: 'abc1234',
  startedAt: '2026-01-01T00:00:00.000Z',
  uptimeSeconds: 61,
  host: 'edge-1',
  workers: [
    { pid: 11, state: 'ready', restarts: 0 },
    { pid: 12, state: 'ready', restarts: 1 },
  ],
  config: { hash: 'cafe', lastReload: { at: '2026-01-01T00:00:00.000Z', result: 'ok' } },
  redis: { state: 'up' },
  summary: 'SLA met on 1 of 1 services; nothing is shed.',
};

export function adminPortDouble(): AdminPortDouble {
  const calls: unknown[][] = [];
  const meter = new Meter();
  const double: AdminPortDouble = {
    calls,
    serviceViews: { shop: serviceView() },
    quotas: {},
    reloadView: { ok: true, changes: ['services.shop.sla: 250ms → 300ms'], faults: [], warnings: [] },
    rollView: { rolled: 2, failed: [] },
    readiness: () => ({ ready: true, checks: [{ name: 'workers', ok: true, detail: '2 of 2 listen' }] }),
    status: async () => STATUS,
    services: async () => double.serviceViews,
    metrics: async () => {
      meter.add('requests_total', ['/', 'shop', 'gold', 'default', '200', ''], 10);
      return await new MetricsPage().page(meter.dump());
    },
    configuration: () => ({ admin: { token: '***' } }),
    operate: (service, instance, command, ttlMs, by) => {
      calls.push(['operate', service, instance, command, ttlMs, by]);
      if (!Object.hasOwn(double.serviceViews, service)) return 'no-service';
      return INSTANCES.includes(instance) ? 'done' : 'no-instance';
    },
    breaker: (service, state, ttlMs, by) => {
      calls.push(['breaker', service, state, ttlMs, by]);
      return Object.hasOwn(double.serviceViews, service);
    },
    shedding: (service, mode) => {
      calls.push(['shedding', service, mode]);
      return Object.hasOwn(double.serviceViews, service);
    },
    reload: async (by) => {
      calls.push(['reload', by]);
      return double.reloadView;
    },
    roll: async (by) => {
      calls.push(['roll', by]);
      return double.rollView;
    },
    explain: async (requestId) =>
      requestId === 'req-1' ? { requestId, decision: 'shed', code: 'SPW_SHED_QUEUE_FULL' } : undefined,
    quota: async (client) => double.quotas[client] ?? { state: 'unknown' },
    fillQuota: async (client, by) => {
      calls.push(['fillQuota', client, by]);
      return double.quotas[client] ?? { state: 'unknown' };
    },
    overrideQuota: async (client, figures, by) => {
      calls.push(['overrideQuota', client, figures, by]);
      const result = double.quotas[client] ?? { state: 'unknown' };
      return result.state === 'no-route' ? { state: 'unknown' } : result;
    },
  };
  return double;
}
