/** From watching to steering: what was seen of a load that nobody held back must not rule the first seconds. */
import { expect, test } from 'vitest';
import { CAPACITY, ORIGIN, SHEDDABLE } from '../../simulation/loads.ts';
import { World } from '../../simulation/model.ts';
import type { Admission } from '../../../src/shedding/admission.ts';
import type { AdmissionPolicy } from '../../../src/shedding/policy.ts';

const POLICY: AdmissionPolicy = {
  slaMs: ORIGIN.slaMs,
  mode: 'enforce',
  queue: 'auto',
  limit: 'auto',
  workers: 1,
  maxInFlight: 1000,
  evenInFlight: 1000,
};

// Four seconds of 2.75 C with nobody refused, until the backlog is gone; then twice the capacity, enforced. The knee must be
// found anew, since the baseline was learnt under that load: I5, three seconds after the capacity moved 0.9 of it.
test.each(['observe', 'off'] as const)(
  'from %s to enforce under load: the capacity is found within three seconds',
  (mode) => {
    for (const seed of [1, 2, 3]) {
      const world = new World({ ...ORIGIN, seed, policy: { mode } });
      world.poisson(SHEDDABLE, 2.75 * CAPACITY, 0, 4000);
      world.poisson(SHEDDABLE, 2 * CAPACITY, 15_000, 24_000);
      world.clock.at(14_000, (now) => {
        const gate = world.workers[0]?.gate as Admission | undefined;
        gate?.configure(POLICY, now);
      });
      world.run(24_500);
      expect(world.report.goodput(18_000, 24_000) / CAPACITY).toBeGreaterThanOrEqual(0.9);
    }
  },
);
