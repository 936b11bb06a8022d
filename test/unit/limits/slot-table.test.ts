import { expect, test } from 'vitest';
import { seededRandom } from '../../../src/kernel/random.ts';
import { TICKS_PER_MS, TICKS_PER_SECOND } from '../../../src/limits/gcra.ts';
import { grantSlots, SLOT_TTL_MS, SlotTable } from '../../../src/limits/slot-table.ts';
import type { SlotHolder } from '../../../src/limits/slot-table.ts';

test('slots end after five seconds unless they are asked for again', () => {
  const holders: SlotHolder[] = [];
  grantSlots(holders, 'a', 2, 0, 2, 0);
  expect(grantSlots(holders, 'b', 1, 0, 2, 5 * TICKS_PER_SECOND - 1)).toBe(0);
  expect(grantSlots(holders, 'b', 1, 0, 2, 5 * TICKS_PER_SECOND)).toBe(1);
});

test('a clock that was stepped back keeps nothing for longer', () => {
  const holders: SlotHolder[] = [];
  grantSlots(holders, 'a', 2, 0, 2, 3600 * TICKS_PER_SECOND);
  expect(grantSlots(holders, 'b', 1, 0, 2, 0)).toBe(0);
  expect(grantSlots(holders, 'b', 1, 0, 2, 5 * TICKS_PER_SECOND)).toBe(1);
});

test('past the capacity the one that was quiet longest is forgotten, whatever was asked and ended before', () => {
  const random = seededRandom(7);
  const table = new SlotTable(20);
  /** The same by a plain list: client and the end of its slot, the quietest first. */
  let list: { key: string; ends: number }[] = [];
  for (let now = 0; now < 60 * TICKS_PER_SECOND; now += 10 * TICKS_PER_MS * Math.ceil(random() * 30)) {
    const key = `c${Math.floor(random() * 60)}`;
    const known = list.some((each) => each.key === key && each.ends > now);
    // Each asks as another worker, so a slot that is still held is a no.
    expect([now, key, table.grant(key, `w${now}`, 1, 0, 1, now)]).toEqual([now, key, known ? 0 : 1]);
    list = list.filter((each) => each.key !== key || each.ends > now);
    const own = list.find((each) => each.key === key) ?? { key, ends: now + SLOT_TTL_MS * TICKS_PER_MS };
    list = list.filter((each) => each.key !== key);
    while (list[0] !== undefined && list[0].ends <= now) list.shift();
    if (list.length >= 20) list.shift();
    list.push(own);
  }
  expect(list.length).toBeGreaterThan(5);
});

test('a spray of clients ends by itself and never passes the capacity', () => {
  const table = new SlotTable(100);
  for (let i = 0; i < 1000; i++) table.grant(`c${i}`, 'a', 1, 0, 1, i);
  expect(table.size()).toBe(100);
  table.grant('last', 'a', 1, 0, 1, 6 * TICKS_PER_SECOND);
  table.sweep(6 * TICKS_PER_SECOND, 1000);
  expect(table.size()).toBe(1);
  expect(table.grant('last', 'b', 1, 0, 1, 6 * TICKS_PER_SECOND)).toBe(0);
});
