import { describe, expect, test } from 'vitest';

import type { DiscoveryFault, DiscoveryListener, Found } from '../../../src/discovery/source.ts';
import { DiscoveredService } from '../../../src/io/discovery/discovered-service.ts';

function found(host: number): Found {
  const url = `http://10.0.0.${host}:8080`;
  return { uid: '', url, version: '', weight: 1, leaving: false, readyHint: 'unknown' };
}

/** A source by hand, and all that is told of it. */
class World {
  now = 0;
  listener: DiscoveryListener | undefined = undefined;
  readonly told: string[] = [];
  readonly counted: string[] = [];
  instances: readonly Found[] = [];
  refuses = false;
  readonly service: DiscoveredService;

  constructor(before: readonly Found[] = []) {
    const note = (fields: object, message: string): void => {
      const { fault = '' } = fields as { fault?: string };
      this.told.push(`${message} ${fault}`.trim());
    };
    this.service = new DiscoveredService(
      'shop',
      { emptySet: 'keep', hasIdentity: false },
      (listener) => {
        this.listener = listener;
        return { stop: () => undefined };
      },
      before,
      undefined,
      {
        now: () => this.now,
        log: { info: note, warn: note } as never,
        onInstances: (instances) => {
          if (this.refuses) throw new Error('no');
          this.instances = instances;
        },
        onFault: (kind) => this.counted.push(kind),
        onNews: () => undefined,
        probePasses: () => true,
      },
    );
  }

  says(...hosts: number[]): void {
    this.listener?.onSet(hosts.map(found));
    this.now += 1000;
    this.service.tick();
  }

  fails(kind: DiscoveryFault['kind']): void {
    this.listener?.onFault({ kind, reason: 'a reason' });
  }
}

const BAD = 'the source of instances is not to be relied on: the last good set stays';
const GOOD = 'the source of instances answers again';

describe('a source', () => {
  test('that has answered nothing yet is none to go by', () => {
    const world = new World();
    expect(world.service.answered).toBe(false);
    world.fails('unreachable');
    expect(world.service.answered).toBe(false);
    world.says(1);
    expect([world.service.answered, world.instances]).toEqual([true, [found(1)]]);
  });

  test('that says it has nobody has answered', () => {
    const world = new World();
    world.says();
    expect([world.service.answered, world.counted]).toEqual([true, ['empty']]);
  });

  test('is dark from its first question without an answer to the next good one', () => {
    const world = new World();
    world.says(1);
    world.now += 5000;
    expect(world.service.darkMs(world.now)).toBe(0);
    world.fails('refused');
    world.now += 3000;
    world.fails('refused');
    expect(world.service.darkMs(world.now)).toBe(3000);
    world.says(1);
    expect(world.service.darkMs(world.now)).toBe(0);
  });

  test('that says what is not believed is not dark', () => {
    const world = new World();
    world.says(1, 2);
    world.says();
    expect([world.service.darkMs(world.now), world.service.held, world.counted]).toEqual([0, 2, ['empty']]);
  });

  test('is told of once a minute while a fault goes on, counted each time, and told of when it is over', () => {
    const world = new World();
    world.says(1);
    world.told.length = 0;
    for (let second = 0; second < 59; second += 1) {
      world.fails('unreachable');
      world.now += 1000;
    }
    expect(world.told).toEqual([`${BAD} unreachable`]);
    world.now += 1000;
    world.fails('unreachable');
    world.fails('refused');
    world.says(1);
    expect(world.told).toEqual([`${BAD} unreachable`, `${BAD} unreachable`, `${BAD} refused`, GOOD]);
    expect(world.counted).toHaveLength(61);
  });

  test('whose set cannot be taken does not end the supervisor', () => {
    const world = new World();
    world.refuses = true;
    world.says(1);
    expect(world.counted).toEqual(['malformed']);
  });

  test('that takes over from another has something to go by at once', () => {
    const world = new World([found(1), found(2)]);
    expect(world.service.answered).toBe(true);
    world.says(3);
    expect(world.counted).toEqual([]);
  });
});
