import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../../src/kernel/random.ts';
import { Fleet } from '../../../src/upstreams/fleet.ts';
import type { InstanceSpec } from '../../../src/upstreams/instance-record.ts';
import {
  DRAIN,
  failAlone,
  idOf,
  NO,
  PASS,
  policyOf,
  readyFleet,
  REFUSED,
  SILENCE,
  statesOf,
  viewOf,
} from './fleet-model.ts';

function found(index: number, more: Partial<InstanceSpec> = {}): InstanceSpec {
  return { url: `http://10.0.0.${index}`, version: 'v1', weight: 1, uid: `pod-${index}`, ...more };
}

/** Discovery lists it; found instances are ready, and grown. */
function discoveredFleet(count: number): { fleet: Fleet; specs: InstanceSpec[] } {
  const fleet = new Fleet(policyOf(0, { instances: undefined }), seededRandom(1), 0, true);
  const specs = Array.from({ length: count }, (_, index) => found(index));
  fleet.discover(specs, 0, true);
  for (let index = 0; index < count; index++) fleet.probe(idOf(index), PASS, 0);
  return { fleet, specs };
}

describe('a fleet whose list comes from discovery', () => {
  it('has no instances before the first set, and a reload does not take what was found', () => {
    const fleet = new Fleet(policyOf(0, { instances: undefined }), seededRandom(1), 0, true);
    expect(fleet.state(0)).toMatchObject({ state: 'unknown', reason: 'discovery has found no instances' });
    fleet.discover([found(0), found(1)], 100, true);
    for (const index of [0, 1]) fleet.probe(idOf(index), PASS, 200);
    expect(viewOf(fleet, 0, 200)).toMatchObject({ state: 'ready', readyForMs: -1, uid: 'pod-0' });
    const before = fleet.sequence;
    fleet.configure(policyOf(0, { instances: undefined }), 300);
    expect(statesOf(fleet)).toBe('ready ready');
    expect(fleet.sequence).toBe(before);
  });

  it('the same set told again changes nothing', () => {
    const { fleet, specs } = discoveredFleet(3);
    const before = fleet.sequence;
    fleet.discover(specs, 1000, false);
    expect(fleet.sequence).toBe(before);
  });

  it('keeps the instances of the file until the first set comes, when a reload asks for discovery', () => {
    const fleet = readyFleet(2);
    fleet.configure(policyOf(0, { instances: undefined }), 1000);
    expect(statesOf(fleet)).toBe('ready ready');
    fleet.discover([found(1)], 2000, false);
    expect(viewOf(fleet, 0).state).toBe('draining');
    expect(viewOf(fleet, 1)).toMatchObject({ state: 'ready', uid: 'pod-1' }); // it has a name now, and is what it was
    fleet.configure(policyOf(2), 3000);
    expect(statesOf(fleet)).toBe('ready ready');
  });

  it('a later one warms up; one that is missing leaves with its sessions kept', () => {
    const { fleet, specs } = discoveredFleet(2);
    fleet.discover([specs[0]!, found(2)], 1000, false);
    fleet.probe(idOf(2), PASS, 1100);
    expect(statesOf(fleet)).toBe('ready draining warming');
    expect(viewOf(fleet, 1)).toMatchObject({ keepsPinned: true, reason: 'removed from the list' });
  });

  it('another uid at the same address is another incarnation, without history; the same one keeps all', () => {
    const { fleet, specs } = discoveredFleet(3);
    failAlone(fleet, [0], 100);
    expect(viewOf(fleet, 0).state).toBe('ejected');
    fleet.discover(specs, 700, false);
    expect(viewOf(fleet, 0).state).toBe('ejected');
    fleet.discover([found(0, { uid: 'pod-9' }), ...specs.slice(1)], 800, false);
    expect(viewOf(fleet, 0)).toMatchObject({ state: 'joining', uid: 'pod-9' });
  });

  it('of two at one address the one that stays counts, in either order', () => {
    for (const turned of [false, true]) {
      const { fleet } = discoveredFleet(1);
      const two = [found(0, { leaving: true }), found(0, { uid: 'pod-9' })];
      fleet.discover(turned ? two.toReversed() : two, 100, false);
      expect(viewOf(fleet, 0)).toMatchObject({ state: 'joining', uid: 'pod-9' });
    }
  });

  it('knows which version it saw last, also of one that was forgotten and comes back', () => {
    const { fleet } = discoveredFleet(2);
    fleet.discover([found(0), found(1), found(2, { version: 'v2' })], 1000, false);
    expect(fleet.views(0).map(({ versionSeq }) => versionSeq)).toEqual([1, 1, 2]);
    fleet.discover([found(2, { version: 'v2' })], 2000, false);
    for (const now of [100_000, 800_000]) fleet.tick(now);
    fleet.discover([found(0), found(2, { version: 'v2' })], 900_000, false);
    expect(viewOf(fleet, 0)).toMatchObject({ version: 'v1', versionSeq: 3 });
    expect(viewOf(fleet, 2)).toMatchObject({ version: 'v2', versionSeq: 2 });
  });
});

