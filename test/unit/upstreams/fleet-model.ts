import { seededRandom } from '../../../src/kernel/random.ts';
import type { Evidence } from '../../../src/kernel/evidence.ts';
import { Fleet, type FleetPolicy, type InstanceView } from '../../../src/upstreams/fleet.ts';
import type { InstanceSpec } from '../../../src/upstreams/instance-record.ts';
import type { OutlierPolicy } from '../../../src/upstreams/outlier.ts';
import type { PassiveReport } from '../../../src/upstreams/passive-slice.ts';

/** Fleets and what they are fed, in few words. Instance `i` is `10.0.0.i:80`. */

export const PASS: Evidence = { kind: 'pass', reason: '', failingChecks: [], refused: false };
export const NO: Evidence = { kind: 'explicit', reason: 'status 503', failingChecks: [], refused: false };
export const SILENCE: Evidence = { kind: 'absent', reason: 'timeout', failingChecks: [], refused: false };
export const REFUSED: Evidence = {
  kind: 'absent',
  reason: 'connection refused',
  failingChecks: [],
  refused: true,
};
export const DRAIN: Evidence = { kind: 'drain', reason: 'drains', failingChecks: [], refused: false };

export const OUTLIER: OutlierPolicy = {
  consecutiveFailures: 5,
  errorRatio: 0.5,
  minRequests: 20,
  windowMs: 10_000,
  baseEjectionMs: 5000,
  maxEjectedRatio: 0.34,
};

export function idOf(index: number): string {
  return `10.0.0.${index}:80`;
}

export function policyOf(count: number, more: Partial<FleetPolicy> = {}): FleetPolicy {
  return {
    service: 'shop',
    instances: Array.from({ length: count }, (_, index) => ({
      url: `http://10.0.0.${index}`,
      version: 'v1',
      weight: 1,
    })),
    servesBlamed: false,
    slowStartMs: 30_000,
    sessionTimeoutMs: 60_000,
    readiness: { intervalMs: 1000, timeoutMs: 500, rise: 2, fall: 2 },
    outlier: OUTLIER,
    ...more,
  };
}

/** The policy's instances, each with what is said of it. */
export function changed(
  policy: FleetPolicy,
  change: (index: number) => Partial<InstanceSpec>,
): readonly InstanceSpec[] {
  return (policy.instances ?? []).map((spec, index) => Object.assign({}, spec, change(index)));
}

/** A fleet of the first list. */
export function fleetOf(count: number, more: Partial<FleetPolicy> = {}): Fleet {
  return new Fleet(policyOf(count, more), seededRandom(1), 0, true);
}

/** The same, all instances passed at 0. */
export function readyFleet(count: number, more: Partial<FleetPolicy> = {}): Fleet {
  const fleet = fleetOf(count, more);
  for (let index = 0; index < count; index++) fleet.probe(idOf(index), PASS, 0);
  return fleet;
}

export function report(more: Partial<PassiveReport>): PassiveReport {
  return {
    ok: 0,
    hard: 0,
    soft: 0,
    trailingHard: 0,
    callers: 0b11,
    failedCallers: 0b11,
    drains: false,
    ...more,
  };
}

export const FIVE_HARD = report({ hard: 5, trailingHard: 5 });

/** These instances fail five times in a row, and the others go on well for so long that a verdict is due: 400 ms. */
export function failAlone(fleet: Fleet, failing: readonly number[], at: number): void {
  const ids = failing.map(idOf);
  for (const id of ids) fleet.passive(id, FIVE_HARD, at);
  for (const { id } of fleet.views(at)) {
    if (!ids.includes(id)) fleet.passive(id, report({ ok: 5, failedCallers: 0 }), at + 200);
  }
  fleet.tick(at + 400);
}

export function viewOf(fleet: Fleet, index: number, now = 0): InstanceView {
  const found = fleet.views(now).find(({ id }) => id === idOf(index));
  if (found === undefined) throw new Error(`no instance ${index}`);
  return found;
}

export function statesOf(fleet: Fleet, now = 0): string {
  return fleet
    .views(now)
    .map(({ state }) => state)
    .join(' ');
}
