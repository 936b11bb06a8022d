import fc from 'fast-check';
import { expect, test } from 'vitest';

import { Seats } from '../../../src/kernel/seats.ts';
import { leftAfterScavenge } from '../../harness/scavenge.ts';

class Member {
  seat = -1;
}

function membersOf(seats: Seats<Member>): Member[] {
  const found: Member[] = [];
  seats.each((member) => found.push(member));
  return found;
}

test('It holds what a Set holds, whatever is added and deleted in any order.', () => {
  const steps = fc.array(fc.tuple(fc.boolean(), fc.nat(9)), { maxLength: 60 });
  fc.assert(
    fc.property(steps, (taken) => {
      const members = Array.from({ length: 10 }, () => new Member());
      const seats = new Seats<Member>();
      const model = new Set<Member>();
      for (const [adds, index] of taken) {
        const member = members[index] as Member;
        if (adds) seats.add(member);
        else seats.delete(member);
        if (adds) model.add(member);
        else model.delete(member);
        expect(new Set(membersOf(seats))).toEqual(model);
        expect(seats.size).toBe(model.size);
        expect(members.map(({ seat }) => seat >= 0)).toEqual(members.map((each) => model.has(each)));
      }
    }),
  );
});

test('A visitor may delete any member, and every one that stays is visited once.', () => {
  const doomed = fc.array(fc.tuple(fc.nat(9), fc.nat(9)), { maxLength: 20 });
  fc.assert(
    fc.property(doomed, (pairs) => {
      const members = Array.from({ length: 10 }, () => new Member());
      const seats = new Seats<Member>();
      for (const member of members) seats.add(member);
      const visited: Member[] = [];
      seats.each((member) => {
        expect(member.seat).toBeGreaterThanOrEqual(0);
        visited.push(member);
        for (const [at, goes] of pairs) if (members[at] === member) seats.delete(members[goes] as Member);
      });
      expect(new Set(visited).size).toBe(visited.length);
      expect(membersOf(seats).filter((member) => !visited.includes(member))).toEqual([]);
    }),
  );
});

/** Members that overlap come and go; those of the last rounds are to be young garbage. */
function come(set: { add(member: Member): unknown; delete(member: Member): unknown }): WeakRef<Member>[] {
  const gone: WeakRef<Member>[] = [];
  for (let round = 0; round < 100; round++) {
    const overlapping = Array.from({ length: 8 }, () => new Member());
    for (const member of overlapping) set.add(member);
    for (const member of overlapping) set.delete(member);
    for (const member of overlapping) gone.push(new WeakRef(member));
  }
  return gone;
}

test('Who has left dies with the next scavenge, which is more than a Set of old age can say.', async () => {
  const seats = new Seats<Member>();
  const set = new Set<Member>();
  for (let age = 0; age < 3; age++) await leftAfterScavenge([]);
  expect(await leftAfterScavenge(come(seats))).toBe(0);
  // When this one dies too, V8 has changed, and a Set is as good.
  expect(await leftAfterScavenge(come(set))).toBeGreaterThan(100);
});