describe('an instance of which discovery says that it ends', () => {
  it('drains while it is listed, and comes back when discovery takes it back', () => {
    const { fleet, specs } = discoveredFleet(2);
    fleet.discover([found(0, { leaving: true }), specs[1]!], 1000, false);
    expect(viewOf(fleet, 0, 1000)).toMatchObject({
      state: 'draining',
      reason: 'discovery says that it ends',
      keepsPinned: true,
    });
    for (const now of [2000, 3000, 4000]) fleet.probe(idOf(0), PASS, now);
    expect(viewOf(fleet, 0).state).toBe('draining'); // a probe does not overrule it
    fleet.discover(specs, 5000, false);
    expect(viewOf(fleet, 0, 5000)).toMatchObject({ state: 'ready', readyForMs: -1 });
  });

  it('seen for the first time, as after a restart of ours, it keeps sessions and takes no new ones', () => {
    const { fleet, specs } = discoveredFleet(1);
    fleet.discover([...specs, found(1, { leaving: true })], 100, true);
    fleet.probe(idOf(1), PASS, 200);
    expect(viewOf(fleet, 1)).toMatchObject({ state: 'draining', keepsPinned: true, opensNew: false });
  });

  it('a notice of its own does not make less of it', () => {
    const { fleet, specs } = discoveredFleet(2);
    fleet.probe(idOf(0), DRAIN, 500);
    fleet.discover([found(0, { leaving: true }), specs[1]!], 1000, false);
    for (const now of [2000, 3000, 4000]) fleet.probe(idOf(0), PASS, now);
    expect(viewOf(fleet, 0).reason).toBe('discovery says that it ends');
  });

  it('is forgotten once it is off the list', () => {
    const { fleet, specs } = discoveredFleet(2);
    fleet.discover([found(0, { leaving: true }), specs[1]!], 1000, false);
    fleet.tick(61_000);
    expect(viewOf(fleet, 0).state).toBe('gone');
    fleet.tick(1_000_000);
    expect(fleet.knows(idOf(0))).toBe(true); // still listed
    fleet.discover([specs[1]!], 1_000_100, false);
    fleet.tick(1_000_200);
    expect(fleet.knows(idOf(0))).toBe(false);
  });
});

describe('an instance of which discovery says that it is not ready', () => {
  it('that joins waits for both: its probe and discovery', () => {
    const { fleet, specs } = discoveredFleet(1);
    fleet.discover([...specs, found(1, { readyHint: 'notReady' })], 100, false);
    fleet.probe(idOf(1), PASS, 200);
    expect(viewOf(fleet, 1)).toMatchObject({
      state: 'joining',
      reason: 'discovery says that it is not ready',
    });
    fleet.discover([...specs, found(1, { readyHint: 'ready' })], 300, false);
    expect(viewOf(fleet, 1).state).toBe('warming'); // the probe's pass was kept
  });

  it('goes as if it were silent, though its probe passes, and comes back when both agree', () => {
    const { fleet, specs } = discoveredFleet(3);
    const [first, ...rest] = specs;
    fleet.discover([{ ...first!, readyHint: 'notReady' }, ...rest], 1000, false);
    expect(viewOf(fleet, 0)).toMatchObject({ state: 'down', reason: 'discovery says that it is not ready' });
    for (let now = 1500; now < 8000; now += 500) fleet.probe(idOf(0), PASS, now);
    expect(viewOf(fleet, 0).state).toBe('down');
    expect(fleet.probePasses(idOf(0))).toBe(true);
    fleet.discover(specs, 8000, false);
    expect(viewOf(fleet, 0, 8000).state).toBe('warming');
  });

  it('a lost control plane that calls all of them not ready empties nothing: the governor holds the rest', () => {
    const { fleet, specs } = discoveredFleet(6);
    fleet.discover(
      specs.map((spec) => ({ ...spec, readyHint: 'notReady' as const })),
      1000,
      false,
    );
    for (let now = 1250; now <= 90_000; now += 250) {
      for (let index = 0; index < 6; index++) fleet.probe(idOf(index), PASS, now);
      fleet.tick(now);
      const { counts } = fleet.state(now);
      expect(counts.ready).toBeGreaterThanOrEqual(now < 11_000 ? 5 : 3);
    }
    expect(viewOf(fleet, 5).reason).toBe('held: discovery says that it is not ready');
    fleet.discover(specs, 91_000, false);
    expect(viewOf(fleet, 5)).toMatchObject({ state: 'ready', reason: '' });
  });

  it('an explicit no stays one, and does not end while discovery disagrees', () => {
    const { fleet, specs } = discoveredFleet(2);
    fleet.probe(idOf(0), NO, 500);
    fleet.discover([{ ...specs[0]!, readyHint: 'notReady' }, specs[1]!], 1000, false);
    for (const now of [2000, 3000, 4000]) fleet.probe(idOf(0), PASS, now);
    expect(viewOf(fleet, 0)).toMatchObject({
      state: 'unready',
      reason: 'discovery says that it is not ready',
    });
  });
});

describe('whether the probe of an instance passes', () => {
  it('is its last word, whatever the state; a question gone wrong changes nothing', () => {
    const { fleet } = discoveredFleet(1);
    const VOID = { kind: 'void', reason: 'status 429', failingChecks: [], refused: false } as const;
    const told: boolean[] = [];
    for (const [at, what] of [PASS, VOID, SILENCE, NO, PASS, REFUSED, VOID].entries()) {
      fleet.probe(idOf(0), what, 100 * (at + 1));
      told.push(fleet.probePasses(idOf(0)));
    }
    expect(told).toEqual([true, true, false, false, true, false, false]);
    expect(fleet.probePasses('10.9.9.9:80')).toBe(false);
  });
});

describe('an instance where nothing is left', () => {
  it('is gone when it leaves: its list, discovery or itself; not when an operator drains it', () => {
    const { fleet, specs } = discoveredFleet(5);
    fleet.discover([found(0, { leaving: true }), ...specs.slice(2)], 1000, false);
    fleet.probe(idOf(2), DRAIN, 1000);
    fleet.operate(idOf(3), 'drain', undefined, 'ann', 1000);
    for (let index = 0; index < 5; index++) fleet.idle(idOf(index), 4000);
    expect(statesOf(fleet)).toBe('gone gone gone draining ready');
  });

  it('serves on where its pages may ask for parts that nobody knows of', () => {
    const policy = policyOf(2, { servesPages: true });
    const fleet = new Fleet(policy, seededRandom(1), 0, true);
    for (const index of [0, 1]) fleet.probe(idOf(index), PASS, 0);
    fleet.probe(idOf(0), DRAIN, 1000);
    fleet.idle(idOf(0), 4000);
    expect(viewOf(fleet, 0)).toMatchObject({ state: 'draining', keepsPinned: true });
    fleet.tick(1000 + policy.sessionTimeoutMs);
    expect(viewOf(fleet, 0).state).toBe('gone');
  });

  it('is not believed to be empty on reports of before it left', () => {
    const { fleet } = discoveredFleet(2);
    fleet.probe(idOf(0), DRAIN, 1000);
    fleet.idle(idOf(0), 1500);
    expect(viewOf(fleet, 0).state).toBe('draining');
  });
});
